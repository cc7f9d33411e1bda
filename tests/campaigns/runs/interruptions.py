"""Kills and power cuts while a run is computed: the same command again gives the run that it would have given.

A kill ends a process by SIGKILL, at a moment counted by the files that it has opened, moved or deleted. A power cut
leaves files cut short, filled with zeros, or not at all; each kind of file of each step gets each of these, and the
contents of another file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pandas as pd
import pytest
from situation import Situation

TESTS = Path(__file__).parents[2]
sys.path.append(str(TESTS / "influence"))  # the tiny studies

from tiny import tiny_exhibit  # noqa: E402
from tiny_runs import assert_equal_runs, compute  # noqa: E402
from tiny_texts import SUBJECTS, sentences, text_study  # noqa: E402

from influence import Run  # noqa: E402
from influence.errors import RunError  # noqa: E402
from influence.run import writer  # noqa: E402
from influence.run.draft import Draft  # noqa: E402
from influence.run.files import JOURNAL_FILE, manifest_checksum  # noqa: E402
from influence.studies.exhibit import Exhibit  # noqa: E402
from influence.studies.language import token_losses  # noqa: E402

NAME = "tiny"
KILLS = 20
MOMENTS = tempfile.TemporaryDirectory()
"""What is computed once for all situations; it is deleted when the process ends."""


def pictures() -> Exhibit:
    return tiny_exhibit()


def texts() -> Exhibit:
    """A study whose scores are split over tokens, by a method that keeps what it found of the curvature."""
    study, counts = text_study(), {"pretrain": 24, "finetune": 12, "queries": 5}
    tables, tokens = {}, {}
    for part, (name, data) in enumerate(zip(counts, [*(s.data for s in study.stages), study.queries], strict=True)):
        written, topics = sentences(counts[name], part)
        tables[name] = pd.DataFrame({"id": range(counts[name]), "label": topics, "text": written})
        starts = [list(range(len(ids))) for ids in data.ids]
        tokens[name] = pd.DataFrame({"starts": starts, "ends": starts})
    return Exhibit(
        study,
        classes={"pretrain": [], "finetune": list(SUBJECTS)},
        examples={name: tables[name] for name in ("pretrain", "finetune")},
        queries=tables["queries"],
        token_losses={"pretrain": token_losses},
        tokens=tokens,
        tokenizer="{}",
        method="ekfac",
        damping=0.1,
    )


EXHIBITS = {"pictures": pictures, "texts": texts}


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Several chunks an array, batches of a few examples, and two coordinates in place of UMAP, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "influence.precompute.steps.map_of",
            lambda vectors, others, seed: (vectors[:, :2].astype("f4"), others[:, :2].astype("f4"), "two coordinates"),
        )
        patch.setattr(writer, "CHUNK_SHAPE", (4, 16))
        patch.setattr("influence.derivatives.objective.BUDGET", 8 * 23 * 8)
        patch.setattr("influence.curvature.ekfac.MAX_EXACT_STAGE", 0)
        yield


def computed(root: Path, study: str) -> Run:
    with small():
        return compute(root, [EXHIBITS[study]()], [NAME])[0]


def must_be_whole(run: Run, study: str) -> None:
    """The run is the uninterrupted one, all its files are listed, and nothing of the work is left."""
    found = Run.open(run.path)
    assert found.pending == []
    assert_equal_runs(moments(study)[1], found)
    files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert files == {*found.manifest.files, "run.json"}
    assert [path.name for path in run.path.parent.iterdir()] == [NAME]


# Kills

KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[3:]
import interruptions
watched, last, count = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"), int(sys.argv[2]), 0
def hear(event, arguments):
    global count
    if event in watched and sys.argv[1] in str(arguments[0]):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hear)
interruptions.computed(interruptions.Path(sys.argv[1]), "pictures")
print(count)
"""


def process(root: Path, last: int) -> subprocess.CompletedProcess[str]:
    """Compute the run in a process of its own, which kills itself when it has touched files `last` times (0: never)."""
    places = [str(Path(__file__).parent), str(TESTS / "influence")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(root), str(last), *places]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@cache
