"""A run of every kind of study, on every page and with every command: a situation each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import streamlit as st
from kinds import KINDS, Kind, small_data
from pages import ADDRESSES, TRY_IT, app_on, drawn, raising, standing, upstream, words
from situation import Situation

from explorer.panels.prediction import explain, question
from explorer.panels.retraining import validate
from explorer.ui import state
from influence import Run
from influence.live import TEXT, Live

QUICK = {"cifar10, folders", "fashion", "a function: table", "a function: regression"}
"""Kinds whose runs the suite looks at: those that fell once, and a model of one's own."""


@cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="upstream-kinds-")


@cache
def computed(kind: Kind) -> tuple[Path, list[str]]:
    """The folder of the kind's runs, and what a command is told besides; computed once a process."""
    folder = Path(_home().name) / kind.name.replace(" ", "-").replace(":", "")
    folder.mkdir()
    with small_data(folder):
        arguments = kind.arguments(folder)
        upstream("precompute", *arguments, "--runs", folder / "runs", "--quiet")
    return folder / "runs", ["--study", arguments[0]] if kind.given else []


@contextmanager
def opened(kind: Kind) -> Iterator[tuple[Path, Run, list[str]]]:
    """The folder of its runs, the first of them, and what a command is told besides; its data is what it was."""
    root, given = computed(kind)
    st.cache_resource.clear()
    with small_data(root.parent):
        yield root, Run.open(sorted(path for path in root.iterdir() if not path.name.startswith("."))[0]), given


def commands(kind: Kind) -> None:
    """Every command that takes a run does what it is for."""
    with opened(kind) as (root, run, given):
        assert "all as they were written" in upstream("check", run.path)
        assert run.name in upstream("runs", "--runs", root)
        known = ["--runs", root, *given, "--quiet"]
        one, other = run.examples(run.stages[0])["id"][:2]
        said = upstream("leave-out", run.name, one, other, *known)
        assert "predicted" in said, said
        one = run.examples(run.stages[-1])["id"].iloc[0]
        upstream("leave-out", run.name, one, "--stage", run.stages[-1], "--start", "scratch", *known)
        upstream("validate", run.name, "--budget", "60s", "--check", "noise", *known)
        after = Run.open(run.path)
        assert len(after.validation("what-if")) >= 2
        assert "all as they were written" in upstream("check", run.path)


def page(kind: Kind, address: str) -> None:
    """A page is drawn, of every run of the kind, also where the last model is no classifier."""
    with opened(kind) as (root, _, _):
        for name in sorted(path.name for path in root.iterdir() if not path.name.startswith(".")):
            assert words(drawn(app_on(root, address, run=name)))


def exports(kind: Kind) -> None:
    """Everything that Explore lets one take along is made."""
    made: list[str] = []

    def pressed(label: str, data: Any, *_: object, **__: object) -> bool:
        assert data() if callable(data) else data
        made.append(label)
        return False

    with opened(kind) as (root, run, _), patch.object(st, "download_button", pressed):
        drawn(app_on(root, run=run.name))
        assert {"Lists as CSV", "All scores as CSV", "Report"} <= set(made)


def targets(kind: Kind) -> None:
    """Explore and Compare explain other targets, or say what is in the way."""
    with opened(kind) as (root, run, _):
        for chosen in (explain.PREDICTED, explain.MARGIN):
            said = words(drawn(app_on(root, run=run.name, explained=chosen)))
            assert can_be_asked(kind, run) or not run.classes or "explained instead" in said, said
        drawn(app_on(root, state.COMPARE_PAGE, run=run.name, explain="margin", explain_b="predicted"))


def try_it(kind: Kind) -> None:
    """A new question is answered in every way that its form has; what cannot be asked says why."""
    with opened(kind) as (root, run, _):
        said = [words(drawn(app_on(root, TRY_IT, run=run.name, way=way, text="a river"))) for way in question.EVERY_WAY]
        if not can_be_asked(kind, run):
            assert all("cannot be asked" in each or not run.classes for each in said), said
            return
        # A test item is an answer at once; a text, too. A picture is to be drawn or uploaded first.
        answered = dict(zip(question.EVERY_WAY, said, strict=True))
        for way in {question.TEST, *({question.WRITE} if Live(run).form == TEXT else ())}:
            assert "Confidence" in answered[way], answered[way]


def can_be_asked(kind: Kind, run: Run) -> bool:
    """Whether a page may make the study again: not by a stranger's function."""
    return bool(run.classes) and not kind.given


def buttons(kind: Kind) -> None:
    """What "Check it here" and "Really retrain" begin ends well; of a stranger's function they are not offered."""
    begun: list[list[str]] = []

    def begin(run: Path, what: str, arguments: list[str], seconds: float = 0.0) -> None:
        begun.append(arguments)

    with opened(kind) as (root, run, given), patch("explorer.jobs.process.begin", begin):
        assert bool(validate.why_not(run)) == bool(given)
        if given:
            return
        example = str(run.examples(run.manifest.map.stage)["id"].iloc[0])
        for address, key in ((state.TRUST_PAGE, "validate"), ("", "retrain-"), (state.ITEM_PAGE, "retrain-")):
            app = drawn(app_on(root, address, run=run.name, example=example))
            found = [each for each in app.button if each.key.startswith(key)]
            assert found, f"page {address!r} has no such button: {[each.key for each in app.button]}"
            with raising():
                found[0].click().run()
            standing(app)
        assert [arguments[0] for arguments in begun] == ["validate", "leave-out", "leave-out"]
        for arguments in begun:
            upstream(arguments[0], "--quiet", *arguments[1:])
        for address in ADDRESSES[:-1]:  # with what was measured
            drawn(app_on(root, address, run=run.name))


def _of(what: Callable[..., None], name: str, *arguments: Any) -> list[Situation]:
    quick = QUICK if what is not buttons else set()  # a check takes the time that it is given
    return [
        Situation("studies", f"{kind}: {name}", lambda _, kind=kind: what(kind, *arguments), kind.name in quick)
        for kind in KINDS
    ]


SITUATIONS = [
    *(situation for address in ADDRESSES for situation in _of(page, f"page {address or 'explore'}", address)),
    *_of(exports, "exports"),
    *_of(targets, "other targets"),
    *_of(try_it, "questions"),
    *_of(buttons, "what pages begin"),
    *_of(commands, "commands"),
]
