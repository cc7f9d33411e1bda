"""`attribute`: the scores of all training examples of a stage for all queries of a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from influence.attribution.chain import Chain
from influence.attribution.explained import Explained
from influence.attribution.guards import check_options, derivatives_named, device_of, solver_of
from influence.attribution.memory import (
    bytes_held,
    described,
    queries_at_once,
    refuse_what_is_too_much,
    size,
    with_smaller_batches,
)
from influence.attribution.products.score import score
from influence.attribution.replay import replay
from influence.attribution.report import peak_memory, report_of
from influence.attribution.trainings.averages import Averages, report_of_trainings
from influence.attribution.trainings.sameness import refuse_other_studies, same_parameters
from influence.curvature.cards import REPLAY
from influence.curvature.method import PER_QUERY
from influence.errors import MethodError
from influence.progress import Progress
from influence.run.lists.ranking import top
from influence.run.records import NAT
from influence.study.study import Study
from influence.study.targets import TargetLike
from influence.training.readings import unchanged
from influence.training.recording import Recording

MOVED = "begun again with one example at a time, since the model moves examples to other places within a batch unseen"


class Scores:
    """The result of `attribute`.

    Attributes:
        values: float32 (n_queries, n_examples), in nats: the predicted change of the query's loss if the example had
            been left out of its stage. Positive = leaving it out hurts = helpful; negative = harmful.
        stage: whose training examples were scored.
        report: `method`; `unit`, "nat", that of the targets, or "order only" where the size of the scores means
            nothing; `stages`, for each damping, residuals, iterations, eigenvalues and `gradient_norm`, of the
            objective (0 at a minimum, which the theory asks for); where that is more than rounding, in nats,
            `newton_change`, root mean square by which one Newton step to the minimum would change the queries' losses,
            and `typical_score`, that of some scores; with "cg", "arnoldi" and "lissa", and "exact" in single precision,
            `score_error`: for every query an estimate of the relative error of its scores by this stage's solve and
            those after it, 1000 where it is larger or not known; `not_covered`, parameters that no influence flows
            through; `without_rule`, parameters without a layer rule, which are differentiated more slowly; `seconds`,
            `peak_memory` in bytes; `notes`, how it was computed; `warnings`, what makes the scores something else than
            they claim; `order_only`, those of the warnings that take the unit; of several trainings, `trainings`,
            their number.
        spread: of several trainings, float32 (n_queries, n_examples), nats: the standard deviation over them of each
            score, NaN of a list of one. The standard error of the mean is this over the root of their number. None
            where a single study was given.
    """

    def __init__(self, values: np.ndarray, stage: str, report: dict[str, Any], spread: np.ndarray | None = None):
        self.values, self.stage, self.report, self.spread = values, stage, report, spread

    def __repr__(self) -> str:
        queries, examples = self.values.shape
        return f"Scores({queries} queries x {examples} examples of {self.stage!r}, {self.report['method']})"

    def top(self, query: int, k: int, helpful: bool = True) -> pd.DataFrame:
        """The k most helpful (or most harmful) examples of one query, strongest first.

        Returns:
            Columns id (position in the stage's data), score (nats), rank (from 1). Only examples of the asked sign are
            listed, so there may be fewer than k.

        Raises:
            IndexError: there is no such query.
        """
        if not 0 <= query < len(self.values):
            raise IndexError(f"There is no query {query}; the queries are 0 to {len(self.values) - 1}.")
        ids = top(self.values[query], k, helpful)
        return pd.DataFrame({"id": ids, "score": self.values[query, ids], "rank": np.arange(1, len(ids) + 1)})


def attribute(
    study: Study | Sequence[Study],
    *,
    stage: str | None = None,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    targets: Sequence[TargetLike] | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    error: float = 0.0,
    **options: Any,
) -> Scores:
    """Score every training example of a stage for every query: the predicted effect of leaving the example out.

        score[t, z] = v_t . grad loss_z / m    with    v_t = H^-1 q_t

    - q_t is the gradient of query t's loss, pulled back from the last stage to this one (formulas in `chain.py`).
    - H is the curvature of this stage's objective over its trained parameters: its damped Gauss-Newton matrix or
      Hessian, l2 and proximity included.
    - v_t, the solved query, is an inverse-Hessian-vector product, computed once for all training examples.
    - grad loss_z is the gradient of training example z's loss over the trained parameters.
    - m is the number of training examples of this stage.

    The score is the predicted change of query t's loss, in nats, if z had been left out of the training of its stage.
    Positive = leaving it out hurts = helpful; negative = harmful. (The paper's influence, the derivative of the query's
    loss by z's weight, is -m times this.)

    Source: Chen et al., "Multi-Stage Influence Function", NeurIPS 2020, eqs. 9 to 15; for a single stage Koh & Liang,
    "Understanding Black-box Predictions via Influence Functions", ICML 2017.

    Args:
        study: what was trained on what. Of several trainings of one study, the same data with other seeds, a list: the
            scores are then means over them, and `spread` says how far those of one training lie apart.
        stage: name of the stage whose training examples are scored; default the first (pretraining).
        method: name of a method of `upstream methods`.
        damping: added to the curvature of every solve, in the units of the objective's Hessian; None picks a value
            and reports it.
        curvature: "ggn", or "hessian", which is checked for negative curvature.
        targets: numbers made of all queries, to explain in place of each query's loss (`influence.targets`, or any
            differentiable function of the outputs for all queries); a score is the predicted change of the number.
        device: where to compute; default the device of the last stage's model.
        progress: show bars with time left.
        batch_size: examples at a time; default by memory. It makes no difference to the scores. Where memory runs out
            it is halved, and the report notes it.
        error: allowed relative error of a query's scores, 0.01 say, for speed with many queries. Their vectors are then
            compressed (low rank, fewer input directions, half precision) as far as the error measured on a batch
            allows; 1 - Spearman's rank correlation must stay below a twentieth of it. Reported as `compression`.
        options: of the method.

    Returns:
        `Scores`, with `values` (n_queries, n_examples), or (n_targets, n_examples), in nats, positive = helpful. With
        targets `report["targets"]` has the name and unit of each.

    Raises:
        StudyError: there is no such stage, the data change from one reading to the next, parameters that were begun
            anew count as inherited, or several studies differ in more than their seeds.
        LossError: a loss or target is not finite or not one value per example, or torch cannot differentiate it.
        MethodError: an unknown method, option or device, a value out of range, or too little memory.
        CurvatureError: the curvature cannot be inverted: negative eigenvalues, or a matrix that is too large.
        TrainingError: with method "replay", a recorded training cannot be repeated.
    """
    if not isinstance(study, Study):

        def of_one(each: Study) -> Scores:
            return attribute(
                each, stage=stage, method=method, damping=damping, curvature=curvature, targets=targets, device=device,
                progress=progress, batch_size=batch_size, error=error, **options,
            )  # fmt: skip

        return _over_trainings(study, method, of_one)
    started = time.perf_counter()
    first = study.position(stage)
    if batch_size is not None and batch_size < 1:
        raise MethodError(f"batch_size is {batch_size!r}, expected at least 1.")
    if not 0 <= error < 1:
        raise MethodError(f"error is {error!r}, expected a share from 0 to below 1.")
    place = device_of(study, device)
    if method == REPLAY.name:  # no curvature, so no chain
        if targets is not None:
            raise MethodError("Method 'replay' explains no `targets`. Leave them out, or pick another method.")
        check_options(_replayed, method, options)
        return _replayed(study, study.stages[first].name, damping, curvature, place, batch_size, progress, **options)
    solver = solver_of(method, damping, curvature, options)
    at_once = queries_at_once(study, first)
    held = bytes_held(study, first, method, at_once)
    refuse_what_is_too_much(held, place)

    def scored(halvings: int, examples: int | None = batch_size) -> tuple[np.ndarray, Chain, Explained]:
        with bars.step(f"Curvature ({method})"):
            chain = Chain(study, first, solver, device=place, batch_size=examples, halvings=halvings)
        explained = Explained(chain, targets)
        values = _values(chain, explained, error, at_once, bars)
        moved = [objective for objective in chain.objectives if objective.remarks.moved]
        if not moved or examples == 1:
            return values, chain, explained
        again = scored(halvings, 1)
        for objective in again[1].objectives:
            objective.remarks.notes.add(f"{objective.stage.name}: {MOVED}")
        return again

    with derivatives_named(study), Progress(visible=progress) as bars, unchanged(study, first):
        bars.say(f"Holds {size(sum(held.values()))} of memory: {described(held)}")
        values, chain, explained = with_smaller_batches(scored)
    report = explained.told(report_of(chain, method)) | {"seconds": time.perf_counter() - started}
    return Scores(values, chain.objectives[0].stage.name, report)


def _over_trainings(studies: Iterable[Study], method: str, of_one: Callable[[Study], Scores]) -> Scores:
    """Mean and spread of the scores of several trainings of one study."""
    every = list(studies) if isinstance(studies, Iterable) else [studies]
    refuse_other_studies(every)
    if method == REPLAY.name:
        raise MethodError("Method 'replay' repeats one recorded training. Ask for each study alone, with its own.")
    averages, reports = Averages(), []
    for each in every:
        found = of_one(each)
        averages.add(found.values)
        reports.append(found.report)
    report = report_of_trainings(reports)
    report["warnings"] += same_parameters(every)
    return Scores(averages.mean.astype(np.float32), found.stage, report, averages.spread.astype(np.float32))


def _values(chain: Chain, explained: Explained, error: float, at_once: int, bars: Progress) -> np.ndarray:
    """Scores (Q, m) of the chain's first stage, of `at_once` queries at a time."""
    first, count = chain.objectives[0], explained.count
    values = np.empty((count, first.count), dtype=np.float32)
    told: list[dict[str, Any]] = [{} for _ in chain.solvers]
    for start in range(0, count, at_once):
        rows = slice(start, min(start + at_once, count))
        of = "" if at_once >= count else f" (queries {rows.start + 1} to {rows.stop} of {count})"
        with bars.step(f"Pulling queries back{of}"):
            vectors = [chain.pull_to_first(explained.gradients(rows))[1]]  # a list, so that scoring can let go of them
        for report, solver in zip(told, chain.solvers, strict=True):
            found = {key: solver.report[key] for key in PER_QUERY if key in solver.report}
            solver.report |= {key: report.get(key, []) + value for key, value in found.items()}
            report |= {key: solver.report[key] for key in found}
        with bars.step(f"Scoring {first.stage.name}{of}", total=first.count) as bar:
            for positions, block in score(first, vectors.pop(), error=error):
                values[rows, positions] = block.cpu().numpy()
                bar.advance(positions.stop - positions.start)
    if at_once < count:
        first.remarks.notes.add(f"{first.stage.name}: {at_once} of {count} queries at a time, as memory asks for")
    return values


def _replayed(
    study: Study,
    stage: str,
    damping: float | None,
    curvature: str,
    device: torch.device,
    batch_size: int | None,
    progress: bool,
    *,
    recordings: Sequence[Recording] | None = None,
    queries: Sequence[int | Sequence[int]] | None = None,
) -> Scores:
    started = time.perf_counter()
    if damping is not None or curvature != "ggn":
        raise MethodError(
            "Method 'replay' takes no `damping` and no `curvature`: it inverts nothing. Leave them out, or pick "
            "another method."
        )
    found = replay(
        study, recordings, stage=stage, queries=queries, device=device, batch_size=batch_size, progress=progress
    )
    constant = {each.stage.name: each.groups.constant for each in recordings or ()}
    report = {
        "method": REPLAY.name,
        "unit": NAT,
        "order_only": [],
        "stages": found.stages,
        "not_covered": {name: list(names) for name, names in constant.items() if names},
        "notes": found.notes,
        "warnings": [],
        "peak_memory": peak_memory(),
        "seconds": time.perf_counter() - started,
    }
    return Scores(found.scores[stage].float().numpy(), stage, report)