def touches() -> int:
    """How often a computation opens, moves or deletes a file of its runs."""
    with tempfile.TemporaryDirectory() as folder:
        return int(process(Path(folder) / "runs", 0).stdout)


def killed(place: int, folder: Path) -> None:
    ended = process(folder / "runs", 1 + place * touches() // KILLS)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    must_be_whole(computed(folder / "runs", "pictures"), "pictures")


# Power cuts


@cache
def moments(study: str) -> tuple[dict[str, Path], Run]:
    """The folder of runs at the first end of every step, as a power cut would find it, and the uninterrupted run."""
    mark, found, root = Draft.mark, {}, Path(MOMENTS.name) / study

    def marked(self: Draft, step: str, record: object = None) -> None:
        mark(self, step, record)
        if step not in found:
            found[step] = shutil.copytree(self.final.parent, root / f"{len(found)}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draft, "mark", marked)
        run = computed(root / "runs", study)
    return found, run


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zeroed(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def removed(file: Path) -> None:
    file.unlink()


def swapped(file: Path) -> None:
    """It has the contents of another file, of its kind if there is one."""
    folder = next(parent for parent in file.parents if (parent / JOURNAL_FILE).exists())
    mine, others = file.read_bytes(), [path for path in folder.rglob("*") if path.is_file()]
    by_kind = sorted(others, key=lambda path: (path.suffix != file.suffix, path.parent != file.parent, path))
    file.write_bytes(next(found for found in map(Path.read_bytes, by_kind) if found != mine))


DAMAGES: list[Callable[[Path], None]] = [cut_short, zeroed, removed, swapped]
FILES = {
    "pictures": {
        "fit pretrain": ["stages/pretrain.safetensors"],
        "fit finetune": ["stages/pretrain.safetensors", "stages/finetune.safetensors"],
        "pull exact": ["work/queries-exact/pretrain/0.float64", "work/queries-exact/finetune/1.float64"],
        "array pretrain exact": ["scores/pretrain-exact.zarr/zarr.json"],
        "scores pretrain exact 0": ["scores/pretrain-exact.zarr/zarr.json", "scores/pretrain-exact.zarr/c/0/0"],
        "scores finetune exact 0": ["scores/pretrain-exact.zarr/c/1/2", "scores/finetune-exact.zarr/c/0/0"],
        "self-influence pretrain": ["work/self-pretrain.parquet"],
        "self-influence finetune": [
            "stages/finetune.safetensors",
            "work/self-pretrain.parquet",
            "scores/pretrain-exact.zarr/c/0/0",
            "scores/finetune-exact.zarr/c/1/0",
        ],
        "map": ["map/pretrain.parquet", "map/queries.parquet", "embedding/examples.zarr/c/0/0"],
        "pull identity": ["work/queries-identity/finetune/0.float64"],
        "scores pretrain identity 0": ["scores/pretrain-identity.zarr/c/1/0"],
        "scores finetune identity 0": ["scores/finetune-identity.zarr/zarr.json"],
    },
    "texts": {
        "curvature ekfac": ["curvature/pretrain-ekfac.safetensors"],
        "self-influence finetune": ["curvature/finetune-ekfac.safetensors", "scores/pretrain-ekfac.zarr/c/0/0"],
        "split pretrain": ["shares/pretrain-ekfac.parquet", "work/queries-ekfac/pretrain/0.float64"],
    },
}
"""Study -> step at whose end the power is cut -> files that are damaged then: every kind, just written and earlier."""
LISTED = {
    ("pictures", "map"): [
        "run.json",
        "stages/pretrain.safetensors",
        "examples/pretrain.parquet",
        "scores/pretrain-exact.zarr/c/0/0",
    ],
    ("texts", "split pretrain"): ["tokens/pretrain.parquet", "tokenizer.json", "curvature/pretrain-ekfac.safetensors"],
}
"""Study and step -> files that run.json lists by then, and readers may be reading: damage is refused by name."""


def at(folder: Path, study: str, step: str) -> Path:
    """The run's folder, in `folder`, as the power cut left it at the end of the step."""
    root = shutil.copytree(moments(study)[0][step], folder / "runs")
    return next(path.parent for path in root.rglob(JOURNAL_FILE))


def damaged(study: str, step: str, file: str, damage: Callable[[Path], None], folder: Path) -> None:
    damage(at(folder, study, step) / file)
    must_be_whole(computed(folder / "runs", study), study)


def refused(study: str, step: str, file: str, damage: Callable[[Path], None], folder: Path) -> None:
    damage(at(folder, study, step) / file)
    with pytest.raises(RunError, match="damaged|run.json|not finished|no run"):
        computed(folder / "runs", study)


# The journal itself


def journal_changed(change: Callable[[list[dict]], object], file: Path) -> None:
    """With the checksums of its new lines."""
    lines, last = [json.loads(line) for line in file.read_text().splitlines()], ""
    change(lines)
    for line in lines:
        del line["checksum"]
        line["checksum"] = last = manifest_checksum({**line, "after": last})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def without_the_end(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def garbage(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def a_digit_else(file: Path) -> None:
    file.write_text(file.read_text().replace("sha256", "sha257", 1).replace('"seed": 0', '"seed": 1'))


JOURNALS = {
    "zeroed": zeroed,
    "garbage": garbage,
    "changed": a_digit_else,
    "of another version": partial(journal_changed, lambda lines: lines[0].update(version=1)),
    "of another command": partial(journal_changed, lambda lines: lines[0]["settings"].update(seed=7)),
    "with files elsewhere": partial(journal_changed, lambda lines: lines[2]["files"].update({"../x": [1, "0" * 64]})),
    "with steps of another kind": partial(journal_changed, lambda lines: lines[2].update(step=[5])),
    "with files of another kind": partial(journal_changed, lambda lines: lines[2].update(files=[5])),
}


def journal_refused(damage: Callable[[Path], None], step: str, folder: Path) -> None:
    damage(at(folder, "pictures", step) / JOURNAL_FILE)
    with pytest.raises(RunError, match="is damaged|other settings"):
        computed(folder / "runs", "pictures")


def journal_mended(damage: Callable[[Path], None], step: str, folder: Path) -> None:
    damage(at(folder, "pictures", step) / JOURNAL_FILE)
    must_be_whole(computed(folder / "runs", "pictures"), "pictures")


def file_situations() -> Iterator[Situation]:
    number = 0
    for study, steps in FILES.items():
        for step, file in ((step, file) for step, files in steps.items() for file in files):
            number += 1
            for place, damage in enumerate(DAMAGES):
                what = f"{file} {damage.__name__} after {step!r}"
                check = partial(damaged, study, step, file, damage)
                # Quick ones: a way of damage for each file, all ways in turn. A run of texts takes seconds.
                quick = study == "pictures" and place == number % len(DAMAGES)
                yield Situation("power cuts", what, check, quick)


def listed_situations() -> Iterator[Situation]:
    for (study, step), files in LISTED.items():
        for file in files:
            for damage in DAMAGES:
                what = f"{file} {damage.__name__} after {step!r}, refused"
                check = partial(refused, study, step, file, damage)
                yield Situation("power cuts", what, check, quick=study == "pictures" and damage is zeroed)


def journal_situations() -> Iterator[Situation]:
    for name, damage in JOURNALS.items():
        for step in ("self-influence finetune", "map"):
            what = f"journal {name} after {step!r}, refused"
            yield Situation("power cuts", what, partial(journal_refused, damage, step), quick=True)
    check = partial(journal_refused, cut_short, "map")  # entries of the finished run are missing
    yield Situation("power cuts", "journal cut short after 'map', refused", check, quick=True)
    begun = "self-influence finetune"
    mended = (cut_short, begun), (without_the_end, begun), (without_the_end, "map"), (removed, begun)
    for damage, step in mended:
        what = f"journal {damage.__name__} after {step!r}"
        yield Situation("power cuts", what, partial(journal_mended, damage, step), quick=True)


SITUATIONS = [
    *(Situation("kills", f"{place} of {KILLS}", partial(killed, place)) for place in range(KILLS)),
    *file_situations(),
    *listed_situations(),
    *journal_situations(),
]
