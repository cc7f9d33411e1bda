"""Really training without some examples: a button, progress, and what it did beside what was predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import streamlit as st

from explorer.jobs import process
from explorer.panels.retraining import job, validate
from explorer.trust import evidence, left_out
from explorer.trust.left_out import Effect
from explorer.ui import escape, theme
from influence.run import Run

HELP = (
    "From the solution: the models train on from where they stand, without these examples, to the minimum next to it; "
    "this is what scores predict. From scratch: all stages begin at their random start, which takes as long as the "
    "first training did and may end elsewhere. What nothing left out gives in the same way is subtracted."
)


def draw(run: Run, stage: str, method: str, rows: Sequence[int], positions: np.ndarray) -> None:
    """Draw it for the examples at `rows` and the queries at `positions`."""
    found = left_out.effects(run, stage, rows, positions)
    everywhere = {e.start: e for e in left_out.effects(run, stage, rows, np.arange(len(run.queries())))}
    for effect in found:
        # A slice by which examples were chosen flatters them; one prediction is asked about for itself.
        whole = everywhere.get(effect.start) if effect.queries > 1 else None
        st.html(effect_html(effect, len(rows), run.unit(method, stage), whole))
    open_starts = [name for name, start in evidence.STARTS.items() if start not in {effect.start for effect in found}]
    if not open_starts:
        return
    if obstacle := validate.why_not(run):
        # Beside what was measured nothing more needs to be said.
        if not found:
            st.caption(obstacle)
        return
    what = name_of(stage, rows)
    if job.draw(run.path, what):
        return
    these = "this one" if len(rows) == 1 else "these"
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        chosen = open_starts[0]
        if len(open_starts) > 1:
            chosen = st.selectbox("Train again", open_starts, key=f"start-{what}", width=180, help=HELP) or chosen
        st.button(
            f"Really retrain without {these}" + ("" if len(open_starts) > 1 else f", {chosen[0].lower()}{chosen[1:]}"),
            key=f"retrain-{what}",
            icon=":material/model_training:",
            on_click=begin,
            args=(run, stage, list(rows), evidence.STARTS[chosen]),
            help=HELP,
        )


def begin(run: Run, stage: str, rows: Sequence[int], start: str) -> None:
    """Begin the retraining, or join the computation that is under way for this run."""
    ids = run.examples(stage)["id"].iloc[list(rows)].astype(str).tolist()
    arguments = ["leave-out", "--stage", stage, "--start", start, "--", str(run.path), *ids]
    process.begin(run.path, name_of(stage, rows), arguments, seconds=expected(run, start))


def expected(run: Run, start: str) -> float:
    """Seconds that it will take, as the first training took; 0: not known."""
    if start != evidence.SCRATCH:
        return 0.0
    return 2 * sum(stage.training.seconds or 0 for stage in run.manifest.stages)


def name_of(stage: str, rows: Sequence[int]) -> str:
    """Name of the computation, the same for the same set of examples."""
    return "left-out-" + hashlib.sha256(f"{stage} {sorted(rows)}".encode()).hexdigest()[:16]


def effect_html(effect: Effect, count: int, stored: str, whole: Effect | None = None) -> str:
    """Measured beside predicted: a sentence and two bars on one scale, as HTML.

    `stored` is the unit of the run's scores, `whole` is of the whole test set.
    """
    unit = theme.unit_of(np.array([effect.predicted, effect.measured]), stored)
    measured_unit = theme.unit_of(np.array([effect.measured]))
    of = "this prediction" if effect.queries == 1 else f"these {effect.queries:,} together"
    direction = "rose" if effect.measured > 0 else "fell"
    without = "it" if count == 1 else f"these {count}"
    way = "all over again from scratch" if effect.start == evidence.SCRATCH else "on from the solution"
    size = f"{theme.number(abs(effect.measured) * measured_unit.factor)} {measured_unit.name}"
    words = (
        f"Really trained {way} without {without}: the loss of {escape.for_html(of)} {direction} by <b>{size}</b>."
        f"{turned(effect)}"
    )
    if not unit.name:
        return (
            f'<div class="up-effect"><p>{words} These scores are an order only: they have no unit to compare.</p></div>'
        )
    if whole is not None and whole.queries > effect.queries:
        words += (
            f" Of all {whole.queries:,} test predictions together: predicted {unit.text(whole.predicted)}, measured "
            f"{unit.text(whole.measured)} {unit.name}."
        )
    return f'<div class="up-effect"><p>{words}</p><dl>{bars_html(effect, unit)}</dl></div>'


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
