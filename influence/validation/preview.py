"""`what_if`: alterations of a run's training data, predicted and, if asked for, really trained; kept in the run."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from influence.attribution.edits.effect import edit_effect
from influence.curvature.cards import IDENTITY
from influence.engine import Engine, engine_of
from influence.engine.choice import HERE
from influence.errors import TrainingError
from influence.live.alterations import ADD, STEPS, Alteration, as_json
from influence.live.edits import edits_of
from influence.progress import Progress
from influence.run.additions import add_tables
from influence.run.files import retrainings_locked
from influence.run.reading import Run
from influence.study.edits import Edit
from influence.study.revision import weight_changes
from influence.training.retraining import Start
from influence.validation.ahead import retrained, workers_of
from influence.validation.bench import Bench, bench_of
from influence.validation.retraining import Retraining
from influence.validation.slices import Slice

NAME = "what-if"
"""Name of the table in the run."""
SHOWN = 5
"""Queries that are listed."""


def what_if(
    run: Run,
    alterations: Sequence[Alteration],
    *,
    really: bool = False,
    start: Start = "solution",
    function: str | None = None,
    device: str = "cpu",
    engine: str | Engine = HERE,
    progress: bool = True,
) -> tuple[Run, list[str]]:
    """Predict what alterations do if all are made, and add a row to the run's table `what-if`.

    A set that the table already has is not computed again.

    Args:
        run: a finished run.
        alterations: of its training data, each of another example, or of one several words.
        really: train all stages again with them, too.
        start: as of `Retrainer.retrain`.
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to compute and train.
        engine: who trains again, as of `validate`; this process predicts.
        progress: show bars with time left.

    Returns:
        (The run, read again; what is to be known of the prediction, a sentence each.)

    Raises:
        RunError: no alteration, unknown ids, one altered twice; or the run's study cannot be made again.
        TrainingError: a stage was trained in mini-batches, and really training it again with more examples is asked.
        EngineError: as `validate`.
        StudyError, LossError, CurvatureError, TrainingError: with what was given and what to do.
    """
    asked = engine_of(engine) if isinstance(engine, str) else engine
    known = row_of(run.validation(NAME), alterations, start)
    if known is not None and not (really and np.isnan(known["measured"]).all()):
        return run, _lines(known.get("remarks"))
    alone = retrainings_locked(run.path) if really else contextlib.nullcontext()
    with alone, Progress(visible=progress) as bars:
        with bars.step("Reading the study"):
            stage = alterations[0].stage if alterations else run.stages[0]
            bench = bench_of(run, stage, function=function, device=device)
            made = edits_of(run, bench.exhibit, alterations)
            if really:
                _refuse_added(bench, alterations)
        exhibit, steps = bench.exhibit, 0 if bench.exhibit.method == IDENTITY.name else STEPS
        with bars.step("Predicting"):
            effect = edit_effect(
                exhibit.study, made, method=exhibit.method, damping=exhibit.damping, curvature=exhibit.curvature,
                steps=steps, device=device, progress=False,
            )  # fmt: skip
        found: dict[str, Any] = {
            "edits": as_json(alterations),
            "start": start,
            "first": effect.first.astype(np.float32),
            "together": effect.total.astype(np.float32),
        }
        report = effect.report
        told = [*(f"Warning: {each}" for each in report["warnings"]), *(f"Note: {each}" for each in report["notes"])]
        found["remarks"] = "\n".join(" ".join(each.splitlines()) for each in told)
        found["measured"] = np.full(len(effect.first), np.nan, np.float32)
        found |= dict.fromkeys(("class_before", "class_after"), np.full(len(effect.first), -1, np.int32))
        if really:
            with workers_of(bench, asked, function, device, bars):
                found |= _measured(bench, made, start, bars)
        new = pd.DataFrame([found])
        old = Run.open(run.path).validation(NAME)
        if old is not None:
            others = old[~((old["edits"] == found["edits"]) & (old["start"] == start))]
            new = pd.concat([others, new], ignore_index=True)
        return add_tables(run, {NAME: new}), told


def _lines(remarks: Any) -> list[str]:
    """The lines of a cell, which runs of before lack."""
    return remarks.splitlines() if isinstance(remarks, str) else []


def _refuse_added(bench: Bench, alterations: Sequence[Alteration]) -> None:
    for each in alterations:
        if each.kind == ADD and each.stage in bench.retrainer.recipes:
            raise TrainingError(
                f"Stage {each.stage!r} was trained in mini-batches, all of which would be others with more examples: "
                "training it again would not show what the added ones do. What they do is predicted all the same, "
                "without --really (in Python, really=False)."
            )


def _measured(bench: Bench, made: Sequence[Edit], start: Start, bars: Progress) -> dict[str, np.ndarray]:
    before, after = retrained(bench, [Retraining(bench.stage, None, start), _with(bench, made, start)], bars)
    return {
        "measured": (after["loss"] - before["loss"]).to_numpy(np.float32),
        "class_before": before["predicted"].to_numpy(np.int32),
        "class_after": after["predicted"].to_numpy(np.int32),
    }


def _with(bench: Bench, made: Sequence[Edit], start: Start) -> Retraining:
    """Training again with the edits; with weights of one stage's examples, if they are no more: a check may have."""
    if any(edit.stage != bench.stage or not edit.rows or edit.labels or len(edit.examples) for edit in made):
        return Retraining(bench.stage, None, start, edits=tuple(made))
    weights = torch.ones(bench.count, dtype=torch.float64)
    for row, by in weight_changes(made).items():
        weights[row] += by
    return Retraining(bench.stage, weights, start)


