"""Really training with edits of the data: a button, progress, and what they did beside what was predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import streamlit as st

from explorer.jobs import process
from explorer.panels.retraining import job, validate
from explorer.runs import folder
from explorer.trust import edited, evidence
from explorer.trust.left_out import Effect
from explorer.ui import escape, theme
from influence.live import (
    ADD,
    LEAVE_OUT,
    MASK,
    RELABEL,
    STRIKE,
    SWITCH_OFF,
    TAKE_BACK,
    UPWEIGHT,
    Alteration,
    as_json,
)
from influence.run import NAT, Run

HELP = (
    "From the solution: the models train on from where they stand, with the data so changed, to the minimum next to "
    "it; this is what scores predict. From scratch: all stages begin at their random start, which takes as long as the "
    "first training did and may end elsewhere. What unchanged data give in the same way is subtracted."
)
OPTIONS = {
    RELABEL: "--relabel",
    UPWEIGHT: "--upweight",
    MASK: "--mask",
    STRIKE: "--strike",
    LEAVE_OUT: "--leave-out",
    ADD: "--add",
    TAKE_BACK: "--take-back",
}
"""Options of `upstream what-if`."""


def draw(run: Run, stage: str, method: str, rows: Sequence[int], positions: np.ndarray) -> None:
    """Draw it for leaving out the examples at `rows`, and the queries at `positions`."""
    ids = run.examples(stage)["id"].iloc[list(rows)].tolist()
    alterations = [Alteration(LEAVE_OUT, stage, number) for number in ids]
    found = edited.effects(run, alterations, positions)
    everywhere = {e.start: e for e in edited.effects(run, alterations, np.arange(len(run.queries())))}
    for effect in found:
        # A slice by which examples were chosen flatters them; one prediction is asked about for itself.
        whole = everywhere.get(effect.start) if effect.queries > 1 else None
        st.html(effect_html(effect, len(rows), run.unit(method, stage), whole))
    button(run, alterations, found, f"Really retrain without {'this one' if len(rows) == 1 else 'these'}")


def button(run: Run, alterations: Sequence[Alteration], found: Sequence[Effect], words: str) -> None:
    """Draw the way to train again, or how far it is; `found` was measured already, `words` stand on the button."""
    open_starts = [name for name, start in evidence.STARTS.items() if start not in {effect.start for effect in found}]
    if not open_starts:
        return
    if obstacle := validate.why_not(run):
        # Beside what was measured nothing more needs to be said.
        if not found:
            st.caption(obstacle)
        return
    what = name_of(alterations)
    if job.draw(run.path, what):
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        chosen = open_starts[0]
        if len(open_starts) > 1:
            chosen = st.selectbox("Train again", open_starts, key=f"start-{what}", width=180, help=HELP) or chosen
        st.button(
            words + ("" if len(open_starts) > 1 else f", {chosen[0].lower()}{chosen[1:]}"),
            key=f"retrain-{what}",
            icon=":material/model_training:",
            on_click=begin,
            args=(run, alterations, evidence.STARTS[chosen]),
            help=HELP,
        )


def begin(run: Run, alterations: Sequence[Alteration], start: str) -> None:
    """Begin the retraining, or join the computation that is under way for this run."""
    process.begin(run.path, name_of(alterations), arguments(run, alterations, start), seconds=expected(run, start))


def arguments(run: Run, alterations: Sequence[Alteration], start: str) -> list[str]:
    """Arguments of `upstream` that really train with these edits."""
    if len(stages := {each.stage for each in alterations}) == 1 and all(e.kind == LEAVE_OUT for e in alterations):
        ids = [str(each.id) for each in alterations]
        return ["leave-out", "--stage", *stages, "--start", start, *folder.study_option(run), "--", str(run.path), *ids]
    told = []
    for each in alterations:
        value = ",".join(map(str, each.value)) if each.kind == MASK else each.value
        whole = each.kind in (LEAVE_OUT, ADD)
        if each.kind == ADD and each.value:
            told += ["--add", f"{each.stage}:{each.value[0]}"]
            continue
        if each.kind == SWITCH_OFF:
            told += ["--switch-off", f"{each.stage}:{each.value}"]
            continue
        told += [OPTIONS[each.kind], f"{each.stage}:{each.id}" + ("" if whole else f"={value}")]
    return ["what-if", "--start", start, "--really", *folder.study_option(run), *told, "--", str(run.path)]


def expected(run: Run, start: str) -> float:
    """Seconds that it will take, as the first training took; 0: not known."""
    if start != evidence.SCRATCH:
        return 0.0
    return 2 * sum(stage.training.seconds or 0 for stage in run.manifest.stages)


def name_of(alterations: Sequence[Alteration]) -> str:
    """Name of the computation, the same for the same edits."""
    return "edited-" + hashlib.sha256(as_json(alterations).encode()).hexdigest()[:16]


def effect_html(effect: Effect, count: int, stored: str, whole: Effect | None = None) -> str:
    """What leaving out `count` examples did, beside what was predicted, as HTML.

    `stored` is the unit of the run's scores, `whole` is of the whole test set.
    """
    unit = unit_of(effect, stored)
    words = ""
    if unit.name and whole is not None and whole.queries > effect.queries:
        words = (
            f" Of all {whole.queries:,} test predictions together: predicted {unit.text(whole.predicted)}, measured "
            f"{unit.text(whole.measured)} {unit.name}."
        )
    of = "the loss of " + ("this prediction" if effect.queries == 1 else f"these {effect.queries:,} together")
    return measured_html(effect, "without it" if count == 1 else f"without these {count}", of, unit, words)


def measured_html(effect: Effect, made: str, of: str, unit: theme.Unit, more: str = "") -> str:
    """Measured beside predicted: a sentence and two bars on one scale, as HTML.

    `made` says how the data were changed and `of` what is judged by, both unescaped; `more` are further sentences.
    """
    # What scores lack, a measured loss has: a unit.
    measured_unit = theme.unit_of(np.array([effect.measured]), unit.stored if unit.name else NAT)
    way = "all over again from scratch" if effect.start == evidence.SCRATCH else "on from the solution"
    direction = "rose" if effect.measured > 0 else "fell"
    words = (
        f"Really trained {way} {escape.for_html(made)}: {escape.for_html(of)} {direction} by "
        f"<b>{measured_unit.size(effect.measured)}</b>.{turned(effect)}{more}"
    )
    if not unit.name:
        return (
            f'<div class="up-effect"><p>{words} These scores are an order only: they have no unit to compare.</p></div>'
        )
    return f'<div class="up-effect"><p>{words}</p><dl>{bars_html(effect, unit)}</dl></div>'


def unit_of(effect: Effect, stored: str) -> theme.Unit:
    """The unit in which predicted and measured read well."""
    return theme.unit_of(np.array([effect.predicted, effect.measured]), stored)


def bars_html(effect: Effect, unit: theme.Unit) -> str:
    """Two bars on one scale, from the left if they point the same way, else from the middle."""
    largest = max(abs(effect.predicted), abs(effect.measured)) or 1.0
    across = effect.predicted * effect.measured < 0
    lines = []
    for name, value in (("predicted", effect.predicted), ("measured", effect.measured)):
        sign, wide = "up-up" if value > 0 else "up-down", (50 if across else 100) * abs(value) / largest
        kind = f"up-bar {sign}{' up-across' if across else ''}"
        bar = f'<span class="{kind}" style="width:{wide:.1f}%"></span>'
        lines.append(f"<dt>{name}</dt><dd>{bar}</dd><dd>{unit.text(value)} {unit.name}</dd>")
    return "".join(lines)


def turned(effect: Effect) -> str:
    """How many predictions changed sides, in a sentence; for one prediction, whether it did."""
    if effect.mended is None or effect.broken is None:
        return ""
    if effect.queries > 1:
        return f" {effect.mended} wrong ones became right, {effect.broken} right ones wrong."
    if effect.mended:
        return " Its class became right."
    return " Its class became wrong." if effect.broken else " Its class did not change to right or wrong."
