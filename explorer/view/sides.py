"""Settings of the two sides of a comparison: from the URL, else such that B differs from A in one thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pandas as pd
import streamlit as st

from explorer.runs import folder, matching, queries
from explorer.ui import escape, state
from influence.errors import RunError
from influence.live import Contrast
from influence.run import Run

TRUE, PREDICTED, MARGIN = "true", "predicted", "margin"
EXPLAINED = (TRUE, PREDICTED, MARGIN)
"""Targets of a side, as the URL has them."""


@dataclasses.dataclass(frozen=True)
class Keys:
    """Name of a side, and its keys in the URL."""

    name: str
    run: str
    query: str
    method: str
    explained: str


A = Keys("A", state.RUN, state.QUERY, state.METHOD, state.EXPLAINED)
B = Keys("B", state.RUN_B, state.QUERY_B, state.METHOD_B, state.EXPLAINED_B)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Settings of one side."""

    run: Run
    position: int
    method: str
    explained: str

    @property
    def row(self) -> pd.Series:
        """The prediction, as in the run's table of queries."""
        return self.run.queries().iloc[self.position]


def first(run: Run, stage: str) -> Choice:
    """Side A: the page's run, and the prediction that all pages look at."""
    position = _position(run, A)
    return Choice(
        run,
        queries.opening(run.queries()) if position is None else position,
        _method(run, stage, A) or run.methods(stage)[0],
        _explained(run, A),
    )


def second(a: Choice, stage: str, names: Sequence[str]) -> Choice:
    """Side B: what the URL names, and for the rest whatever differs from A in one thing.

    Another finetuned model of A's study if there is one, else another method, else another prediction.

    Raises:
        RunError: B's run cannot be opened.
    """
    run = _second_run(a, stage, names)
    methods = run.methods(stage) if stage in run.stages else []
    others = [method for method in methods if run.name != a.run.name or method != a.method]
    method = _method(run, stage, B) or (a.method if a.method in others else next(iter(others or methods), ""))
    explained = _explained(run, B)
    position = _position(run, B)
    return Choice(run, usual(a, run, method, explained) if position is None else position, method, explained)


def usual(a: Choice, run: Run, method: str, explained: str) -> int:
    """Row of B's prediction as long as the URL names none: A's own, or another if B differs in nothing else."""
    if (run.name, method, explained) == (a.run.name, a.method, a.explained):
        return queries.another(run.queries(), a.position)
    return opposite(a, run)


def opposite(a: Choice, run: Run) -> int:
    """A's prediction in another run; the one that the run opens on if it does not have it."""
    found = matching.match(a.run, run, queries.QUERIES).row(a.position)
    return queries.opening(run.queries()) if found is None else found


def target_of(choice: Choice) -> Contrast | None:
    """The target that a side asks for; None for the run's stored scores."""
    if not choice.run.classes:
        return None
    said, true = str(choice.row["prediction"]), str(choice.row["label"])
    if choice.explained == PREDICTED and said != true:
        return Contrast(said)
    if choice.explained == MARGIN:
        return Contrast(said, true if said != true else runner_up(choice))
    return None


def runner_up(choice: Choice) -> str | None:
    """The likeliest class beside the predicted one."""
    classes, values = choice.run.classes, choice.row.get("probabilities")
    said = str(choice.row["prediction"])
    if values is None or len(values) != len(classes):
        return next((str(name) for name in classes if name != said), None)
    ordered = sorted(zip(values, classes, strict=True), key=lambda pair: -pair[0])
    return next((str(name) for _, name in ordered if name != said), None)


def swap(a: Choice, b: Choice) -> None:
    """A becomes B and B becomes A; for use in a callback."""
    st.session_state[state.RUN] = b.run.name
    for keys, choice in ((A, b), (B, a)):
        if keys is B:
            state.click(keys.run, choice.run.name)
        state.click(keys.query, choice.row["id"])
        state.click(keys.method, choice.method)
        state.click(keys.explained, None if choice.explained == TRUE else choice.explained)


def _second_run(a: Choice, stage: str, names: Sequence[str]) -> Run:
    wanted = state.parsed(
        state.RUN_B,
        lambda text: text if text in names else None,
        lambda text: f"The link names run “{text}” for B, which cannot be opened here.",
    )
    if wanted is not None:
        return folder.open_run(state.runs_folder() / wanted)
    return next((run for run in _siblings(a.run) if matching.refusal(a.run, run, stage) is None), a.run)


def _siblings(run: Run) -> Iterator[Run]:
    """The other finetuned models of a run's study, opened one after the other."""
    root = state.runs_folder()
    for other in matching.siblings(folder.manifests(root), run):
        if other.name == run.name:
            continue
        try:
            yield folder.open_run(root / other.name)
        except RunError:
            # Nobody asked for it, and the list of runs says what is wrong with it.
            continue


def _position(run: Run, keys: Keys) -> int | None:
    """Row of the prediction that the URL names for a side; None if it names none that the run has."""
    return state.parsed(
        keys.query,
        lambda text: queries.position_by_id(run.queries(), text),
        lambda text: f"{escape.for_markdown(run.name)} has no prediction with id “{text}”.",
    )


def _method(run: Run, stage: str, keys: Keys) -> str | None:
    return _one_of(run.methods(stage) if stage in run.stages else [], keys.method, run)


def _explained(run: Run, keys: Keys) -> str:
    return _one_of(EXPLAINED if can_be_asked(run) else (TRUE,), keys.explained, run) or TRUE


def _one_of(values: Sequence[str], key: str, run: Run) -> str | None:
    name, what = escape.for_markdown(run.name), key.removesuffix("_b")
    return state.parsed(
        key,
        lambda text: text if text in values else None,
        lambda text: f"{name} has no {what} “{text}”; the usual one is taken.",
    )


def can_be_asked(run: Run) -> bool:
    """Whether something else than the loss of the true class may be explained, live: the run says how its study is
    made again, and has classes.
    """
    return bool(run.manifest.asked and run.classes)
