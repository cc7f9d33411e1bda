"""The chosen edit: what it is predicted to do, what it really does, and the way into the basket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from explorer.panels.lists import controls, ringed
from explorer.panels.retraining import retrain
from explorer.trust import edited
from explorer.ui import escape, state, theme
from explorer.view import edits
from explorer.view.criterion import Judgement
from influence.live import LEAVE_OUT, MASK, RELABEL, STRIKE, TAKE_BACK, UPWEIGHT, Alteration
from influence.run import Run


def draw(
    run: Run, by: Judgement, chosen: Sequence[Alteration], change: float, largest: float, unit: theme.Unit
) -> None:
    """Draw it; `change` is predicted, nats, and bars are on the scale of `largest`."""
    found = edited.effects(run, chosen, by.positions)
    if not found or by.criterion.contrast is not None:  # what is measured has its own prediction beside it
        st.html(predicted_html(by, chosen, change, largest, unit))
    # Training tells the losses of true classes alone.
    of = by.words if by.criterion.contrast is None else "the loss of its true class"
    for effect in found:
        shown = retrain.unit_of(effect.mean, unit.stored)
        st.html(retrain.measured_html(effect.mean, made(chosen), of, shown))
    retrain.button(run, chosen, found, "Really train again")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        _basket(run, chosen)
        st.button("Undo the edit", key="what_if_undo", on_click=state.click, args=(state.EDIT, None), type="tertiary")


def _basket(run: Run, chosen: Sequence[Alteration]) -> None:
    """The way of the edit into the basket or, once it is there, the way to the basket."""
    if all(each in edits.basket(run) for each in chosen):
        stage = controls.stage_title(chosen[0].stage)
        link = state.address(state.SUSPECTS_PAGE, of=stage, basket=state.clicked(state.BASKET))
        ringed.way(link, "In the basket, to be judged with other edits")
    elif st.button(
        "Put into the basket",
        key="what_if_basket",
        icon=":material/add:",
        help="The basket is on Suspects: edits of many examples, judged and trained together.",
    ):
        edits.put(run, chosen)
        st.rerun()  # what had to go is told on top of the page


def made(chosen: Sequence[Alteration]) -> str:
    """How the example is changed, as the end of a sentence, unescaped."""
    first = chosen[0]
    if first.kind == STRIKE:
        return f"without the word{'s' * (len(chosen) > 1)} " + " and ".join(f"“{each.value}”" for each in chosen)
    if first.kind == TAKE_BACK:
        rules = " and ".join(f"“{escape.beginning(each.value, 40)}”" for each in chosen)
        return f"without the vote{'s' * (len(chosen) > 1)} of {rules}"
    if first.kind == MASK:
        return "with a part blank ({2} by {3} pixels at {0}, {1})".format(*first.value)
    if first.kind == RELABEL:
        return f"with the label “{theme.group_name(first.value)}”"
    if first.kind == UPWEIGHT:
        return "with it counted twice" if first.value == 1 else f"with its weight at {1 + first.value:g}"
    assert first.kind == LEAVE_OUT
    return "without it"


def predicted_html(by: Judgement, chosen: Sequence[Alteration], change: float, largest: float, unit: theme.Unit) -> str:
    """The prediction: a sentence with a bar, as HTML with everything from data escaped."""
    own = theme.unit_of(np.array([change]), unit.stored)
    now = f", now {theme.number(by.now)} nat," if by.criterion.contrast is None else ""
    arrow = {1: theme.RISES, -1: theme.FALLS}.get(int(np.sign(change)), "")
    words = (
        f"Trained {escape.for_html(made(chosen))}, {escape.for_html(by.words)}{now} is predicted to "
        f"<b>{arrow} {theme.change_words(change, own)}</b>."
    )
    bar = bar_html(change, largest, own)
    return f'<div class="up-effect" aria-live="polite"><p>{words}</p><dl>{bar}</dl></div>'


def bar_html(change: float, largest: float, unit: theme.Unit) -> str:
    """A bar from the middle: to the left the loss falls, to the right it rises."""
    wide = 50 * min(1.0, abs(change) / largest) if largest else 0.0
    sign = "up-up" if change > 0 else "up-down"
    bar = f'<span class="up-bar up-across {sign}" style="width:{wide:.1f}%"></span>' if change else ""
    return f'<dt>predicted</dt><dd class="up-scale">{bar}</dd><dd>{theme.moved(change, unit)}</dd>'
