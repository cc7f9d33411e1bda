"""What the basket's edits are predicted to do to what is judged by: the sum of each alone, beside all together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from explorer.jobs import live
from explorer.panels.repair import answers
from explorer.panels.repair.subject import Subject, scores
from explorer.runs import score_arrays
from explorer.ui import escape, state, theme
from explorer.view.criterion import ERROR, LOSS
from influence.errors import UpstreamError, unsaid
from influence.live import LEAVE_OUT, Alteration
from influence.run import NAT

if TYPE_CHECKING:
    from influence.live import Together

APART = 0.25
"""Part of the change together by which the sum may miss it before that is warned of."""
SUM_HELP = (
    "The sum of what each edit does alone: a first-order estimate that takes no account of how they act together."
)
TOGETHER_HELP = (
    "Each stage moved by Newton steps towards the minimum of its edited objective, and the later stages after it. The "
    "first time takes some seconds."
)


def draw(subject: Subject) -> None:
    """Draw it, each part as far as it can be had."""
    try:
        total = float(alone(subject).sum())
    except UpstreamError as error:
        st.info(f"What these edits do is not known. {escape.message(error)}", icon=":material/info:")
        return
    wanted = st.toggle("Predict them together, too", key=state.TOGETHER, bind="query-params", help=TOGETHER_HELP)
    found = _together(subject) if wanted else None
    unit = subject.unit(np.array([total] if found is None else [total, found.total]))
    if found is None:
        st.markdown(effect_text(subject, total, unit), help=SUM_HELP)
        return
    st.markdown(effect_text(subject, found.total, unit), help=TOGETHER_HELP)
    st.html(bars_html({"sum": total, "together": found.total}, unit))
    if unit.name and apart(total, found.total):
        st.warning(
            "The sum and the prediction together part by more than a quarter: these edits are strong, or act on each "
            "other. Believe the prediction together, or really train again.",
            icon=":material/warning:",
        )
    for warning in unsaid(found.warnings, subject.run.manifest.warnings):  # those are told at the top of the page
        st.warning(escape.for_markdown(warning), icon=":material/warning:")


def alone(subject: Subject) -> np.ndarray:
    """What each of the basket's edits does alone, (E,), positive = what is judged by rises.

    Examples that are left out have their stored scores; only for other edits the run's models are asked.

    Raises:
        UpstreamError: they cannot be asked, or an edit cannot be made.
    """
    basket, run, judged = subject.basket, subject.run, subject.judged
    found = np.zeros(len(basket))
    others = [place for place, edit in enumerate(basket) if not _stored(subject, edit)]
    for stage in {basket[place].stage for place in range(len(basket)) if place not in others}:
        places = [place for place, edit in enumerate(basket) if edit.stage == stage and place not in others]
        rows = pd.Index(run.examples(stage)["id"]).get_indexer([basket[place].id for place in places])
        found[places] = scores(run, stage, judged)[rows]
    if others:
        some = tuple(basket[place] for place in others)
        found[others] = answers.once(
            (run.manifest.checksum, "alone", judged.criterion, some),
            lambda: live.alone(live.opened(run), judged.criterion, some) * float(judged.times),
        )
    return found


def _stored(subject: Subject, edit: Alteration) -> bool:
    known = edit.kind == LEAVE_OUT and edit.stage in score_arrays.scored_stages(subject.run)
    return known and subject.judged.kind != ERROR


def _together(subject: Subject) -> Together | None:
    """What all edits do together; None after saying why that cannot be had."""
    run, judged, made = subject.run, subject.judged, tuple(subject.basket)
    try:
        found: Together = answers.once(
            (run.manifest.checksum, "together", judged.criterion, made),
            lambda: live.together(live.opened(run), judged.criterion, made),
        )
    except UpstreamError as error:
        st.info(f"These edits cannot be predicted together. {escape.message(error)}", icon=":material/info:")
        return None
    return type(found)(found.first * judged.times, found.total * judged.times, found.warnings)


def apart(total: float, together: float) -> bool:
    """Whether the sum misses the change together by more than a quarter of it."""
    return abs(total - together) > APART * abs(together)


def effect_text(subject: Subject, effect: float, unit: theme.Unit) -> str:
    """The predicted effect of the basket, as Streamlit markdown."""
    judged, count = subject.judged, len(subject.basket)
    if all(each.kind == LEAVE_OUT for each in subject.basket):
        made = "Without it" if count == 1 else "Without them"
    else:
        made = "With this edit" if count == 1 else "With these edits"
    direction = "rise" if effect > 0 else "fall"
    amount = f" by **{unit.size(effect)}**{_part(subject, effect)}"
    if not unit.name:
        amount = ", by how much is not known: these scores are an order only"
    return f"**{count}** in the basket. {made}, {escape.for_markdown(judged.words)} is predicted to " + (
        f"{direction}{amount}." if effect else "stay as it is."
    )


def _part(subject: Subject, effect: float) -> str:
    """How large the change is beside what is judged by as it is now."""
    now = subject.judged.now
    if subject.judged.unit != NAT:
        return f", now {theme.percent(now)}" if np.isfinite(now) else ""
    if subject.judged.kind == LOSS and now > abs(effect):
        return f", {theme.percent(abs(effect) / now)} of its {theme.number(now)} nat"
    return f", now {theme.number(now)} nat"


def bars_html(changes: dict[str, float], unit: theme.Unit) -> str:
    """Changes as bars on one scale, from the left if all point the same way, else from the middle, as HTML."""
    values = list(changes.values())
    largest, across = max(map(abs, values)) or 1.0, min(values) < 0 < max(values)
    lines = []
    for name, value in changes.items():
        kind = f"up-bar {'up-up' if value > 0 else 'up-down'}{' up-across' if across else ''}"
        wide = (50 if across else 100) * abs(value) / largest
        bar = f'<span class="{kind}" style="width:{wide:.1f}%"></span>' if value else ""
        lines.append(
            f'<dt>{escape.for_html(name)}</dt><dd class="up-scale">{bar}</dd><dd>{theme.moved(value, unit)}</dd>'
        )
    return f'<div class="up-effect"><dl>{"".join(lines)}</dl></div>'
