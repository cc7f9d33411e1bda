"""How far two answers agree: in words, as histograms on one scale, and as tables."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer.charts import chart, histogram
from explorer.export import spreadsheet
from explorer.panels.comparison import joined_lists, scatter
from explorer.ui import escape, theme, widgets
from explorer.view import comparison


def draw(pair: comparison.Pair) -> None:
    """The rank correlation and the overlap of the lists, in words."""
    st.markdown(
        text(pair),
        help="Rank correlation (Spearman): 1 if both sides put all examples in the same order, 0 if the orders have "
        "nothing in common, -1 if one is the other reversed. It looks at all examples, of which most scores are near "
        "zero; the lists show only the ends.",
    )


def text(pair: comparison.Pair) -> str:
    """Rank correlation and overlap as Streamlit markdown."""
    total = len(pair.examples)
    value = "not defined" if np.isnan(pair.correlation) else f"**{theme.correlation(pair.correlation)}**"
    common = int(pair.common.sum())
    over = f"all {total:,}" if common == total else f"a random {common:,} of {total:,}"
    said = f"Rank correlation over {over} examples: {value}, {comparison.order_words(pair.correlation)}."
    a, b = pair.lists
    parts = []
    for colour, symbol, name in (("blue", theme.HELPFUL, "helpful"), ("orange", theme.HARMFUL, "harmful")):
        one, two = getattr(a, name), getattr(b, name)
        both, longest = len(np.intersect1d(one, two)), max(len(one), len(two))
        parts.append(f":{colour}[{symbol} **{both} of {longest}** {name}]")
    crossed = sum(bool(tie["crossed"]) for tie in joined_lists.ties(pair))
    who = "1 example is" if crossed == 1 else f"{crossed} examples are"
    changed = f" {who} listed as helpful on one side and as harmful on the other." if crossed else ""
    chance = theme.number(pair.count**2 / total)
    return f"{said} Both lists share {' and '.join(parts)} examples (by chance {chance} each).{changed}"


def draw_histograms(pair: comparison.Pair) -> None:
    """Both sides' scores, on one scale where they have one unit."""
    note = f"count, log scale; {'one scale' if pair.one_unit else 'each its own scale'}"
    widgets.heading("Spread of the scores", note)
    limit = max(scatter.largest(pair)) if pair.one_unit else 0.0
    for name, side, shown, unit, column in zip(
        "AB", (pair.a, pair.b), pair.lists, pair.units, st.columns(2, gap="small"), strict=True
    ):
        with column:
            st.html(f'<span class="up-quiet up-small">{name}</span>')
            alt = f"Histogram of {int(np.isfinite(side.scores).sum()):,} scores in {name}, symmetric about zero."
            ids = pair.examples["id"]
            drawn = histogram.histogram(side.scores, shown.positions, ids, unit, "example", alt, limit)
            chart.draw(drawn, f"histogram_{name}")


def draw_tables(pair: comparison.Pair) -> None:
    """The tables behind the charts, drawn only when they are opened."""
    widgets.tables("compare_tables", lambda: _tables(pair))


def _tables(pair: comparison.Pair) -> None:
    st.markdown("**The lists**")
    name, alt = f"{pair.a.run.name}-compared", "The listed examples with rank and score on both sides"
    spreadsheet.draw(joined_lists.table(pair), alt, f"{name}-lists", "compare_lists_csv")
    st.markdown("**Overlap by length of the lists**")
    alt = "How many examples both sides list, by length"
    spreadsheet.draw(comparison.overlaps(pair), alt, f"{name}-overlap", "compare_overlap_csv")
    st.markdown("**All scores**")
    every = comparison.score_table(pair)
    spreadsheet.draw(every, "Scores of all examples on both sides", name, "compare_csv", height=250)


def question(pair: comparison.Pair) -> str:
    """The comparison as a question, escaped for HTML."""
    a, b = pair.a, pair.b
    names = [escape.isolated(side.run.name) for side in (a, b)]
    if not all("prediction" in side.query.row for side in (a, b)):
        return _of_losses(pair, names)
    said = [f"“{escape.isolated(side.query.row['prediction'])}”" for side in (a, b)]
    if a.asked == b.asked:
        return f"Why did {names[0]} say {said[0]}? Both sides are the same: change one of them"
    if a.run.name != b.run.name and said[0] == said[1]:
        return f"Why did {names[0]} and {names[1]} both say {said[0]}?"
    if a.run.name != b.run.name:
        return f"Why did {names[0]} say {said[0]}, and {names[1]} {said[1]}?"
    if a.query.row["id"] != b.query.row["id"] and said[0] == said[1]:
        return f"Why did the model say {said[0]} both times?"
    if a.query.row["id"] != b.query.row["id"]:
        return f"Why did the model say {said[0]} here, and {said[1]} there?"
    if a.method != b.method:
        return f"Why did the model say {said[0]}? Two methods' answers"
    return f"Why did the model say {said[0]}? Answers to two questions"


def _of_losses(pair: comparison.Pair, names: list[str]) -> str:
    """The question where a side's model predicts no class."""
    a, b = pair.a, pair.b
    if a.asked == b.asked:
        return "What does this loss come from? Both sides are the same: change one of them"
    if a.run.name != b.run.name:
        return f"What do the losses of {names[0]} and {names[1]} come from?"
    if a.query.row["id"] != b.query.row["id"]:
        return f"What do the losses on #{a.query.row['id']} and #{b.query.row['id']} come from?"
    return f"What does this loss come from? {'Answers of two methods' if a.method != b.method else 'Two questions'}"
