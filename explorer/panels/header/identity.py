"""The run's identity card: what it is in one line, everything else on click."""

from __future__ import annotations

import datetime
import json

import pandas as pd
import streamlit as st

from explorer.export import spreadsheet
from explorer.panels.header import said
from explorer.ui import theme
from explorer.ui.escape import for_markdown
from influence.run import ORDER_ONLY, Run, slope_of


def line(run: Run) -> str:
    """The run in one line of plain text."""
    manifest = run.manifest
    sizes = " + ".join(f"{stage.examples:,} {theme.stage_word(stage.name)}" for stage in manifest.stages)
    reports = [record.report for record in manifest.scores if record.method == manifest.default_method]
    damping = reports[0].get("damping") if reports else None
    solved = manifest.default_method + (f", damping {damping:.2g}" if isinstance(damping, (int, float)) else "")
    parts = [
        " ".join(part for part in (manifest.study, manifest.variant, f"({case(run)})" * bool(case(run))) if part),
        solved + _size(run),
        f"{sizes} examples, {len(run.queries()):,} predictions",
        "" if manifest.seed is None else f"seed {manifest.seed}",
        _date(manifest.created),
    ]
    return " · ".join(part for part in parts if part)


def _size(run: Run) -> str:
    """What the sizes of the run's scores are, where they are not nats at every stage."""
    method = run.manifest.default_method
    lost = [stage for stage in run.stages if run.unit(method, stage) == ORDER_ONLY]
    slopes = {stage: slope for stage in run.stages if (slope := slope_of(run, method, stage))}
    told = [f"{theme.stage_word(stage)} scores times {slope.times:.2g}" for stage, slope in slopes.items()]
    left = [stage for stage in lost if stage not in slopes]
    if left:
        of = "" if len(left) == len(run.stages) else f" in {' and '.join(map(theme.stage_word, left))}"
        told.append(f"{ORDER_ONLY}{of}")
    return "".join(f", {each}" for each in told)


def case(run: Run) -> str:
    """The paper's case of the last stage: inherited parameters stayed fixed (1) or were trained (2); "" if neither."""
    if not run.stages:
        return ""
    groups = run.manifest.stages[-1].parameters
    if groups.frozen and groups.proximity:
        return "partly frozen"
    return "the paper's case 1" if groups.frozen else "the paper's case 2" if groups.proximity else ""


def _date(created: str) -> str:
    try:
        return f"{datetime.datetime.fromisoformat(created):%d %b %Y}".lstrip("0")
    except ValueError:
        return created


def draw(run: Run) -> None:
    """The line, and the card behind it."""
    warnings = len(run.manifest.warnings)
    told = f"Run details, {warnings} {'warning' if warnings == 1 else 'warnings'}" if warnings else "Run details"
    icon = ":material/warning:" if warnings else ":material/info:"
    card = st.popover(told, icon=icon, on_change="rerun", key="identity")
    if not card.open:
        return
    with card:
        st.markdown(f"**{for_markdown(run.manifest.title or run.name)}**")
        st.markdown(for_markdown(run.manifest.summary))
        said.draw(run)
        st.markdown("**Stages**")
        table = stages(run).reset_index(names="what")
        spreadsheet.draw(table, "What is known of each stage", f"{run.name}-stages", "csv_stages")
        st.markdown("**Layers**")
        alt = "Parameters and what became of them"
        spreadsheet.draw(layers(run), alt, f"{run.name}-layers", "csv_layers", height=220)
        st.markdown("**Scores**")
        spreadsheet.draw(scores(run), "How each score array was solved", f"{run.name}-solves", "csv_solves")
        st.markdown("**Times, versions, checksums**")
        alt = "Times, versions and checksums"
        spreadsheet.draw(details(run), alt, f"{run.name}-details", "csv_details", height=220)


def stages(run: Run) -> pd.DataFrame:
    """One column a stage: sizes, parameter groups, fit."""
    columns = {}
    for stage in run.manifest.stages:
        groups, training = stage.parameters, stage.training
        columns[stage.name] = {
            "examples": f"{stage.examples:,}",
            "classes": ", ".join(stage.classes) or "none, no classifier",
            "inherited, frozen": ", ".join(groups.frozen) or "none",
            "inherited, trained": ", ".join(groups.proximity) or "none",
            "new": ", ".join(groups.new) or "none",
            "l2": _plain(stage.l2),
            "proximity": _plain(stage.proximity),
            "training loss, nat": _plain(stage.loss),
            "training accuracy": _plain(stage.accuracy) if stage.classes else "none, no classifier",
            "test accuracy": _plain(stage.test_accuracy),
            "gradient norm": _plain(training.gradient_norm),
            "iterations": _plain(training.iterations),
            "converged": _plain(training.converged),
            "smallest curvature": _plain(stage.smallest_curvature),
        }
    return pd.DataFrame(columns)


def layers(run: Run) -> pd.DataFrame:
    """One row a parameter or buffer of a stage: its shape, and what the stage did with it.

    Raises:
        RunError: a stage's file cannot be read.
    """
    words = {"frozen": "inherited, kept fixed", "proximity": "inherited, trained", "new": "new", "constant": "constant"}
    rows = []
    for stage in run.manifest.stages:
        became = {name: words[group] for group, names in vars(stage.parameters).items() for name in names}
        for name, shape in run.shapes(stage.name).items():
            rows.append((stage.name, name, " x ".join(map(str, shape)) or "1", became.get(name, "")))
    return pd.DataFrame(rows, columns=["stage", "parameter", "shape", "what became of it"])


def scores(run: Run) -> pd.DataFrame:
    """One row a score array and thing that its solver reports."""
    rows = [
        {"stage": record.stage, "method": record.method, "what": what, "value": _plain(value)}
        for record in run.manifest.scores
        for what, value in record.report.items()
    ]
    return pd.DataFrame(rows, columns=["stage", "method", "what", "value"])


def details(run: Run) -> pd.DataFrame:
    """One row a fact of the manifest."""
    manifest = run.manifest
    rows = [("created", manifest.created), ("explained", manifest.measure), ("folder", str(run.path))]
    if manifest.map.stage:
        rows.append(("map", f"{manifest.map.algorithm} of {manifest.map.of}"))
    rows += [(f"seconds: {step}", _plain(seconds)) for step, seconds in manifest.timings.items()]
    if manifest.peak_memory:
        rows.append(("peak memory", f"{manifest.peak_memory / 1e6:,.0f} MB"))
    rows += [(f"version: {name}", str(version)) for name, version in manifest.versions.items()]
    rows += [("checksum: run.json", manifest.checksum)]
    rows += [(f"checksum: {name}", value) for name, value in manifest.files.items() if not name.startswith("scores/")]
    return pd.DataFrame(rows, columns=["what", "value"])


def _plain(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value) if isinstance(value, (int, str)) else json.dumps(value)
