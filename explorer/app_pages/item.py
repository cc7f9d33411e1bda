"""Item: one training example, and the test predictions that it helps and hurts most."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer.charts import chart, histogram
from explorer.export import spreadsheet
from explorer.panels.lists import controls, note, order_only, single_cards
from explorer.panels.lists.card import HARMFUL, HELPFUL
from explorer.panels.prediction import large
from explorer.panels.prediction.search import in_table
from explorer.panels.retraining import retrain
from explorer.panels.what_if import panel
from explorer.runs import leads, neighbours, queries, score_arrays
from explorer.ui import amounts, escape, pictures, state, theme, widgets
from influence.errors import RunError
from influence.run import MAP, NAT, Run, slope_of, top

PREDICTIONS = "item_predictions"
NEIGHBOURS = "item_neighbours"
VOTES = 8
"""Votes of rules on it that are told."""
NEAREST_EXAMPLES = 6
"""Neighbours that are listed."""
DUPLICATE_COSINE = 0.98
"""A neighbour with at least this cosine may be a near-duplicate."""


def draw(run: Run) -> None:
    """Draw the page for one run.

    Raises:
        RunError: one of the run's files cannot be read.
    """
    stages = score_arrays.scored_stages(run)
    if not stages:
        st.warning("This run holds no scores, so an example leads to no prediction. Compute them first.")
        return
    with st.container(key="item"):
        left, right = st.columns([34, 66], gap="large")
    with left:
        widgets.heading("Pick a training example")
        stage = controls.choose_stage(stages, on_change=state.click, args=(state.EXAMPLE, None))
        method = run.methods(stage)[0]
        position = _chosen(run, stage, method)
        _steps(run.examples(stage), position)
        st.html(large.html(run.examples(stage).iloc[position]))
        st.html(facts_html(run, stage, method, position))
        note.draw(run, stage, run.examples(stage).iloc[position], "item")
        retrain.draw(run, stage, method, [position], np.arange(len(run.queries())))
    scores = score_arrays.column(run, stage, method, position)
    with right:
        panel.draw(run, stage, position)
        widgets.heading("Which test predictions does it help and hurt most?")
        rule = theme.sign_rule(escape.for_markdown(theme.stage_word(stage)), "a prediction")
        lost = amounts.lost(run, method, stage)
        st.markdown(rule, help=theme.sign_help(lost))
        order_only.draw(lost, slope_of(run, method, stage))
        if lacking := lacks(run, stage, method, scores):
            st.caption(escape.for_markdown(lacking))
        shown = _predictions(run, stage, method, position, scores)
        spread, near = st.columns([45, 55], gap="medium")
        with spread:
            _histogram(run, scores, amounts.unit(run, method, stage, scores), shown)
        with near:
            _neighbours(run, stage, position)
    st.caption(theme.CARE)


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the page's widgets."""
    return state.NOTHING_OF_EXPLORE | {state.STAGE: controls.stage_values(run)} | panel.allowed(run)


def facts(run: Run, stage: str, method: str, position: int) -> list[tuple[str, str]]:
    """The facts of an example: names and values, unescaped."""
    table = run.examples(stage)
    example = table.iloc[position]
    known = [("Label", theme.group_name(example["label"]))]
    if "prediction" in table:
        mark = theme.RIGHT if example["prediction"] == example["label"] else theme.WRONG
        known.append(("Its own model said", f"{example['prediction']} {mark}"))
    if votes := queries.votes_on(run, stage, position):
        told = [f"{escape.beginning(rule, 40)}: {theme.group_name(vote)}" for rule, vote in list(votes.items())[:VOTES]]
        known.append(("Votes", "; ".join(told) + (f" and {len(votes) - VOTES} more" if len(votes) > VOTES else "")))
    if source := pictures.words(example, "source"):
        known.append(("Source", source))
    for name, title, unit in (
        ("loss", "Loss", " nat"),
        ("gradient_norm", "Gradient norm", ""),
        ("self_influence", "Self-influence", f" {NAT}" if run.unit(method, stage) == NAT else ""),
    ):
        if name in table:
            value = f"{theme.number(float(example[name]))}{unit}"
            known.append((title, f"{value} (larger than {_part(table[name].to_numpy(), position)})"))
    counted = leads.counted(run, stage, method)
    of = f"{counted.queries:,} {'sampled ' if counted.sampled else ''}predictions"
    lists = f"{counted.counts[position]:,} of {of}' top {leads.LEADING_RANK}"
    often = f"{lists} (more often than {_part(counted.counts, position)})"
    known.append(("Shows up everywhere" if leads.everywhere(counted)[position] else "Shows up in", often))
    return known


def lacks(run: Run, stage: str, method: str, scores: np.ndarray) -> str:
    """What is not known of an example's scores, in words; "": nothing."""
    known, found = int(np.isfinite(scores).sum()), score_arrays.known(run, stage, method)
    if not found.lacks or known == len(scores):
        return ""
    return (
        f"{found.lacks} Of this example {known:,} of {len(scores):,} are known. “What if” computes what leaving it out "
        "does to every prediction."
    )


