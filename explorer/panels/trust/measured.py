"""What was measured, a chart a check: the question, the chart, what it says in words."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer.charts import chart, curves, intervals, scatter
from explorer.panels.lists import controls, ringed
from explorer.trust import evidence, rows
from explorer.ui import escape, state, theme
from influence.run import Run

WORDS = {
    "leave-one-out": "single examples",
    "subsets": "random subsets",
    "stability": "other choices",
    "strongest": "each prediction's own strongest",
    "removal": "removal in bulk",
    "planted": "planted errors",
    "sanity": "simpler scores",
    "noise": "the noise floor",
}
"""Checks in words, in the order of their charts."""
HEIGHTS = {"leave-one-out": 64, "planted": 47, "removal": 50}
"""Of charts with their words, about; the others are 28. Columns are filled so that they end together."""


def draw(run: Run, position: int | None, start: str, whose: str) -> None:
    """Draw a chart of every check that the run has; `position` is the row of the chosen prediction, if there is one."""
    there = present(run, start)
    columns = st.columns(2, gap="large")
    filled = [0, 0]
    for check in there:
        place = int(filled[1] < filled[0])
        filled[place] += HEIGHTS.get(check, 28)
        with columns[place]:
            DRAWERS[check](run, position if check != "leave-one-out" or whose == state.THIS else None, start)
    missing = [f"{words} (`--check {check}`)" for check, words in WORDS.items() if run.validation(check) is None]
    if missing:
        st.caption(f"Not checked yet, or without a meaning for this run: {', '.join(missing)}.")
    elsewhere = [WORDS[check] for check in WORDS if check not in there and run.validation(check) is not None]
    if elsewhere:
        st.caption(f"Checked only when trained in the other way: {', '.join(elsewhere)}; switch above.")


def present(run: Run, start: str) -> list[str]:
    """The checks that have something to draw, of those that depend on it for models trained again from `start`."""
    found = []
    for check in WORDS:
        table = run.validation(check)
        depends = check in evidence.RETRAININGS
        if table is not None and len(table) and (not depends or (table["start"] == start).any()):
            found.append(check)
    return found


def _singles(run: Run, position: int | None, start: str) -> None:
    _title("One example left out: predicted and measured")
    pairs, queries = singles(run, position, start), run.queries()["id"]
    shown, unit = scatter.sampled(pairs), unit_of(run, pairs)
    measured = unit if unit.name else theme.unit_of(pairs["measured"].to_numpy())
    words = [pair_words(run, pair, unit, measured) for pair in shown.to_dict("records")]
    r = evidence.correlation(pairs["predicted"].to_numpy(), pairs["measured"].to_numpy())
    pressed = chart.draw_choice(scatter.scatter(shown, words, unit, measured, r), "chart_singles")
    of = "all predictions" if position is None else f"prediction #{queries.iloc[position]}"
    part = f" {len(shown):,} of {len(pairs):,} pairs are drawn: the largest, and others at random."
    drawn = part if len(shown) < len(pairs) else ""
    count = pairs["example"].nunique()
    examples = f"{count} {'example' if count == 1 else 'examples'}, each left out alone"
    st.caption(
        f"{examples}; {of}; r = {theme.correlation(r)} over all pairs.{drawn} Press a point for the way to its example."
    )
    if pressed is not None and 0 <= pressed < len(shown):
        _pair(run, shown.iloc[pressed], words[pressed])
    if position is None:
        _words(run, "leave-one-out", start)


def pair_words(run: Run, pair: Mapping[Hashable, Any], unit: theme.Unit, measured: theme.Unit) -> str:
    """What a point of the scatter is."""
    example = run.examples(evidence.stage_of(run))["id"].iloc[pair["example"]]
    kind = scatter.KINDS.get(pair["kind"], (pair["kind"],))[0]
    query, predicted = run.queries()["id"].iloc[pair["query"]], f"predicted {unit.text(pair['predicted'])}, "
    return (
        f"Without #{example} ({kind}), prediction #{query}: {predicted if unit.name else ''}measured "
        f"{measured.text(pair['measured'])} {measured.name}"
    )


def _pair(run: Run, pair: pd.Series, words: str) -> None:
    """The point that was pressed, in words, and the way to its example's page."""
    stage = evidence.stage_of(run)
    example, query = run.examples(stage)["id"].iloc[pair["example"]], run.queries()["id"].iloc[pair["query"]]
    st.markdown(escape.for_markdown(f"{words}."))
    link = state.address(state.ITEM_PAGE, of=controls.stage_title(stage), example=example, query=query)
    ringed.way(link, f"Example #{example} and the predictions that it helps and hurts most")


