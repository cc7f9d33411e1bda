"""How the scores were computed: layers covered and skipped, residuals, gradient norms, damping; from run.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from explorer.trust import evidence
from explorer.ui import escape, theme, widgets
from influence.run import Run, StageRecord


def draw(run: Run) -> None:
    widgets.heading("How the scores were computed")
    st.html(html(table(run)))
    for note in notes(run):
        st.markdown(f"- {note}")


def html(facts: pd.DataFrame) -> str:
    """The table as HTML, in which long lists of names wrap, with everything escaped."""
    head = "".join(f'<th scope="col">{escape.for_html(name)}</th>' for name in facts.columns)
    lines = "".join(
        f'<tr><th scope="row">{escape.for_html(name)}</th>'
        # Names of parameters may be broken at their dots.
        + "".join(f"<td>{escape.for_html(value).replace('.', '.<wbr>')}</td>" for value in row)
        + "</tr>"
        for name, row in zip(facts.index, facts.to_numpy().tolist(), strict=True)
    )
    return f'<table class="up-facts"><tr><td></td>{head}</tr>{lines}</table>'


def table(run: Run) -> pd.DataFrame:
    """One column a stage, one row a fact; of the default method."""
    return pd.DataFrame({theme.stage_word(stage.name): facts(run, stage) for stage in run.manifest.stages})


def facts(run: Run, stage: StageRecord) -> dict[str, str]:
    """The facts of one stage: names and values."""
    report, groups = report_of(run, stage.name), stage.parameters
    residuals, errors = report.get("residuals") or [], report.get("score_error") or []
    return {
        "covered: trained here": names_text([*groups.new, *groups.proximity]),
        "inherited, frozen: covered before": names_text(groups.frozen),
        "skipped: neither trained nor inherited": names_text(groups.constant),
        "method, curvature": ", ".join(filter(None, [run.manifest.default_method, report.get("curvature")])),
        "unit of the scores": run.unit(run.manifest.default_method, stage.name),
        "damping": _number(report.get("damping")),
        "worst residual of a solve": _number(max(residuals)) if residuals else _unsolved(run),
        "error of the scores by the solve, worst query": _number(max(errors)) if errors else _unsolved(run),
        "smallest curvature": _number(stage.smallest_curvature),
        "gradient norm after training": _number(stage.training.gradient_norm),
        "converged": {True: "yes", False: "no", None: "not known"}[stage.training.converged],
        "error of compressed vectors": _number((report.get("compression") or {}).get("error"), "none, not compressed"),
    }


def _unsolved(run: Run) -> str:
    """Why there is no residual."""
    return "none: solved directly" if run.manifest.default_method == "exact" else "not measured: an approximation"


def report_of(run: Run, stage: str) -> Mapping[str, Any]:
    """The default method's report on a stage; empty if it has no scores of it."""
    for record in run.manifest.scores:
        if record.stage == stage and record.method == run.manifest.default_method:
            return record.report
    return {}


def notes(run: Run) -> list[str]:
    """Facts that limit trust, the run's own warnings, and how it was computed, as markdown."""
    found = []
    unsettled = evidence.unsettled(run)
    for stage in run.manifest.stages:
        name = theme.stage_word(stage.name)
        if stage.name in unsettled:
            norm = unsettled[stage.name]
            found.append(
                f"{theme.WRONG} {name.capitalize()} ended at a gradient norm of {norm:.2g}: not a minimum, where alone "
                "scores are derivatives of retraining."
            )
        if stage.parameters.constant:
            skipped = len(stage.parameters.constant)
            found.append(f"{theme.WRONG} {skipped} parameters of {name} are skipped: their part is in no score.")
    found += dict.fromkeys([*run.order_only(run.manifest.default_method), *run.manifest.warnings])
    told = [escape.for_markdown(note) for note in found] or ["Nothing met while computing speaks against the scores."]
    return [*told, *(f"How it was computed: {escape.for_markdown(note)}" for note in run.manifest.notes)]


def names_text(names: Sequence[str], most: int = 6) -> str:
    """Parameters' names, the first few."""
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(escape.visible, names[:most])) + more


def _number(value: object, none: str = "not known") -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) and math.isfinite(value) else none
