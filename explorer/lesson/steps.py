"""The lesson as data: ten steps, each with a text, the state to set, regions to outline, and a question.

Texts are Streamlit markdown. Names in braces are facts of `Scene`; `needs` says which of them a run lacks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import streamlit as st

from explorer.lesson import plane
from explorer.lesson.facts import Scene
from explorer.runs import queries
from explorer.ui import state, theme
from explorer.view import edits
from influence.run import confusion


@dataclasses.dataclass(frozen=True)
class Reply:
    """The lesson's reply to an answer: whether it is right, and what to say if it is not (may be empty)."""

    right: bool
    words: str = ""


WAITING = Reply(False)


@dataclasses.dataclass(frozen=True)
class Step:
    """One step; `page` is the address of the page that stands beside the card."""

    title: str
    text: str
    question: str
    answer: str
    """The text that is shown once the answer is right."""
    check: Callable[[Scene], Reply]
    page: str = state.EXPLORE_PAGE
    set: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Choices to set when the step begins, by key of `state`; all others go back to their defaults."""
    regions: tuple[str, ...] = ()
    """Keys of the containers that are outlined."""
    needs: Callable[[Scene], str] = lambda scene: ""
    """The reason why a run cannot teach the step, as a sentence; empty if it can."""


def cell_pressed(scene: Scene) -> Reply:
    classes = list(confusion(scene.run.queries()).index)
    cell = queries.parse_cell(state.clicked(state.CELL) or "", classes)
    if cell is None:
        return WAITING
    return Reply(cell == scene.cell, "That is another cell. Rows are true classes, columns what the model said.")


def _held(key: str) -> str:
    """The value of a widget, as text; before the widget is drawn, its value in the URL."""
    return str(st.session_state.get(key, st.query_params.get(key)))


def other_stage(scene: Scene) -> Reply:
    last = scene.stages[-1]
    return Reply(_held(state.STAGE) in (last, theme.stage_word(last).capitalize()))


def _ringed(scene: Scene) -> int | None:
    """Row of the example whose card (or point) was pressed."""
    return queries.position_by_id(scene.examples, state.clicked(state.EXAMPLE) or "")


def worst_ringed(scene: Scene) -> Reply:
    row = _ringed(scene)
    if row is None:
        return WAITING
    if row == scene.worst:
        return Reply(True)
    does = "helps" if scene.own[row] > 0 else "harms, but is not the strongest"
    return Reply(False, f"{scene.example_words(row, scene.own)} {does}. The list of {theme.HARMFUL} begins with it.")


def many_cards(scene: Scene) -> Reply:
    return Reply(_held(state.COUNT) == str(max(state.COUNTS)))


def look_alike_ringed(scene: Scene) -> Reply:
    row = _ringed(scene)
    if _held(state.RANKING) != state.NEAREST or row is None:
        return WAITING
    if row == scene.alike:
        return Reply(True)
    return Reply(False, f"{scene.example_words(row, scene.own)} is not it: another of them scores lower.")


def heaviest_pressed(scene: Scene) -> Reply:
    group = state.clicked(state.GROUP)
    if group is None:
        return WAITING
    return Reply(group == scene.heaviest, "Another class has a longer orange bar.")


def basket_filled(scene: Scene) -> Reply:
    basket, _ = edits.parse(state.clicked(state.BASKET), scene.run)
    rows = edits.left_out(basket, scene.run, scene.stages[0])
    if not rows:
        return WAITING
    return Reply(bool(scene.slice_sums[rows].sum() < 0), "These help more than they harm: the loss would rise.")


def label_corrected(_: Scene) -> Reply:
    found = plane.relabelled()
    if found is None:
        return WAITING
    numbers, predicted, measured = found
    shown = plane.parse(state.clicked(state.PLANE) or "")
    if numbers != [plane.WRONG] or shown is None or shown.points[plane.WRONG - 1].y != plane.RIGHT:
        return Reply(False, "Not yet: only the square among the circles is to change, and to a circle.")
    return Reply(measured < 0 and predicted < 0)


LEAST_MISS = 0.25
"""Part of the measured change that a prediction is to miss by."""


def prediction_missed(_: Scene) -> Reply:
    found = plane.retrained()
    if found is None:
        return WAITING
    count, predicted, measured = found
    off = abs(predicted - measured) / abs(measured) if measured else 0.0
    words = f"{count} left out: {theme.signed(predicted)} nat predicted, {theme.signed(measured)} measured"
    return Reply(off >= LEAST_MISS, f"{words}, off by {theme.percent(off)}. Try others, or one more.")


def own_mistake(scene: Scene) -> Reply:
    position = queries.position_by_id(scene.run.queries(), state.clicked(state.QUERY) or "")
    if position is None or position == scene.position:
        return WAITING
    row = _ringed(scene)
    if row is None:
        return Reply(False, "Another prediction. Now press the card of the example that harms it most.")
    return Reply(row == scene.strongest_harm(position), "Not this one: the list of ▼ begins with the strongest.")


def no_neighbours(scene: Scene) -> str:
    if scene.nearest is None:
        return "This run has kept no embedding of these examples, so it cannot tell what looks alike."
    return ""


def no_cards(scene: Scene) -> str:
    if not {"x", "y"} <= set(scene.examples.columns):
        return "This run's examples have no places on a map, so their cards cannot be pressed."
    return "" if scene.own.min() < 0 else "No example has a negative score here."


def one_stage(scene: Scene) -> str:
    return "" if len(scene.stages) > 1 else "This run has scores of one stage only, so there is nothing to switch to."


def one_class(scene: Scene) -> str:
    return "" if len(scene.totals) > 1 else "This run's examples are all of one class, so none can be compared."


def one_query(scene: Scene) -> str:
    return no_cards(scene) if len(scene.run.queries()) > 1 else "This run has one prediction only."


ASKED = {state.QUERY: "{it.query}"}

STEPS = (
    Step(
        "A mistake",
        "{it.what_happened}\n\nNobody told it to: it learned from examples. The next steps find out from which.",
        "Find it in the confusion matrix: press the cell of its true class (row) and what the model said (column).",
        "{it.in_cell} of {it.queries} predictions are in this cell; the strip now shows only them.",
        cell_pressed,
        set=ASKED,
        regions=("confusion", "prediction"),
    ),
    Step(
        "What was learnt before",
        "The model was trained twice. First {it.stage}: {it.m} examples, {it.first_learnt}. Then {it.last}, "
        "{it.last_learnt}, on top of what it knew.\n\nThe cards show examples of {it.stage}.{it.stranger} They shaped "
        "the layers that everything later stands on.",
        "And what did the second training show it? Switch “Examples of” to {it.last_title}.",
        "These carry the classes that the model now answers with. But the question stays: how did what came *before* "
        "them decide?",
        other_stage,
        set=ASKED,
        regions=("list_controls", "listed"),
        needs=one_stage,
    ),
    Step(
        "Sign",
        f":blue[{theme.HELPFUL} **Helpful**]: without this example the loss here is predicted to *rise*.\n\n"
        f":orange[{theme.HARMFUL} **Harmful**]: without it, to *fall*.\n\nTwo lists, one scale; arrow, side and colour "
        "say the same.",
        "Find the example that harms this prediction most, and press its card.",
        "{it.worst_words} The map rings it.",
        worst_ringed,
        set=ASKED,
        regions=("cards",),
        needs=no_cards,
    ),
    Step(
        "Size and spread",
        "Each of the {it.m} examples has a score, and the histogram holds them all; its counts are on a log scale, so "
        "most are next to zero. {it.share_of_few}; the ticks below the bars are they.",
        "Would more cards tell it all? Under “Options”, set “Cards a list” to 20.",
        "{it.share_of_many}. A list is the end of a spread, not *the* cause.",
        many_cards,
        set=ASKED,
        regions=("histogram", "list_options"),
    ),
    Step(
        "Look-alike or cause",
        "What looks alike need not have mattered, and what mattered need not look alike. “Nearest” lists the examples "
        "nearest to the test item in the embedding, whatever their influence.",
        "Set “Ranking” to Nearest, and press the look-alike with the lowest score.",
        "{it.alike_words}. {it.overlap} are among the 10 with the strongest scores.",
        look_alike_ringed,
        set=ASKED,
        regions=("listed", "list_controls"),
        needs=no_neighbours,
    ),
    Step(
        "Groups",
        "Single scores are small and shaky. Summed over a class they are steadier, and shorter to tell: left of the "
        "line what the harmful ones of a class add up to, right of it the helpful ones.",
        "Press the class that harms this prediction most.",
        "{it.heaviest_words}. The lists show only its examples now.",
        heaviest_pressed,
        set=ASKED,
        regions=("totals",),
        needs=one_class,
    ),
    Step(
        "Remove and retrain",
        "Scores add up over predictions, too. Here all examples are ranked by how much they harm the {it.slice_words} "
        "together, and a basket says what leaving them out is predicted to do.",
        "Put the first 10 into the basket, or tick others, and read the predicted effect.",
        "That was a prediction. {it.measured}",
        basket_filled,
        page=state.SUSPECTS_PAGE,
        set=ASKED,
        regions=("ranking_table", "put"),
    ),
    Step(
        "Correct a label",
        "A wrong example need not go: it can be mended. This model is so small that both stages are really trained "
        "again at every touch. Among its circles stands a square, which somebody labelled wrongly; the star is what it "
        "is judged by.",
        "Make it a circle: press the square, then “Relabel” until it is one.",
        "Predicted before, measured after: with its true label the star's loss falls further than without the point. "
        "*What if* on the page Item asks this of any example, and trains again.",
        label_corrected,
        page=state.LEARN_PAGE,
        regions=("plane",),
    ),
    Step(
        "When it fails",
        "A score is a tangent: exact for a feather's weight, a guess for anything heavy. Leave out the square among "
        "the circles: predicted and measured agree to a tenth.",
        "Find a point, or several, for which they differ by a quarter or more.",
        "There the curve leaves its tangent. Trust many small scores and their sums more than a single large one: how "
        "much a strong example did, only retraining tells.",
        prediction_missed,
        page=state.LEARN_PAGE,
        regions=("plane",),
    ),
    Step(
        "Your turn",
        "You have all it takes: a prediction, two lists, their spread, look-alikes, groups, and a doubt. The pills "
        "above the matrix lead to other mistakes.",
        "Choose another prediction, and press the card of the example that harms it most.",
        "That is how one asks. The lesson ends here; the pages above go on.",
        own_mistake,
        set=ASKED,
        regions=("confusion", "strip"),
        needs=one_query,
    ),
)
