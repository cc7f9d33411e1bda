"""A computation that was interrupted, wherever: taken up again it gives the run that it would have given."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import NAMES, assert_equal_runs, compute, counted_fits

from influence import Run
from influence.precompute import embedding, scoring
from influence.precompute import steps as package
from influence.run.draft import Draft
from influence.training.minimum import Trainer

pytestmark = pytest.mark.usefixtures("quick_map")

STEPS = [
    "fit pretrain", "fit finetune", "map", "pull exact", "scored pretrain exact", "scored finetune exact",
    "pull identity", "scored pretrain identity", "scored finetune identity",
    "self-influence pretrain", "self-influence finetune",
]  # fmt: skip


def after(marks):
    """Patch that interrupts when so many steps are marked, before the next is."""
    count, mark = 0, Draft.mark

    def interrupting(self, step, record=None):
        nonlocal count
        if count == marks:
            raise KeyboardInterrupt
        mark(self, step, record)
        count += 1

    return interrupting


@pytest.mark.parametrize("finished", range(2 * len(STEPS)))
def test_interrupted_at_any_step_it_resumes_there(runs, tmp_path, monkeypatch, finished):
    with monkeypatch.context() as patch:
        patch.setattr(Draft, "mark", after(finished))
        with pytest.raises(KeyboardInterrupt):
            compute(tmp_path)
    marked = []
    mark = Draft.mark
    monkeypatch.setattr(Draft, "mark", lambda self, step, record=None: (marked.append(step), mark(self, step, record)))
    again = compute(tmp_path)
    assert marked == (2 * STEPS)[finished:]  # nothing finished is done again
    for one, other in zip(runs, again, strict=True):
        assert_equal_runs(one, Run.open(other.path))
    assert sorted(p.name for p in tmp_path.iterdir()) == NAMES


STEPS_INSIDE = [
    "Trainer.fit", "predictions", "projection.embed", "Chain", "fill", "self_influence", "versions",
    "Draft.write_table", "Draft.write_model", "Draft.create_scores", "Draft.finish", "Draft._write_json", "Path.rename",
]  # fmt: skip


@pytest.mark.parametrize("inside", STEPS_INSIDE)
@pytest.mark.parametrize("call", [1, 2])
def test_interrupted_inside_a_step(runs, tmp_path, monkeypatch, inside, call):
    """The call is made, and then interrupted: half of a step is done."""
    owner, _, name = inside.rpartition(".")
    usual = package if hasattr(package, name) else scoring
    place = {"": usual, "projection": embedding, "Trainer": Trainer, "Draft": Draft, "Path": Path}[owner]
    original, calls = getattr(place, name), 0

    def interrupted(*arguments, **options):
        nonlocal calls
        result, calls = original(*arguments, **options), calls + 1
        if calls == call:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(place, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            compute(tmp_path)
    for one, other in zip(runs, compute(tmp_path), strict=True):
        assert_equal_runs(one, Run.open(other.path))


def test_interrupted_while_a_json_file_is_written(runs, tmp_path, monkeypatch):
    """At every write: the folder as a kill would leave it, with half a file under its temporary name."""
    write, kept = Path.write_text, []

    def keeping(self, text, **options):
        write(self, text[: len(text) // 2], **options)
        kept.append(shutil.copytree(tmp_path / "runs", tmp_path / f"killed{len(kept)}"))
        return write(self, text, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", keeping)
        compute(tmp_path / "runs")
    assert len(kept) == 2 * (len(STEPS) + 1)
    for root in kept:
        for one, other in zip(runs, compute(root), strict=True):
            assert_equal_runs(one, Run.open(other.path))


KILLED = """
import sys, time
from pathlib import Path
from influence.precompute import scoring as scorer
from influence.precompute import steps as package
from tiny import two_exhibits
package.map_of = lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates")
wait = scorer.fill
def slow(*arguments):
    wait(*arguments)
    print("filled", flush=True)
    time.sleep(60)
scorer.fill = slow
package.precompute(two_exhibits(), ["tiny-frozen", "tiny-updated"], sys.argv[1], progress=False)
"""


def test_killed_process_loses_at_most_the_step_under_way(runs, tmp_path, monkeypatch):
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(package.__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        text=True,
    )
    assert process.stdout.readline() == "filled\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".tiny-frozen.lock", ".tiny-frozen.unfinished"]
    fitted = counted_fits(monkeypatch)
    again = compute(tmp_path)
    assert fitted == ["finetune"]  # the second variant's
    for one, other in zip(runs, again, strict=True):
        assert_equal_runs(one, Run.open(other.path))
