"""One byte of a finished run is another: before it is opened, or afterwards with size and time as they were.

What was lost is an error that names the file, or nothing was: no number, no letter and no picture differs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from situation import Situation, small_runs

from influence.errors import RunError
from influence.run import Run

FLIPS, QUICK = 100, 24
EVEN = 2
"""Every second run is one of texts: it has tokens and shares too."""
KEEPER = tempfile.TemporaryDirectory(prefix="upstream-flips-")


@cache
def original(text: bool) -> Path:
    """A finished run with everything that a run may hold."""
    run = small_runs().write_run(Path(KEEPER.name), "words" if text else "pictures", text=text)
    import torch
    from safetensors.torch import save_file

    from influence.run.additions import add_tables
    from influence.run.files import checksum

    file = run.path / "curvature" / "pretrain-exact.safetensors"
    file.parent.mkdir()
    save_file({"factor": torch.arange(6.0)}, file)
    files = {**run.manifest.files, file.relative_to(run.path).as_posix(): checksum(file)}
    run = small_runs().restated(run, files=files)
    table = pd.DataFrame({"changed": "seed", "start": "solution", "seed": [0], "query": [0], "measured": [0.5]})
    return add_tables(run, {"noise": table.astype({"seed": "int32", "query": "int32", "measured": "float32"})}).path


def readers(run: Run) -> dict[str, Callable[[], Any]]:
    """Everything that pages read of a run."""
    found: dict[str, Callable[[], Any]] = {"queries": run.queries, "embedding": lambda: _whole(run.embedding())}
    for stage in run.stages:
        found |= {
            f"examples {stage}": partial(run.examples, stage),
            f"shapes {stage}": partial(run.shapes, stage),
            f"curvature {stage}": partial(run.curvature, stage, "exact"),
            f"tokens {stage}": partial(run.tokens, stage),
            f"shares {stage}": partial(run.shares, stage, "exact", 3),
            f"row {stage}": lambda stage=stage: run.scores(stage)[3],
            f"column {stage}": lambda stage=stage: run.scores(stage)[:, 2],
        }
    found |= {f"check {check}": partial(run.validation, check) for check in run.validations}
    return found | {"tokens of queries": lambda: run.tokens("queries"), "models": run.models}


def _whole(arrays: Any) -> Any:
    return None if arrays is None else [np.asarray(array[:]) for array in arrays]


@cache
def truth(text: bool) -> dict[str, Any]:
    return {name: read() for name, read in readers(Run.open(original(text))).items()}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one is other is None or np.array_equal(np.asarray(one), np.asarray(other))


def flip(seed: int, afterwards: bool, folder: Path) -> None:
    text, rng = seed % EVEN == 0, np.random.default_rng(seed)
    place = folder / original(text).name
    shutil.copytree(original(text), place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    file, run = files[seed // EVEN % len(files)], Run.open(place)
    before, held = file.stat(), bytearray(file.read_bytes())
    held[rng.integers(len(held))] ^= int(rng.integers(1, 256))
    file.write_bytes(held)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    name = file.relative_to(place).as_posix()
    if afterwards:
        read_as_before(run, name, truth(text))
    refuse_to_open(place, name, truth(text))


def read_as_before(run: Run, name: str, known: dict[str, Any]) -> None:
    """Each reader gives what it gave, or says which file is not what it was; the one of this file says so."""
    refused = []
    for what, read in readers(run).items():
        try:
            assert same(read(), known[what]), f"{what} is read otherwise than it was written, after a flip in {name}"
        except RunError as error:
            refused.append(named(name.removesuffix("/zarr.json"), error))
    read_by_none = name == "run.json" or "/c/" in name
    assert refused or read_by_none, f"nobody met the flip in {name}"


def named(name: str, error: RunError) -> str:
    """The error's message, which names the file."""
    assert name in str(error), f"{error} does not name {name}"
    return str(error)


def refuse_to_open(place: Path, name: str, known: dict[str, Any]) -> None:
    """As `upstream check`: it names the file; a change of run.json that means nothing changes nothing."""
    try:
        run = Run.open(place)
    except RunError as error:
        named(name, error)
    else:
        assert name == "run.json", f"nobody sees the flip in {name}"
        assert all(same(read(), known[what]) for what, read in readers(run).items())


SITUATIONS = [
    Situation(
        "flips",
        f"byte of a file, {'after' if seed >= FLIPS // 2 else 'before'} the run was opened, seed {seed}",
        partial(flip, seed, seed >= FLIPS // 2),
        quick=seed % (FLIPS // 2) < QUICK // 2,
    )
    for seed in range(FLIPS)
]
