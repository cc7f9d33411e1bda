"""What was measured, a chart a check: the question, the chart, what it says in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer import charts, components, evidence, plain, state, theme
from explorer.panels import controls
from influence.run import Run


def draw(run: Run, position: int | None, start: str, whose: str) -> None:
    """Draw a chart of every check that the run has; `position` is the row of the chosen prediction, if there is one."""
    left, right = st.columns(2, gap="large")
    drawers = (
        lambda: _singles(run, position if whose == state.THIS else None, start),
        lambda: _subsets(run, start), lambda: _stability(run, position), lambda: _planted(run),
        lambda: _removal(run, start), lambda: _sanity(run), lambda: _noise(run),
    )  # fmt: skip
    for place, draw_one in enumerate(drawers):
        with left if place in (0, 3) else right:
            draw_one()


def _singles(run: Run, position: int | None, start: str) -> None:
    _title("One example left out: predicted and measured")
    pairs = singles(run, position, start)
    if not len(pairs):
        _missing(run, "leave-one-out", start)
        return
    stage = evidence.stage_of(run)
    examples, queries, unit = run.examples(stage)["id"], run.queries()["id"], unit_of(run, pairs)

    def link(example: int, query: int) -> str:
        return state.address(state.ITEM_PAGE, of=controls.stage_title(stage), example=example, query=query)

    shown = charts.sampled(pairs)
    _chart("singles", charts.scatter(shown, examples, queries, unit, link))
    r = evidence.correlation(pairs["predicted"].to_numpy(), pairs["measured"].to_numpy())
    of = "all predictions" if position is None else f"prediction #{queries.iloc[position]}"
    drawn = f" {len(shown):,} of {len(pairs):,} pairs are drawn: the largest, and others at random." if len(
        shown
    ) < len(pairs) else ""  # fmt: skip
    st.caption(
        f"{pairs['example'].nunique()} examples, each left out alone; {of}; r = {charts.two(r)} over all pairs.{drawn} "
        "Press a point to see its example."
    )
    if position is None:
        _words(run, "leave-one-out", start)


def _subsets(run: Run, start: str) -> None:
    _title("Many left out at random: do sums of scores order the losses? (LDS)")
    found = charts.subsets(run, start)
    if not found:
        _missing(run, "subsets", start)
        return
    _rows("subsets", charts.rows(found, "Rank correlation of summed scores and measured losses", include=(0.0, 1.0)))
    st.caption(
        "Rank correlation, 1 = the same order, 0 = chance; mean over predictions. The interval draws subsets and seeds "
        "again."
    )


def _removal(run: Run, start: str) -> None:
    _title("Removal in bulk: does leaving out the most harmful help?")
    table = run.validation("removal")
    part = None if table is None else table[table["start"] == start]
    if part is None or part.empty:
        _missing(run, "removal", start)
        return
    unit = unit_of(run, part.assign(measured=part["loss"] - part["loss_before"]))
    data = charts.rows(
        charts.removal(run, start, unit), "Change of the mean loss", factor=unit.factor, unit=unit.name or "nat"
    )
    _rows("removal", data)
    st.caption("Change of the mean loss of predictions that had no part in the choice; below zero it got better.")


def _stability(run: Run, position: int | None) -> None:
    _title("Other choices: how much of a list stays?")
    own = evidence.stays(run, evidence.stage_of(run), position) if position is not None else None
    found = charts.stability(run, own)
    if not found:
        _missing(run, "stability")
        return
    data = charts.rows(found, "Share of the lists that stays", include=(0.0, 1.0), factor=100, unit="%",
                       other="the chosen prediction")  # fmt: skip
    _rows("stability", data)
    table = run.validation("stability")
    assert table is not None
    st.caption(
        f"Share of the {table['k'].iloc[0]} strongest examples of either sign that stay among them; mean over "
        "predictions. Rank r is over all examples."
    )


def _planted(run: Run) -> None:
    _title("Wrong labels planted on purpose: how soon are they found?")
    table = run.validation("planted")
    if table is None or table.empty:
        _missing(run, "planted")
        return
    data = charts.curves(table)
    _chart("planted", data)
    share, seeds = float(table["share"].max()), table[table["share"] == table["share"].max()]["seed"].nunique()
    st.caption(f"{share:.0%} of the labels flipped, the model trained again; mean of {seeds} draws. Area 1 is best.")


def _sanity(run: Run) -> None:
    _title("Beside simpler scores, and those of models that learned nothing")
    found = charts.sanity(run)
    if not found:
        _missing(run, "sanity")
        return
    _rows("sanity", charts.rows(found, "Rank correlation with what was measured", include=(0.0, 1.0)))
    against = run.validation("sanity")
    what = "" if against is None or against.empty else f" ({against['against'].iloc[0]})"
    st.caption(f"Rank correlation with what was measured{what}, mean over predictions.")


def _noise(run: Run) -> None:
    _title("The noise floor: how much do losses change with nothing left out?")
    effects = charts.strongest_effects(run)
    unit = theme.unit_of(effects) if len(effects) else theme.Unit("nat", 1.0)
    found = charts.noise(run, unit)
    if not found:
        _missing(run, "noise")
        return
    _rows("noise", charts.rows(found, "Root mean square change", factor=unit.factor, unit=unit.name))
    st.caption(
        "Root mean square over predictions. Where another seed changes more than leaving out an example does, its "
        "effect can be seen only in the mean of many trainings from scratch."
    )


def singles(run: Run, position: int | None, start: str) -> pd.DataFrame:
    """`example`, `query`, `kind`, `predicted`, `measured` of all pairs, or of one query."""
    table = run.validation("leave-one-out")
    columns = ["example", "query", "kind", "predicted", "measured"]
    if table is None:
        return pd.DataFrame(columns=columns)
    keep = table["start"] == start
    if position is not None:
        keep &= table["query"] == position
    return table[keep][columns]


def unit_of(run: Run, table: pd.DataFrame) -> theme.Unit:
    """The unit in which the strongest predicted and measured values read well."""
    values = [table[name].to_numpy() for name in ("predicted", "measured") if name in table]
    method = run.manifest["default_method"]
    return theme.unit_of(np.concatenate(values) if values else np.zeros(1), method)


def _title(text: str) -> None:
    st.html(f'<h2 class="up-title up-apart">{text}</h2>')


def _chart(key: str, data: dict[str, Any]) -> None:
    components.chart(key=f"chart_{key}", data=data)


def _rows(key: str, data: dict[str, Any]) -> None:
    components.intervals(key=f"rows_{key}", data=data)


def _words(run: Run, check: str, start: str) -> None:
    """What the summary says of a check, each sentence once."""
    figures = evidence.figures(run, check, start).values()
    for words in dict.fromkeys(figure.words for figure in figures):
        st.caption(plain.for_markdown(words))


def _missing(run: Run, check: str, start: str = "") -> None:
    table = run.validation(check)
    if table is not None and start and (table["start"] != start).all():
        other = state.FROM_SCRATCH if start == evidence.SOLUTION else state.FROM_SOLUTION
        st.caption(f"Checked only when trained {other[0].lower()}{other[1:]}: switch above.")
        return
    st.caption(f"Not checked yet, or it means nothing for this run (`--check {check}`).")
