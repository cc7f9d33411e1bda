"""The choice of what the training data are judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import unquote

import pandas as pd
import streamlit as st

from explorer.ui import escape, state, theme, widgets
from explorer.view import criterion
from explorer.view.criterion import ERROR, GAP, LOSS, Judgement
from influence.run import Run, SliceKind, confusion, slice_names

HELP = (
    "Loss: of a slice of the predictions, summed. Gap: how much larger the mean loss of one group of them is than that "
    "of another. Class error: the mean probability that is not given to a class by its own predictions."
)
_MARK = "~"


def choose(run: Run) -> Judgement:
    """Draw the choice; of the URL what the run has, else the usual."""
    kinds = offered(run)
    kind = widgets.choice("Judge by", kinds, state.CRITERION, help=HELP) if len(kinds) > 1 else LOSS
    if kind == GAP:
        return _gap(run)
    return _error(run) if kind == ERROR else _slice(run)


def offered(run: Run) -> tuple[str, ...]:
    """What the run's predictions can be judged by."""
    table = run.queries()
    classes = criterion.classes_of(run)
    has = {GAP: bool(criterion.columns(table)), ERROR: "label_probability" in table and bool(classes)}
    return tuple(kind for kind in criterion.CRITERIA if has.get(kind, True))


def _slice(run: Run) -> Judgement:
    table = run.queries()
    names = [*slice_names(table), SliceKind.QUERY]
    wanted = state.parsed(
        state.SLICE,
        lambda text: text if text in names else None,
        lambda text: f"The link's slice “{text}” is not one of this run; another is shown.",
    )
    usual = SliceKind.WRONG if SliceKind.WRONG in names else SliceKind.ALL
    name = wanted or usual
    st.selectbox(
        "Predictions",
        names,
        index=names.index(name),
        key=state.SLICE_WIDGET,
        on_change=lambda: state.click(state.SLICE, st.session_state[state.SLICE_WIDGET]),
        width=240,
        format_func=lambda name: slice_title(table, name),
        help="Over which predictions losses are summed.",
    )
    return criterion.of_slice(run, name, criterion.chosen(table))


def slice_title(table: pd.DataFrame, name: str) -> str:
    """A slice in words."""
    kind, *places = name.split("-")
    if not places:
        return {SliceKind.ALL: "All", SliceKind.WRONG: "All mistakes", SliceKind.QUERY: "The chosen prediction"}[
            SliceKind(kind)
        ]
    classes = confusion(table).index.tolist()
    named = [theme.group_name(classes[int(place)]) for place in places]
    return f"{named[0]} taken for {named[1]}" if kind == SliceKind.CELL else f"All that are {named[0]}"


def _gap(run: Run) -> Judgement:
    table = run.queries()
    columns = criterion.columns(table)
    wanted = state.parsed(
        state.GAP,
        lambda text: gap_parsed(table, text),
        lambda text: f"The link's groups “{text}” are none of this run's predictions; others are compared.",
    )
    column, one, other = wanted or usual_gap(table, columns[0])
    names = list(criterion.groups(table, column))

    def take(*said: str) -> None:
        state.click(state.GAP, gap_text(*said))

    if len(columns) > 1:
        _select("Groups by", columns, column, "gap_column", lambda name: take(*usual_gap(table, name)), escape.visible)
    _select("Loss of", names, one, "gap_one", lambda name: take(column, name, one if name == other else other))
    rest = [name for name in names if name != one]
    _select("less that of", rest, other, "gap_other", lambda name: take(column, one, name))
    return criterion.of_gap(run, column, one, other)


def usual_gap(table: pd.DataFrame, column: str) -> tuple[str, str, str]:
    """The column, and its groups with the largest and the smallest mean loss."""
    names = list(criterion.groups(table, column))
    return column, names[0], names[-1]


def gap_text(*said: str) -> str:
    """A column and two of its values for the URL."""
    return _MARK.join(part.replace("%", "%25").replace(_MARK, "%7E") for part in said)


def gap_parsed(table: pd.DataFrame, text: str) -> tuple[str, str, str] | None:
    """The column and two of its values that the URL names; None if it names none."""
    said = [unquote(part) for part in text.split(_MARK)]
    if len(said) != 3 or said[0] not in criterion.columns(table) or said[1] == said[2]:
        return None
    column, one, other = said
    return (column, one, other) if {one, other} <= set(criterion.groups(table, column)) else None


def _error(run: Run) -> Judgement:
    names = criterion.classes_of(run)
    wanted = state.parsed(
        state.ERROR_OF,
        lambda text: text if text in names else None,
        lambda text: f"No prediction of this run has the label “{text}”; another class is shown.",
    )
    name = wanted or max(names, key=lambda name: criterion.of_error(run, name).now)
    _select("Class", names, name, "error_class", lambda name: state.click(state.ERROR_OF, name))
    return criterion.of_error(run, name)


def _select(
    label: str,
    options: Sequence[str],
    chosen: str,
    key: str,
    take: Callable[[str], None],
    title: Callable[[str], str] = theme.group_name,
) -> None:
    """Draw a choice that is kept in the URL by `take`, and follows it."""
    st.session_state[key] = chosen
    st.selectbox(label, options, key=key, on_change=lambda: take(st.session_state[key]), width=150, format_func=title)
