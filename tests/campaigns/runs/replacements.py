"""A run is replaced while somebody looks at it: what is drawn then is of one run, or says what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import streamlit as st
from pages import ADDRESSES, AppTest, app_on, content, drawn, raising, standing
from situation import Situation, small_runs

from explorer.runs import folder
from influence.run.reading import Run

NAME = "small"
BETWEEN, PRESSED, WITHIN = MOMENTS = ("between two draws", "before a widget is pressed", "while it is drawn")
FORMS = {
    "another seed": {"seed": 1},
    "other scores": {"scored": 1},
    "texts": {"text": True},
    "no map": {"mapped": False},
    "a part is pending": {"pending": ("map",)},
    "more methods": {"methods": ("exact", "cg")},
}
"""What is written in its place, as `write_run` is told."""


@dataclass(frozen=True)
class Change:
    """What becomes of a run's folder; `to(root)` does it, `good`: a run of that name can be opened afterwards."""

    name: str
    to: Callable[[Path], None]
    good: bool = False


@cache
def _home() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="upstream-replaced-")


@cache
def written(**form: object) -> Path:
    """A folder with one run of this form, written once a process."""
    root = Path(_home().name) / str(len(list(Path(_home().name).iterdir())))
    small_runs().write_run(root, NAME, **form)
    return root


def fewer() -> Path:
    """A run of other counts: fewer examples and queries."""
    return _fewer()


@cache
def _fewer() -> Path:
    small, root = small_runs(), Path(_home().name) / "fewer"
    small.PRETRAIN, small.FINETUNE, small.QUERIES = 30, 10, 20
    small.write_run(root, NAME)
    return root


def put(source: Path, root: Path) -> None:
    """Put the run of another folder into the place, as a computation does: in one move."""
    shutil.rmtree(root / NAME)
    shutil.copytree(source / NAME, root / ".new")
    (root / ".new").rename(root / NAME)


def format_of(root: Path, number: int) -> None:
    path = root / NAME / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": number}))


def damage(root: Path) -> None:
    """One byte of the scores is another one."""
    chunk = next(path for path in sorted((root / NAME / "scores").rglob("*")) if path.parent.parent.name == "c")
    content = bytearray(chunk.read_bytes())
    content[5] ^= 0xFF
    chunk.write_bytes(content)


FORMAT = json.loads((written() / NAME / "run.json").read_text())["format"]
CHANGES = [
    *(Change(what, lambda root, form=form: put(written(**form), root), True) for what, form in FORMS.items()),
    Change("fewer examples", lambda root: put(fewer(), root), True),
    Change("removed", lambda root: shutil.rmtree(root / NAME)),
    Change("renamed", lambda root: (root / NAME).rename(root / "moved")),
    Change("of an older version", lambda root: format_of(root, FORMAT - 1)),
    Change("of a newer version", lambda root: format_of(root, FORMAT + 1)),
    Change("damaged", damage),
]


def replaced(place: Path, change: Change, page: str, moment: str) -> None:
    """A visitor has the page open when the run changes at that moment, and then does something."""
    st.cache_resource.clear()
    root = place / "runs"
    shutil.copytree(written() / NAME, root / NAME)
    shutil.copytree(written(seed=2) / NAME, root / "another")
    app = drawn(app_on(root, page, run=NAME))
    before = content(app)
    if moment == WITHIN:
        _draw_while_it_changes(app, root, change)
        # Not a mix of two: what was opened, what there is now, or words about it.
        assert content(app) in (before, afresh(root, page)) or told(app), _difference(before, content(app))
        drawn(app)
    else:
        change.to(root)
        if moment == PRESSED:
            _press(app)
        else:
            drawn(app)
    if change.good:
        there = afresh(root, page, **app.query_params)
        assert content(app) == there, _difference(there, content(app))
    else:
        assert told(app), "nothing is said"


def afresh(root: Path, page: str, **url: object) -> list[str]:
    """What a visitor sees who opens the page only now."""
    return content(drawn(app_on(root, page, **{"run": NAME, **url})))


def told(app: AppTest) -> bool:
    return bool(app.error)


def _press(app: AppTest) -> None:
    """Press something that leads to another view, if the page has such a thing."""
    buttons = [each for each in app.button if not each.disabled and each.key.startswith(("step", "next", "previous"))]
    with raising():
        buttons[-1].click().run() if buttons else app.run()
    standing(app)


def _draw_while_it_changes(app: AppTest, root: Path, change: Change) -> None:
    """The run changes once it is opened, before any of its pages is drawn."""
    original, left = folder.open_run, [change]

    def open_run(path: Path) -> Run:
        run = original(path)
        if left and path.name == NAME:
            left.pop().to(root)
        return run

    with patch.object(folder, "open_run", open_run):
        drawn(app)


def _difference(one: list[str], other: list[str]) -> str:
    pairs = [f"{a[:200]!r} / {b[:200]!r}" for a, b in zip(one, other, strict=False) if a != b]
    return f"{len(one)} and {len(other)} parts: " + " | ".join(pairs[:3])


SITUATIONS = [
    Situation(
        "replacements",
        f"{change.name}, {moment}, page {page or 'explore'}",
        lambda place, change=change, page=page, moment=moment: replaced(place, change, page, moment),
        quick=number % 9 == 0,
    )
    for number, (change, page, moment) in enumerate(
        (change, page, MOMENTS[(i + j) % 3]) for i, change in enumerate(CHANGES) for j, page in enumerate(ADDRESSES)
    )
]
