"""A computation that was interrupted, wherever: taken up again it gives the run that it would have given."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_exhibit
from tiny_runs import NAMES, assert_equal_runs, compute, counted_fits

from influence import Run
from influence.errors import RunError
from influence.precompute import embedding, scoring, steps
from influence.precompute import runs as package
from influence.precompute.pieces.sharing import Pieces
from influence.run.additions import add_tables
from influence.run.draft import Draft
from influence.run.journal.journal import Journal
from influence.run.manifest import read_json
from influence.run.records import MapRecord
from influence.training.minimum import Trainer

pytestmark = pytest.mark.usefixtures("quick_map")

FIRST = [
    "data", "fit pretrain", "fit finetune", "pull exact", "array pretrain exact", "scores pretrain exact 0",
    "array finetune exact", "scores finetune exact 0", "amounts exact",
]  # fmt: skip
LATER = [
    "map", "pull identity", "array pretrain identity", "scores pretrain identity 0", "array finetune identity",
    "scores finetune identity 0",
]  # fmt: skip
OWN = [f"self-influence {stage}{piece}" for stage in ("pretrain", "finetune") for piece in (" exact 0", "")]
STEPS = 2 * [*FIRST, *OWN, *LATER]
"""Of two runs."""


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


def test_interrupted_after_every_step_it_goes_on_with_the_next(runs, tmp_path, monkeypatch):
    """A computation for each step: it has taken no other, and is interrupted when the next one is to be marked."""
    marked, mark = [], Draft.mark
    monkeypatch.setattr(Draft, "mark", lambda self, step, record=None: (marked.append(step), mark(self, step, record)))
    for marks in (0, *[1] * (len(STEPS) - 1)):
        with monkeypatch.context() as patch:
            patch.setattr(Draft, "mark", after(marks))
            with pytest.raises(KeyboardInterrupt):
                compute(tmp_path)
    again = compute(tmp_path)
    assert marked == STEPS  # nothing finished is done again
    for one, other in zip(runs, again, strict=True):
        assert_equal_runs(one, Run.open(other.path))
    assert sorted(p.name for p in tmp_path.iterdir()) == NAMES


STEPS_INSIDE = [
    "Trainer.fit", "predictions", "projection.embed", "Chain", "begin", "Pieces.compute", "together", "versions",
    "Draft.write_table", "Draft.write_model", "Draft.create_scores", "Draft.finish", "Journal.write", "Path.rename",
]  # fmt: skip


@pytest.mark.parametrize("inside", STEPS_INSIDE)
@pytest.mark.parametrize("call", [1, 2])
def test_interrupted_inside_a_step(runs, tmp_path, monkeypatch, inside, call):
    """The call is made, and then interrupted: half of a step is done."""
    owner, _, name = inside.rpartition(".")
    usual = steps if hasattr(steps, name) else scoring
    owners = {"": usual, "projection": embedding, "Trainer": Trainer, "Pieces": Pieces}
    place = (owners | {"Draft": Draft, "Journal": Journal, "Path": Path})[owner]
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


def test_killed_while_a_json_file_or_a_line_of_the_journal_is_written(runs, tmp_path, monkeypatch):
    """At every write, once: the next computation finds the folder as a kill would leave it, half of the write in it."""
    write, add_line, killed = Path.write_text, Journal.write, list[object]()

    def kill(what):
        killed.append(what)
        count = len(killed)
        shutil.copytree(tmp_path / str(count - 1), tmp_path / str(count))  # before anything can be tidied up
        raise KeyboardInterrupt

    def killing(self, text, **options):
        what = self.name.split(".")[1], self.parent.name.split("-")[1], tuple(json.loads(text)["files"])
        if what not in killed:
            write(self, text[: len(text) // 2], **options)
            kill(what)
        return write(self, text, **options)

    def add(self, folder, **options):
        path = folder / "journal.jsonl"
        before = path.read_bytes() if path.is_file() else b""
        add_line(self, folder, **options)
        after = path.read_bytes() if path.is_file() else b""
        what = folder.name.split("-")[1], tuple(self.steps), tuple(self.checksums), bool(options)
        if after == before or what in killed:
            return
        if before and after.startswith(before):
            path.write_bytes(after[: (len(before) + len(after)) // 2])
        else:  # it would have taken the place of the other in one step
            path.write_bytes(before) if before else path.unlink()
            path.with_name(".journal.jsonl.0123456789abcdef.tmp").write_bytes(after[: len(after) // 2])
        kill(what)

    found = None
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killing)
        patch.setattr(Journal, "write", add)
        while found is None:
            with suppress(KeyboardInterrupt):
                found = compute(tmp_path / str(len(killed)))
    # run.json: the first lists, the map, the scores without curvature. The journal: a line a step; two methods' vectors
    # are released, two stages' spans dropped, the run gets its name; one pull was lost with its line, and done again.
    assert len(killed) == len(STEPS) + 2 * (3 + 2 + 2 + 1) + 1
    for one, other in zip(runs, found, strict=True):
        assert_equal_runs(one, Run.open(other.path))


KILLED = """
import sys, time
from influence.precompute import runs, scoring, steps
from tiny import two_exhibits
steps.map_of = lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates")
module, name = {"fill": (scoring.Scorer, "_fill"), "map_of": (steps, "map_of")}[sys.argv[2]]
original = getattr(module, name)
def slow(*arguments):
    result = original(*arguments)
    print("reached", flush=True)
    time.sleep(60)
    return result
