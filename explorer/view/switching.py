"""Switching between runs: choices that mean the same in both runs are kept, all others are dropped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import streamlit as st

from explorer.runs import folder, matching, neighbours, queries
from explorer.ui import state
from influence.errors import UpstreamError
from influence.run import Run, confusion

SHOWN_ELSEWHERE = (
    state.QUERY,
    state.EXAMPLE,
    state.EDIT,
    state.CELL,
    state.GROUP,
    state.WITHIN,
    state.REGION,
    state.BAR,
    state.BRANCH,
    state.WORDS,
    state.SPAN,
)
"""Keys of clicked choices whose meaning depends on the run."""


def to(name: str) -> None:
    """Switch to another run; for use in a callback."""
    st.session_state[state.RUN] = name
    follow()


def follow() -> None:
    """After the run was changed: keep what the new run has too; for use in a callback."""
    before, after = state.shown_run(), st.session_state[state.RUN]
    if before is None or before == after:
        return
    try:
        old, new = (folder.open_run(state.runs_folder() / name) for name in (before, after))
        chosen = {key: state.clicked(key) for key in SHOWN_ELSEWHERE}
        # The one that the run opens on is not in the URL.
        chosen[state.QUERY] = chosen[state.QUERY] or str(old.queries()["id"].iloc[queries.opening(old.queries())])
        kept = common(old, new, chosen)
    except UpstreamError:
        # The page says what is wrong with the run.
        return
    for key, value in kept.items():
        state.click(key, value)


def common(old: Run, new: Run, chosen: Mapping[str, str | None]) -> dict[str, str | None]:
    """The clicked choices that mean the same in both runs; None in place of the others."""
    result: dict[str, str | None] = dict.fromkeys(chosen)
    same = _has(old, new, queries.QUERIES, chosen.get(state.QUERY))
    if same:
        result[state.QUERY] = chosen[state.QUERY]
        if _classes(old) == _classes(new):
            result[state.CELL] = chosen.get(state.CELL)
        result[state.WORDS], result[state.SPAN] = chosen.get(state.WORDS), chosen.get(state.SPAN)
    shared = [stage for stage in old.stages if stage in new.stages]
    if any(_has(old, new, stage, chosen.get(state.EXAMPLE)) for stage in shared):
        result[state.EXAMPLE], result[state.EDIT] = chosen[state.EXAMPLE], chosen.get(state.EDIT)
    if shared and all(matching.match(old, new, stage).complete for stage in shared):
        result |= {key: chosen.get(key) for key in (state.GROUP, state.WITHIN, state.BRANCH)}
    if _same_map(old, new):
        result[state.REGION] = chosen.get(state.REGION)
    return {key: value for key, value in result.items() if key in chosen}


def _has(old: Run, new: Run, table: str, wanted: str | None) -> bool:
    """Whether an id names the same thing in both runs."""
    position = queries.position_by_id(queries.table_of(old, table), wanted) if wanted else None
    return position is not None and matching.match(old, new, table).row(position) is not None


def _classes(run: Run) -> list[str]:
    return list(confusion(run.queries()).index)


def _same_map(old: Run, new: Run) -> bool:
    """Whether examples lie at the same places, so that a region of one map is one of the other."""
    one, two = neighbours.mapped(old), neighbours.mapped(new)
    if one is None or two is None:
        return False
    columns = ["id", "x", "y"]
    return np.array_equal(one[columns].to_numpy(), two[columns].to_numpy())
