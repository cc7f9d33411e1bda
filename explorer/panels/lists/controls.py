"""Controls above the lists: stage, ranking, count, order, shading, target; and a chip for each filter."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pandas as pd
import streamlit as st

from explorer.panels.lists import heat
from explorer.panels.prediction import explain
from explorer.runs import neighbours, score_arrays, splits
from explorer.ui import escape, state, theme, widgets
from explorer.view import diverse
from explorer.view.view import View
from influence.live import Target
from influence.run import Run

PLAIN = re.compile(r"(?!.*-_)[A-Za-z0-9][A-Za-z0-9 _-]*")
"""Names that markdown shows letter by letter: a `_` sets what follows in italics only after a sign such as `-`."""
STAGE_HELP = "Whose training examples are listed: those of which stage."
NO_COSINE = (
    " Gradient cosine is not offered here: it needs scores by identity, which a run has where they cost little; "
    "computed with fewer predictions it has them."
)
STRONGEST_HELP = "Strongest: by score."
RELATIVE_HELP = (
    "Relative: by score over the size of the example's own gradient, so that examples which move every prediction do "
    "not crowd out those that matter to this one."
)


@dataclasses.dataclass(frozen=True)
class Choices:
    """Values of the controls above the lists; `wanted` is None where the run's stored scores are shown."""

    stage: str
    count: int
    order: str
    ranking: str
    shading: str
    wanted: Target | None


def draw(run: Run, stages: list[str], rankings: tuple[str, ...], query: pd.Series | None = None) -> Choices:
    """Draw the controls; `rankings` are those that the run can offer, `query` is a prediction of the run.

    What is changed now and then is folded away, so that the lists stand high on the page.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="list_controls"):
        stage = choose_stage(stages, help=STAGE_HELP)
        ranking = _ranking(run, stage, rankings)
    # Not a popover: what it holds is on the page only while it is open, and misses what a link or a lesson sets.
    with st.expander("Options", key="list_options"):
        count = choose_count()
        order = _order(run, stages, stage, ranking, rankings)
        offered = shadings(run, stages)
        shading = _shading(() if query is None and state.PATCHES in offered else offered)
        wanted = None if query is None else explain.choose(run, query)
    return Choices(stage, count, order, ranking, shading, wanted)


def choose_stage(stages: list[str], **more: Any) -> str:
    """Draw the choice of a stage, if there is more than one; `more` goes to the widget."""
    if len(stages) == 1:
        return stages[0]
    return widgets.choice("Examples of", stages, state.STAGE, format_func=stage_title, **more)


def stage_values(run: Run) -> tuple[str, ...]:
    """Values of the choice of a stage in the URL; () where there is nothing to choose."""
    stages = score_arrays.scored_stages(run)
    return state.texts(map(stage_title, stages)) if len(stages) > 1 else ()


def choose_count() -> int:
    """Draw the choice of how many cards a list has."""
    return widgets.choice("Cards a list", state.COUNTS, state.COUNT, help="How many examples each list shows.")


def _ranking(run: Run, stage: str, rankings: tuple[str, ...]) -> str:
    if len(rankings) < 2:
        return state.INFLUENCE
    if neighbours.mapped(run) is not run.examples(stage):
        rankings = tuple(name for name in rankings if name not in (state.NEAREST, state.ALL_THREE))
    others = score_arrays.simpler(run, stage)
    rankings = tuple(name for name in rankings if name not in score_arrays.SIMPLER or name in others)
    lacking = "" if state.COSINE in others else NO_COSINE
    return widgets.choice(
        "Ranking",
        rankings,
        state.RANKING,
        help="To compare with: the examples nearest to this test item in the embedding that the map is made of "
        "(by cosine), those that share words with it (BM25), those whose gradient points the same way as its own "
        "(gradient cosine, no curvature), and a random draw. They fill one list, as long as both lists by influence "
        "together. All three: influence, nearest and random side by side; what more than one of them lists is marked."
        + lacking,
    )


def _order(run: Run, stages: list[str], stage: str, ranking: str, rankings: tuple[str, ...]) -> str:
    offered = orders(run, stages, rankings)
    if len(offered) < 2:
        return state.STRONGEST
    if neighbours.mapped(run) is not run.examples(stage):
        offered = tuple(order for order in offered if order != state.DIVERSE)
    about = {state.STRONGEST: STRONGEST_HELP, state.RELATIVE: RELATIVE_HELP, state.DIVERSE: diverse.HELP}
    return widgets.choice(
        "Order",
        offered,
        state.ORDER,
        disabled=ranking not in (state.INFLUENCE, state.ALL_THREE),
        help=" ".join(about[order] for order in offered),
    )


def orders(run: Run, stages: list[str], rankings: tuple[str, ...]) -> tuple[str, ...]:
    """The orders that a run can offer: relative needs gradient norms, diverse (as nearest) the embedding."""
    has = {
        state.RELATIVE: "gradient_norm" in run.examples(stages[0]),
        state.DIVERSE: state.NEAREST in rankings,
    }
    return tuple(order for order in state.ORDERS if has.get(order, True))


def shadings(run: Run, stages: list[str]) -> tuple[str, ...]:
    """How a run's texts, or its pictures, can be shaded; () where there is nothing to choose."""
    if any(splits.stored(run, stage, run.methods(stage)[0]) for stage in stages):
        return state.SHADINGS
    pictures = any("image" in run.examples(stage) for stage in stages)
    return state.PICTURE_SHADINGS if pictures and run.manifest.asked else ()


def _shading(offered: tuple[str, ...]) -> str:
    if not offered:
        return state.PLAIN
    if state.PATCHES in offered:
        return widgets.choice(
            "Where in it",
            offered,
            state.SHADING,
            help=f"Patches: where in a picture its score stems from. {heat.ABOUT} The first time this takes some "
            "seconds.",
        )
    return widgets.choice(
        "Shading",
        offered,
        state.SHADING,
        help="Tokens: how much of a text's score stems from the model's learning to predict each of its tokens; the "
        "shares add up to the score. Each card has its own scale: its darkest token has its largest share. "
        "Rest on a token to see its share.",
    )


def stage_title(stage: str) -> str:
    """A stage's name as a label, which is markdown; also what the URL says."""
    title = theme.stage_word(stage).capitalize()
    return title if PLAIN.fullmatch(title) else escape.for_markdown(title)


def chips(view: View) -> None:
    """A chip for each filter of the lists, which a press removes."""
    if not view.narrowed:
        return
    with st.container(horizontal=True, gap="small", key="chips"):
        if view.region is not None:
            count = int(view.in_region.sum())
            items = f"{count:,} {'item' if count == 1 else 'items'}"
            widgets.chip(f"Region: {items}", state.REGION, "Show the whole map's examples again")
        if view.group is not None:
            what, several = ("Source", "sources") if view.by == state.SOURCE else ("Class", "classes")
            name = escape.for_markdown(theme.group_name(view.group))
            items = f"{int(view.kept.sum()):,} items"
            widgets.chip(f"{what} {name}: {items}", state.GROUP, f"Show all {several} again")
        if view.within is not None:
            name = escape.for_markdown(theme.group_name(view.within))
            widgets.chip(f"Class {name}: {int(view.kept.sum()):,} items", state.WITHIN, "Show the whole source again")
        if view.bar is not None:
            edges = view.histogram[1][view.bar : view.bar + 2].tolist()
            low, high = (view.unit.text(edge) for edge in edges)
            scores = f"Scores from {low} to {high} {view.unit.name}".strip()
            widgets.chip(f"{scores}: {int(view.kept.sum()):,} items", state.BAR, "Show all scores again")