def percentile(values: np.ndarray, position: int) -> float:
    """Share of the other values that are smaller than the one at `position`, 0..1; ties count half."""
    own = values[position]
    smaller, equal = int((values < own).sum()), int((values == own).sum()) - 1
    return (smaller + equal / 2) / (len(values) - 1) if len(values) > 1 else 0.5


def _part(values: np.ndarray, position: int) -> str:
    """The share of examples with a smaller value than the one at `position`, in words."""
    if (values >= values[position]).sum() == 1:
        return "all others"
    return f"{theme.percent(percentile(values, position))} of all examples"


def facts_html(run: Run, stage: str, method: str, position: int) -> str:
    """The facts as HTML with everything escaped."""
    pairs = facts(run, stage, method, position)
    lines = "".join(f"<dt>{escape.for_html(a)}</dt><dd><bdi>{escape.for_html(b)}</bdi></dd>" for a, b in pairs)
    return f'<div class="up-prediction"><dl>{lines}</dl></div>'


def _chosen(run: Run, stage: str, method: str) -> int:
    """Position of the example that the URL names, else of the one that leads most predictions."""
    table, word = run.examples(stage), escape.for_markdown(theme.stage_word(stage))
    position = state.parsed(
        state.EXAMPLE,
        lambda text: queries.position_by_id(table, text),
        lambda text: f"No {word} example has id “{text}”; shown is the one that leads most predictions.",
    )
    return int(leads.counted(run, stage, method).counts.argmax()) if position is None else position


def _steps(table: pd.DataFrame, position: int) -> None:
    def go(place: int) -> None:
        state.click(state.EXAMPLE, table["id"].iloc[place])

    widgets.stepper(
        "example",
        "example",
        f"{position + 1:,} of {len(table):,}",
        widgets.beside(position, len(table)),
        go,
        in_table(state.FIND_EXAMPLE, "example", table, position, go),
    )


def _predictions(run: Run, stage: str, method: str, position: int, scores: np.ndarray) -> np.ndarray:
    """Draw the lists; returns the positions that they show."""
    table, unit = run.queries(), amounts.unit(run, method, stage, scores)
    helped, hurt = top(scores, 5), top(scores, 5, helpful=False)

    def explore(query: int) -> str:
        example = run.examples(stage)["id"].iloc[position]
        return state.address(state.EXPLORE_PAGE, of=controls.stage_title(stage), example=example, query=query)

    noted = note.of(run).of(queries.QUERIES)
    lists = []
    for title, verb, places, sign in (("Helped", "helps", helped, HELPFUL), ("Hurt", "hurts", hurt, HARMFUL)):
        cards = single_cards.scored(table, places, scores, unit, "explore", explore)
        lists.append(
            single_cards.column(title, note.marked(cards, noted), empty=f"It {verb} none.", sign=sign, unit=unit.words)
        )
    single_cards.draw(PREDICTIONS, lists)
    spreadsheet.button(
        lambda: single_cards.rows(table, np.argsort(-scores)[: np.isfinite(scores).sum()], scores, unit.column),
        f"{run.name}-{stage}-{run.examples(stage)['id'].iloc[position]}-predictions",
        "item_csv",
    )
    return np.concatenate([helped, hurt])


def _histogram(run: Run, scores: np.ndarray, unit: theme.Unit, shown: np.ndarray) -> None:
    widgets.heading("All its scores", "count, log scale")
    alt = f"Histogram of this example's scores for all {len(scores):,} test predictions; the shown are ticks below it."
    drawn = histogram.histogram(scores, shown, run.queries()["id"], unit, "prediction", alt)
    chart.draw(drawn, "item_histogram")


def _neighbours(run: Run, stage: str, position: int) -> None:
    table = run.examples(stage)
    if neighbours.mapped(run) is not table:
        if MAP in run.pending and stage == run.stages[0]:
            st.caption("Its neighbours are still to be computed, with the map. They appear here by themselves.")
        return
    try:
        embedding = neighbours.embedding(run)
    except RunError as error:
        state.notice(f"{escape.message(error)} Neighbours are not shown.")
        return
    if embedding is None:
        return
    nearest, cosines = neighbours.around(embedding.examples, position, NEAREST_EXAMPLES)

    def open_example() -> None:
        state.click(state.EXAMPLE, single_cards.picked(NEIGHBOURS))

    nearest_cards = [
        single_cards.card(
            table.iloc[place],
            "near-duplicate?" if cosine >= DUPLICATE_COSINE else "open",
            f"{cosine:.3f}",
            full=f"cosine {cosine:.6f}",
            width=max(0.0, float(cosine)),
        )
        for place, cosine in zip(nearest.tolist(), cosines.tolist(), strict=True)
    ]
    cards = note.marked(nearest_cards, note.of(run).of(stage))
    listed = single_cards.column("Nearest in the embedding", cards, empty="It has no neighbour.", unit="cosine")
    single_cards.draw(NEIGHBOURS, [listed], open_example)