def row_of(table: pd.DataFrame | None, alterations: Sequence[Alteration], start: str) -> dict[str, Any] | None:
    """The row of a table `what-if` with exactly these alterations; None if there is none."""
    if table is None:
        return None
    same = table[(table["edits"] == as_json(alterations)) & (table["start"] == start)]
    return {str(name): value for name, value in same.iloc[-1].items()} if len(same) else None


def sentences(run: Run, alterations: Sequence[Alteration], start: str, of: Slice) -> list[str]:
    """What a row of the table says: predicted and, if they were trained, measured changes; and the queries' largest."""
    row = row_of(run.validation(NAME), alterations, start)
    assert row is not None
    together, measured = row["together"], row["measured"]
    made = "this edit" if len(alterations) == 1 else f"these {len(alterations)} edits"
    found = [
        f"With {made} {of.words} is predicted to change by {of.of(together):+.3g}{of.unit} (each alone, summed: "
        f"{of.first(row['first']):+.3g})."
    ]
    really = bool(np.isfinite(measured).all())
    if really:
        agree = np.corrcoef(together, measured)[0, 1] if np.ptp(together) and np.ptp(measured) else np.nan
        found.append(
            f"Trained again it changed by {of.of(measured):+.3g}{of.unit}; over queries the two agree with "
            f"r = {agree:.2f}."
        )
        found += _noise(run, start)
    queries = run.queries()
    found.append("The queries that change most, in nats:")
    for place in np.argsort(-np.abs(together))[:SHOWN]:
        line = f"  {queries['id'].iloc[place]} ({queries['label'].iloc[place]}): {together[place]:+.3g}"
        found.append(line + (f", measured {measured[place]:+.3g}" if really else ""))
    return found


def _noise(run: Run, start: str) -> list[str]:
    """How much losses change with no edit, as `upstream validate` found it."""
    summary, settings = run.validation("summary"), run.manifest.settings
    if summary is not None and ((summary["check"] == "noise") & (summary["start"] == start)).any():
        return [str(words) for words in summary[(summary["check"] == "noise") & (summary["start"] == start)]["words"]]
    if settings.get("epochs") or settings.get("recipes"):
        return [
            "A stage was trained in mini-batches, and training it again is noisy: `upstream validate` measures by how "
            "much losses change with no edit."
        ]
    return []
