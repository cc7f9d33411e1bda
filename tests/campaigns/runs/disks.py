"""Full disks: whatever writes is refused with a message that names the place, and goes on when there is room.

The disk is a real one of some kilobytes, in memory, where this user may mount one; elsewhere files may have at most so
many bytes, which fails in the same places.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from situation import Situation, small_runs

from influence.errors import RunError
from influence.run import Draft, Run

sys.path.append(str(Path(__file__).parents[2] / "influence"))  # the tiny study

SMALL = 64 * 1024
NUMBERS = 50_000
"""In tables, models and arrays that do not fit on a small disk."""
NOISE = np.random.default_rng(0).random(NUMBERS)
KEEPER = tempfile.TemporaryDirectory(prefix="upstream-disks-")


@dataclass(frozen=True)
class Disk:
    """A full disk at `folder`; `largest`: bytes of a file where it is none of its own."""

    folder: Path
    largest: int | None

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Here no file finds room."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if self.largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def refused(self, act: Callable[[], Any]) -> None:
        """Let it act where there is no room: it says where it is, and what to do."""
        try:
            with self.full():
                act()
        except RunError as error:
            told = str(error)
        else:
            raise AssertionError("it went on as if it were written")
        assert str(self.folder) in told, f"{told!r} does not name {self.folder}"
        assert "free" in told.lower() or "larger" in told, f"{told!r} does not say what to do"

    def room(self) -> None:
        if self.largest is None:
            subprocess.run([*_mount("remount,size=1g"), str(self.folder)], check=True)


@contextlib.contextmanager
def disk(folder: Path, size: int, largest: int = SMALL // 4) -> Iterator[Disk]:
    """A disk of `size` bytes; elsewhere files of at most `largest`."""
    folder.mkdir(parents=True)
    if shutil.which("mount"):
        subprocess.run([*_mount(f"size={size}"), str(folder)], capture_output=True, check=False)
    mounted = os.path.ismount(folder)
    try:
        yield Disk(folder, None if mounted else largest)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(options: str) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", options, "upstream"]


def no_half_files(folder: Path) -> None:
    left = [
        str(p) for p in folder.rglob("*") if p.suffix in (".tmp", ".partial", ".lock", ".unfinished") and p.is_file()
    ]
    assert not left, f"{left} are left"


# What a draft writes


def _array(draft: Draft) -> None:
    name, array = draft.create_scores("pretrain", "exact", (100, NUMBERS // 100))
    draft.write_scores(name, array, 0, np.ones((100, NUMBERS // 100), np.float32))


def _tensors() -> dict[str, Any]:
    import torch

    return {"w": torch.rand(NUMBERS)}


WRITES: dict[str, Callable[[Draft], Any]] = {
    "table": lambda draft: draft.write_table("queries", pd.DataFrame({"a": NOISE})),
    "model": lambda draft: draft.write_model("pretrain", _tensors()),
    "curvature": lambda draft: draft.write_curvature("pretrain", "exact", _tensors()),
    "shares": lambda draft: draft.write_shares("a", "b", pd.DataFrame({"a": NOISE})),
    "vectors of the map": lambda draft: draft.write_array("embedding/examples", np.ones((NUMBERS // 8, 8), np.float32)),
    "scores": _array,
    "tokenizer": lambda draft: draft.write_text("tokenizer.json", "x" * 4 * NUMBERS),
    "journal": lambda draft: draft.mark("next", "x" * 4 * NUMBERS),
}


def draft_of(write: Callable[[Draft], Any], folder: Path) -> None:
    root = folder / "runs"
    with disk(root, SMALL) as place:
        draft = Draft(root, "r", {})
        draft.mark("begun")
        place.refused(lambda: write(draft))
        again = Draft(root, "r", {})
        assert list(again.steps) == ["begun"]
        place.room()
        write(again)
        again.mark("next")


def vectors(folder: Path) -> None:
    """The memory map of a file with holes ended the process without a word."""
    import torch
    from tiny import tiny_study

    from influence.attribution.chain import objectives_of
    from influence.precompute.pieces.query_vectors import QueryVectors

    objective, root = objectives_of(tiny_study())[0], folder / "runs"
    many = 4 * SMALL // (4 * objective.trained.size)
    with disk(root, SMALL) as place:
        kept = QueryVectors(root / "work", objective, many)
        given = torch.rand(many, objective.trained.size, dtype=kept.dtype)

        def write() -> None:
            kept.create()
            kept.write(slice(0, 1), given[:1])
            kept.write(slice(1, many), given[1:])

        place.refused(write)
        place.room()
        write()
        assert torch.equal(torch.stack([kept.row(i) for i in range(many)]), given)
        assert torch.equal(torch.cat(list(kept.mapped().values()), 1), given)


# Commands


@contextlib.contextmanager
def tiny_world() -> Iterator[None]:
    from tiny_runs import TinyBuilt

    from influence.studies import STUDIES

    first_two = "influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates")
    # The disk has the room when a command begins, and is filled by others meanwhile.
    roomy = "influence.precompute.runs.refuse_what_cannot_fit", lambda *_: None
    with patch.dict(STUDIES, {"tiny": TinyBuilt}), patch(*first_two), patch(*roomy):
        yield


def _compute(root: Path) -> list[Run]:
    from influence.precompute import precompute
    from influence.studies.request import exhibits_for

    exhibits = exhibits_for("tiny", None, None, None, {}, {})
    return precompute(exhibits, ["frozen", "updated"], root, progress=False)


@cache
def undisturbed() -> list[Run]:
    with tiny_world():
        return _compute(Path(KEEPER.name))


def precomputed(kilobytes: int, folder: Path) -> None:
    from tiny_runs import assert_equal_runs

    known, root = undisturbed(), folder / "runs"
    with tiny_world(), disk(root, 1024 * kilobytes, 32 * kilobytes) as place:
        place.refused(lambda: _compute(root))
        place.room()
        for run, other in zip(_compute(root), known, strict=True):
            assert_equal_runs(run, other)
            assert not run.unlisted()
        no_half_files(root)


def checked(command: str, kilobytes: int, folder: Path) -> None:
    from influence.validation import validate
    from influence.validation.omission import leave_out

    known, root = undisturbed()[0], folder / "runs"
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in known.path.rglob("*") if path.is_file())
    with tiny_world(), disk(root, size + 1024 * kilobytes, 1024) as place:
        run = Run.open(shutil.copytree(known.path, root / "frozen"))

        def act() -> Run:
            if command == "leave-out":
                return leave_out(run, [3, 7], progress=False)
            return validate(run, checks=["noise"], budget=60, progress=False)

        place.refused(act)
        assert Run.open(run.path).validations == []
        place.room()
        assert Run.open(act().path).validations
        no_half_files(root)


def index(kilobytes: int, folder: Path) -> None:
    from tiny import tiny_study

    from influence import Index

    with disk(folder / "own", 1024 * kilobytes, 1024) as place:
        act = partial(Index, tiny_study(), folder / "own" / "index", method="identity", progress=False)
        place.refused(act)
        place.room()
        act()
        no_half_files(folder / "own")


# Tables of checks, notes, what is told and served


def table_of_a_check(folder: Path) -> None:
    from influence.run.additions import add_tables

    made = small_runs().write_run(folder / "made")
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in made.path.rglob("*") if path.is_file())
    with disk(folder / "runs", size + 12 * 1024) as place:
        run = Run.open(shutil.copytree(made.path, folder / "runs" / made.name))
        many = pd.DataFrame({"query": np.arange(20_000, dtype="int32") % 40, "measured": NOISE[:20_000]})
        place.refused(lambda: add_tables(run, {"noise": many}))
        assert Run.open(run.path).validations == []
        assert not Run.open(run.path).unlisted()
        place.room()
        assert Run.open(add_tables(run, {"noise": many}).path).validations == ["noise"]


def piece(folder: Path) -> None:
    from influence.validation.pieces import Pieces

    with disk(folder / "runs", SMALL) as place:
        pieces, table = Pieces(folder / "runs" / "pieces"), pd.DataFrame({"a": NOISE})
        place.refused(lambda: pieces.put("key", table))
        assert pieces.get("key") is None
        no_half_files(folder / "runs")
        place.room()
        pieces.put("key", table)
        assert pieces.get("key").equals(table)


def note(folder: Path) -> None:
    from explorer.export import notes

    made = small_runs().write_run(folder / "made")
    with disk(folder / "runs", 4096, 4096) as place:
        run = Run(folder / "runs" / "r", made.manifest)
        said = notes.Note("queries", 1000, (), "x" * 1500)
        place.refused(lambda: [notes.write(run, said) for _ in range(4)])
        kept = len(notes.file(run).read_bytes().split(b"\n")) - 1
        place.room()
        notes.write(run, said)
        assert len([line for line in notes.file(run).read_bytes().split(b"\n") if line.endswith(b"}")]) == kept + 1


def demo_begun(folder: Path) -> None:
    """Nobody knows of a computation whose number could not be kept: it must not go on."""
    from explorer.jobs import demo

    begun: list[Any] = []
    start = subprocess.Popen
    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    with disk(folder / "runs", 8192) as place:
        (folder / "runs" / "filled").write_bytes(b"x" * 8192)

        def kept(*arguments: Any, **options: Any) -> Any:
            begun.append(start(*arguments, **options))
            return begun[-1]

        known = patch.object(demo, "command", lambda root, study: sleeps), patch.object(subprocess, "Popen", kept)
        with known[0], known[1], contextlib.suppress(RunError):
            demo.start(folder / "runs", "digits")
            demo.stop(folder / "runs")  # where the disk had the room
        place.room()
        for process in begun:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError("a computation goes on that nobody knows of") from None


def served_file(folder: Path) -> None:
    from explorer.runs import static_files

    served = patch.dict(os.environ, {"UPSTREAM_STATIC": str(folder / "static")})
    with disk(folder / "static", 8192) as place, place.full(), served:
        assert static_files._published("large.json", lambda: b"x" * 100_000) is None
        assert not list((folder / "static").iterdir())


def progress(folder: Path) -> None:
    from influence.progress import Progress
    from influence.run import PROGRESS

    told = folder / "told" / "progress.json"
    kept = patch.dict(os.environ, {PROGRESS: str(told)})
    with disk(folder / "told", 4096) as place, place.full(), kept, Progress(visible=False) as bars:
        bars.run("x" * 100_000)
        with bars.step("goes on"):
            pass
    no_half_files(folder / "told")


def printed(command: str, _: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as place:
        call = [sys.executable, "-m", "influence", command]
        ended = subprocess.run(call, stdout=place, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2, ended
    assert ended.stderr.startswith("Error: No space left on device"), ended


SITUATIONS = [
    *(Situation("disks", f"full for {name}", partial(draft_of, write), quick=True) for name, write in WRITES.items()),
    Situation("disks", "full for vectors of queries", vectors, quick=True),
    *(Situation("disks", f"precompute, {size} kB", partial(precomputed, size)) for size in (16, 32, 64, 96, 128, 160)),
    *(Situation("disks", f"validate, {size} kB more", partial(checked, "validate", size)) for size in (0, 8, 24)),
    *(Situation("disks", f"leave-out, {size} kB more", partial(checked, "leave-out", size)) for size in (0, 8)),
    *(Situation("disks", f"own index, {size} kB", partial(index, size)) for size in (4, 8)),
    Situation("disks", "full for a check's table", table_of_a_check, quick=True),
    Situation("disks", "full for a retraining's result", piece, quick=True),
    Situation("disks", "full for a note", note, quick=True),
    Situation("disks", "full for the number of a computation", demo_begun, quick=True),
    Situation("disks", "full for a file of the page", served_file, quick=True),
    Situation("disks", "full for progress", progress, quick=True),
    *(
        Situation("disks", f"full for what {command} prints", partial(printed, command))
        for command in ("studies", "runs")
    ),
]
