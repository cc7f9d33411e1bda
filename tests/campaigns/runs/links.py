"""Links, pipes, devices, folders for files and files for folders, under every name that is opened or written."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import pandas as pd
from pages import ADDRESSES
from readers import command, page, untouched
from situation import Situation
from strangers import PICTURES, copied

from explorer.export import notes
from explorer.jobs import demo
from influence.errors import UpstreamError
from influence.run import Draft, Run, add_tables, read_manifest, runs_in
from influence.run.files import retrainings_folder, retrainings_locked
from influence.validation.pieces import Pieces

SECONDS = 30
"""That all readers and writers together may take, without pages."""
QUICK_EVERY = 13
SETTINGS = {"seed": 0}
TABLE = pd.DataFrame({"changed": ["seed"], "start": ["scratch"], "seed": [0], "query": [0], "measured": [0.1]})

# What lies in a name's place


def link(path: Path, mine: Path) -> None:
    path.symlink_to(mine / "diary.txt")


def link_to_folder(path: Path, mine: Path) -> None:
    path.symlink_to(mine)


def dangling(path: Path, mine: Path) -> None:
    path.symlink_to(mine / "new.txt")


def circle(path: Path, mine: Path) -> None:
    path.symlink_to(path)


def second_name(path: Path, mine: Path) -> None:
    os.link(mine / "diary.txt", path)


def zeros(path: Path, mine: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path, mine: Path) -> None:
    os.mkfifo(path)


def plug(path: Path, mine: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def folder_for_file(path: Path, mine: Path) -> None:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "diary.txt").write_text("in the way")


def file_for_folder(path: Path, mine: Path) -> None:
    path.write_bytes(b"in the way")


KINDS: tuple[Callable[[Path, Path], None], ...] = (
    link,
    link_to_folder,
    dangling,
    circle,
    second_name,
    zeros,
    pipe,
    plug,
    folder_for_file,
    file_for_folder,
)
DRAFT, COMPUTING = ".odd.unfinished", ".computing"
NAMES = (
    # of a run
    *(
        f"odd/{name}"
        for name in (
            "run.json", "journal.jsonl", "queries.parquet", "stages", "stages/pretrain.safetensors",
            "examples/pretrain.parquet", "scores", "scores/pretrain-exact.zarr", "scores/pretrain-exact.zarr/zarr.json",
            "scores/pretrain-exact.zarr/c", "scores/pretrain-exact.zarr/c/0/0", "map", "map/queries.parquet",
            "embedding/queries.zarr", "validation", "validation/noise-0123456789ab.parquet", "work", "work/x",
            "tokenizer.json", "run.json.tmp", "curvature", "other", ".hidden",
        )
    ),
    # beside it
    "odd", ".odd.lock", DRAFT, f"{DRAFT}/journal.jsonl", f"{DRAFT}/work", f"{DRAFT}/queries.parquet",
    f"{DRAFT}/examples", f"{DRAFT}/scores", f"{DRAFT}/run.json", ".odd.retrainings", ".odd.retrainings/x.parquet",
    ".odd.retrainings.lock", "odd.notes.jsonl", ".odd.notes.jsonl.lock", COMPUTING, f"{COMPUTING}/process.json",
    f"{COMPUTING}/progress.json", f"{COMPUTING}/log.txt", f"{COMPUTING}/lock", f"{COMPUTING}/turn", "other",
)  # fmt: skip


def in_place(root: Path, name: str, kind: Callable[[Path, Path], None], mine: Path) -> None:
    """Put something odd in the place of `name`, whatever is there."""
    if name.startswith(f"{DRAFT}/"):
        draft = Draft(root, "odd", SETTINGS | {"other": 1})
        draft.write_table("queries", TABLE)
        draft.mark("begun")
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        path.rename(mine.parent / "moved")
    path.unlink(missing_ok=True)
    kind(path, mine)


@contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Whoever waits longer is ended."""

    def end(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Everybody who reads and writes


def write_all(root: Path, opened: Run) -> None:
    """All that writes beside a run or into it; each may refuse."""
    refused = contextlib.suppress(UpstreamError, OSError)
    with refused:
        add_tables(opened, {"noise": TABLE})
    with refused:
        notes.write(opened, notes.Note("queries", 1000, text="mine"))
    with refused:
        notes.read(opened)
    with refused, retrainings_locked(opened.path):
        pieces = Pieces(retrainings_folder(opened.path))
        pieces.put("key", TABLE)
        pieces.get("key")
    for name, settings in (("odd", SETTINGS), ("odd", SETTINGS | {"other": 1})):
        with refused:
            draft = Draft(root, name, settings)
            with draft.locked():
                draft.write_table("examples/pretrain", TABLE)
                draft.create_scores("pretrain", "exact", (3, 4))[1][:] = 0
                draft.mark("again")
    with refused, mock.patch.object(demo, "command", return_value=[sys.executable, "-c", "pass"]):
        demo.start(root)
        demo.stop(root)
    demo.status(root)


def check_odd(name: str, kind: Callable[[Path, Path], None], pages: tuple[str, ...], folder: Path) -> None:
    mine = folder / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "diary.txt").write_text('{"a": 1}\n')
    root = copied(PICTURES, folder)
    shutil.copytree(root / "odd", root / "good")
    opened = Run(root / "odd", read_manifest(root / "odd"))
    in_place(root, name, kind, mine)
    with untouched(mine), in_time(SECONDS * (1 + len(pages))):
        said = command("runs", "--runs", str(root)) + command("check", "odd", "--runs", str(root))
        for address in pages:
            page(root, address, run="odd")
        write_all(root, opened)
        command("runs", "--runs", str(root))
        assert any(path.name == "good" and isinstance(run, Run) for path, run in runs_in(root)), said


def of_odd_name(name: bytes, folder: Path) -> None:
    """A run's folder that has a name that cannot be shown, or that is markup."""
    root = copied(PICTURES, folder)
    shutil.copytree(os.fsencode(root / "odd"), os.path.join(os.fsencode(root), name))
    assert "A small run" in command("runs", "--runs", str(root))
    page(root, "")


def deep(folder: Path) -> None:
    """Folders within folders, as far as the system lets them."""
    root = copied(PICTURES, folder)
    before = Path.cwd()
    os.chdir(root / "odd")
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(before)
    try:
        with in_time(SECONDS):
            assert "lies too deep" in command("check", "odd", "--runs", str(root))
            page(root, "")
    finally:
        os.system(f"rm -rf '{root / 'odd' / 'd'}'")  # Python's own way is too deep itself


TRIED = [(name, kind) for name in NAMES for kind in KINDS]
ODD_NAMES = (b"\xff\xfe", b"<b>x", b"a\nb", b"\x1b[2J", b"a" * 255, "e\u0301\u202e".encode(), b"con", b"run.")
SITUATIONS = [
    *(
        Situation("links", f"{kind.__name__} for {name}", partial(check_odd, name, kind, ADDRESSES[:1]))
        for name, kind in TRIED
    ),
    *(Situation("links", f"a folder called {name!r}", partial(of_odd_name, name)) for name in ODD_NAMES),
    Situation("links", "folders within folders", deep),
    *(
        Situation("links, without pages", f"{kind.__name__} for {name}", partial(check_odd, name, kind, ()), quick=True)
        for name, kind in TRIED[::QUICK_EVERY]
    ),
]