setattr(module, name, slow)
runs.precompute(two_exhibits(), ["tiny-frozen", "tiny-updated"], sys.argv[1], progress=False)
"""


@pytest.mark.parametrize(
    ("inside", "left", "fits"),
    [
        ("fill", [".tiny-frozen.lock", ".tiny-frozen.unfinished"], ["finetune"]),
        ("map_of", [".tiny-frozen.lock", "tiny-frozen"], ["finetune"]),
    ],
)
def test_killed_process_loses_at_most_the_step_under_way(runs, tmp_path, monkeypatch, inside, left, fits):
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(package.__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), inside],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        text=True,
    )
    assert process.stdout.readline() == "reached\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert sorted(p.name for p in tmp_path.iterdir()) == left
    fitted = counted_fits(monkeypatch)
    again = compute(tmp_path)
    assert fitted == fits  # the second variant's
    for one, other in zip(runs, again, strict=True):
        assert_equal_runs(one, Run.open(other.path))


@pytest.mark.parametrize("file", ["stages/finetune.safetensors", "scores/pretrain-exact.zarr/c/0/0"])
def test_zeros_that_a_power_cut_left_are_computed_again_with_a_line_that_says_so(
    runs, tmp_path, monkeypatch, capsys, file
):
    with monkeypatch.context() as patch:
        patch.setattr(Draft, "mark", after(8))
        with pytest.raises(KeyboardInterrupt):
            compute(tmp_path)
    lost = tmp_path / ".tiny-frozen.unfinished" / file
    lost.write_bytes(bytes(lost.stat().st_size))
    found = package.precompute([tiny_exhibit()], NAMES[:1], tmp_path)[0]
    assert_equal_runs(runs[0], Run.open(found.path))
    said = capsys.readouterr().err
    step, later = {"stages": ("fit finetune", 5), "scores": ("scores pretrain exact 0", 2)}[file.split("/")[0]]
    assert (
        f"Run tiny-frozen: {file} is not what was written (a power cut, or a fault of the disk). Step {step!r}" in said
    )
    assert f"and the {later} after it are computed again." in said


# What can be read before everything is computed


@pytest.fixture
def first(tmp_path, monkeypatch):
    """A run whose process was interrupted when its first lists stood."""
    with monkeypatch.context() as patch:
        patch.setattr(steps, "embedded", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compute(tmp_path)
    return Run.open(tmp_path / NAMES[0])


def test_a_run_is_read_as_soon_as_its_lists_stand(runs, first):
    assert first.pending == ["map", "identity"]
    assert first.manifest.map == MapRecord()
    assert read_json(first.path)["map"] == {}
    assert first.embedding() is None
    assert first.methods("pretrain") == ["exact"]
    np.testing.assert_array_equal(first.scores()[:], runs[0].scores()[:])
    whole = runs[0].examples("pretrain")
    pd.testing.assert_frame_equal(first.examples("pretrain"), whole.drop(columns=["x", "y"]))
    pd.testing.assert_frame_equal(first.queries(), runs[0].queries().drop(columns=["x", "y"]))


def test_parts_are_added_one_by_one_and_no_file_is_written_twice(runs, tmp_path, monkeypatch):
    """At every writing of the first run's run.json: what it lists is there, and stays as it is."""
    original, seen = Draft._as_read, []

    def watching(self, manifest):
        seen.append(manifest)
        assert Run.open(self.final).problems() == []
        return original(self, manifest)

    monkeypatch.setattr(Draft, "_as_read", watching)
    run = compute(tmp_path, [tiny_exhibit()], ["one"])[0]
    assert [manifest.pending for manifest in seen] == [("map", "identity"), ("identity",), ()]
    assert seen[0].files.items() < seen[1].files.items() < seen[2].files.items()
    assert len({manifest.created for manifest in seen}) == 1
    assert run.pending == []
    assert run.manifest.timings.keys() >= {"training pretrain", "map of the embedding", "curvature (identity)"}