def _subsets(run: Run, position: int | None, start: str) -> None:
    _title("Many left out at random: do sums of scores order the losses? (LDS)")
    found = rows.subsets(run, start)
    if not found:
        st.caption("Too few subsets were trained on to tell.")
        return
    _intervals("subsets", found, "Rank correlation of summed scores and measured losses", include=(0.0, 1.0))
    st.caption(
        "Rank correlation, 1 = the same order, 0 = chance; mean over predictions. The interval draws subsets and seeds "
        "again."
    )


def _strongest(run: Run, position: int | None, start: str) -> None:
    _title("Each prediction without its own strongest 1 %: does its loss rise?")
    table = run.validation("strongest")
    assert table is not None
    part = table[table["start"] == start]
    unit = theme.unit_of((part["measured"] - part["random"]).to_numpy())
    found = rows.strongest(run, start, unit, position)
    other = "the chosen prediction"
    _intervals("strongest", found, "Rise of the loss", factor=unit.factor, unit=unit.name, other=other)
    st.caption(
        f"Its {part['left_out'].max()} most helpful examples by each kind of score were left out, and all stages "
        "trained without them: the rise of its loss, less that without a random 1 %; mean over predictions. The list "
        "whose rise is largest knows best what the prediction rests on."
    )


def _removal(run: Run, position: int | None, start: str) -> None:
    _title("Removal in bulk: does leaving out the most harmful help?")
    table = run.validation("removal")
    assert table is not None
    part = table[table["start"] == start]
    unit = theme.unit_of((part["loss"] - part["loss_before"]).to_numpy())
    found = rows.removal(run, start, unit)
    _intervals("removal", found, "Change of the mean loss", factor=unit.factor, unit=unit.name)
    st.caption("Change of the mean loss of predictions that had no part in the choice; below zero it got better.")


def _stability(run: Run, position: int | None, start: str) -> None:
    _title("Other choices: how much of a list stays?")
    table = run.validation("stability")
    assert table is not None
    own = evidence.stays(run, evidence.stage_of(run), position) if position is not None else None
    found = rows.stability(run, own)
    told = "Share of the lists that stays"
    other = "the chosen prediction"
    _intervals("stability", found, told, include=(0.0, 1.0), factor=100, unit="%", other=other)
    st.caption(
        f"Share of the {table['k'].iloc[0]} strongest examples of either sign that stay among them; mean over "
        "predictions. Rank r is over all examples."
    )


def _planted(run: Run, position: int | None, start: str) -> None:
    _title("Wrong labels planted on purpose: how soon are they found?")
    table = run.validation("planted")
    assert table is not None
    chart.draw(curves.curves(table), "chart_planted")
    share, seeds = float(table["share"].max()), table[table["share"] == table["share"].max()]["seed"].nunique()
    draws = "one draw" if seeds == 1 else f"mean of {seeds} draws"
    st.caption(f"{share:.0%} of the labels flipped, the model trained again; {draws}. Area 1 is best.")


def _sanity(run: Run, position: int | None, start: str) -> None:
    _title("Beside simpler scores, and those of models that learned nothing")
    table = run.validation("sanity")
    assert table is not None
    found = rows.sanity(run)
    _intervals("sanity", found, "Rank correlation with what was measured", include=(0.0, 1.0))
    against = escape.for_markdown(table["against"].iloc[0])
    st.caption(f"Rank correlation with what was measured ({against}), mean over predictions.")


def _noise(run: Run, position: int | None, start: str) -> None:
    _title("The noise floor: how much do losses change with nothing left out?")
    table = run.validation("noise")
    assert table is not None
    effects = rows.strongest_effects(run)
    unit = theme.unit_of(effects if len(effects) else table["measured"].to_numpy())
    found = rows.noise(run, unit)
    _intervals("noise", found, "Root mean square change", factor=unit.factor, unit=unit.name)
    st.caption(
        "Root mean square over predictions. Where another seed changes more than leaving out an example does, its "
        "effect can be seen only in the mean of many trainings from scratch."
    )


DRAWERS: dict[str, Callable[[Run, int | None, str], None]] = {
    "leave-one-out": _singles,
    "subsets": _subsets,
    "stability": _stability,
    "strongest": _strongest,
    "removal": _removal,
    "planted": _planted,
    "sanity": _sanity,
    "noise": _noise,
}


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
    return theme.unit_of(np.concatenate(values) if values else np.zeros(1), run.unit(run.manifest.default_method))


def _title(text: str) -> None:
    st.html(f'<h2 class="up-title up-apart">{text}</h2>')


def _intervals(key: str, found: Sequence[intervals.Row], alt: str, **choices: Any) -> None:
    chart.draw(intervals.intervals(found, alt, **choices), f"rows_{key}")


def _words(run: Run, check: str, start: str) -> None:
    """What the summary says of a check, each sentence once."""
    figures = evidence.figures(run, check, start).values()
    for words in dict.fromkeys(figure.words for figure in figures):
        st.caption(escape.for_markdown(words))