def test_a_half_written_part_is_no_part_of_the_run(first, monkeypatch):
    """The array of a part that comes later stands half-written when another part is added."""
    stray = first.path / "scores/pretrain-identity.zarr/c/0/0"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    with monkeypatch.context() as patch:
        patch.setattr(scoring.Scorer, "score", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compute(first.path.parent)
    again = Run.open(first.path)
    assert again.pending == ["identity"]
    assert not [name for name in again.manifest.files if "identity" in name]
    assert again.embedding() is not None


def test_a_check_that_was_added_meanwhile_is_kept(runs, first):
    add_tables(first, {"noise": pd.DataFrame({"query": [0]})})
    again = compute(first.path.parent)[0]
    assert again.validations == ["noise"]
    assert again.scores("pretrain", "identity")[:].tolist() == runs[0].scores("pretrain", "identity")[:].tolist()


def test_a_run_that_another_process_finishes_meanwhile_is_opened(first, monkeypatch):
    """It does so while the files are verified, after run.json was read."""
    elsewhere, opened = Run.open, []

    def opening(path):
        run = elsewhere(path)
        opened.append(run)
        if len(opened) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(package.Run, "open", elsewhere)
                compute(first.path.parent)
        return run

    monkeypatch.setattr(package.Run, "open", opening)
    run = package.existing(first.path, tiny_exhibit())
    assert opened[0].pending
    assert run is not None
    assert run.pending == []


def test_what_a_killed_process_left_in_a_complete_run_is_deleted(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("influence.run.draft.discard_work", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compute(tmp_path, [tiny_exhibit()], ["one"])
    left = [tmp_path / "one" / name for name in ("journal.jsonl", "work")]
    assert all(path.exists() for path in left)
    assert compute(tmp_path, [tiny_exhibit()], ["one"])[0].pending == []
    assert not any(path.exists() for path in left)


def test_own_columns_are_not_taken_for_the_map_that_comes_later(tmp_path, monkeypatch):
    exhibit = tiny_exhibit()
    for table in (*exhibit.examples.values(), exhibit.queries):
        table[["x", "y"]] = 7.0
    with monkeypatch.context() as patch:
        patch.setattr(steps, "embedded", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compute(tmp_path, [exhibit], ["own"])
    run = Run.open(tmp_path / "own")
    assert not {"x", "y"} & {*run.examples("pretrain"), *run.queries()}
    run = compute(tmp_path, [exhibit], ["own"])[0]
    assert len(set(run.examples("pretrain")["x"])) > 1


def test_a_run_that_cannot_be_completed_says_so(first):
    (first.path / "journal.jsonl").unlink()
    with pytest.raises(RunError, match=r"lacks map, identity, and journal.jsonl, which says how to go on. Delete the"):
        compute(first.path.parent)
