"""`attribute`: a study in, scores out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from influence.attribution.chain import Chain
from influence.attribution.guards import check_options, derivatives_named, usable
from influence.attribution.memory import bytes_held, described, refuse_what_is_too_much, size, with_smaller_batches
from influence.attribution.products.score import score
from influence.attribution.replay import replay
from influence.attribution.report import peak_memory, report_of
from influence.curvature import Method, method_named
from influence.curvature.cards import REPLAY
from influence.derivatives import Objective
from influence.errors import MethodError
from influence.progress import Progress
from influence.run.ranking import top
from influence.study.study import Study
from influence.training.recording import Recording


class Scores:
    """What `attribute` found.

    Attributes:
        values: float32 (n_queries, n_examples), in nats: the predicted change of the query's loss if the example had
            been left out of its stage. Positive = leaving it out hurts = helpful; negative = harmful.
        stage: whose training examples were scored.
        report: what was solved: method, curvature; per stage damping, residuals, iterations, eigenvalues and the norm
            of the objective's gradient (the theory asks for a minimum, where it is 0); parameters that nothing flows
            through; parameters whose layers have no rule and were differentiated the slow way; seconds, peak memory in
            bytes; notes and warnings.
    """

    def __init__(self, values: np.ndarray, stage: str, report: dict[str, Any]):
        self.values, self.stage, self.report = values, stage, report

    def __repr__(self) -> str:
        queries, examples = self.values.shape
        return f"Scores({queries} queries x {examples} examples of {self.stage!r}, {self.report['method']})"

    def top(self, query: int, k: int, helpful: bool = True) -> pd.DataFrame:
        """The k most helpful (or most harmful) examples of one query, strongest first.

        Returns:
            id (position in the stage's data), score (nats), rank (from 1). Only examples of the asked sign are
            listed, so there may be fewer than k.
        """
        if not 0 <= query < len(self.values):
            raise IndexError(f"There is no query {query}; the queries are 0 to {len(self.values) - 1}.")
        ids = top(self.values[query], k, helpful)
        return pd.DataFrame({"id": ids, "score": self.values[query, ids], "rank": np.arange(1, len(ids) + 1)})


def attribute(
    study: Study,
    *,
    stage: str | None = None,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    error: float = 0.0,
    **options: Any,
) -> Scores:
    """Score every training example of a stage against every query of the study.

    Args:
        study: what was trained on what.
        stage: whose training examples to score, by name; default the first (pretraining).
        method: name of a method of `upstream methods`.
        damping: added to the curvature of every solve, in the units of the objective's Hessian; None picks a value
            and reports it.
        curvature: "ggn", or "hessian", which is checked for negative curvature.
        device: where to compute; default the device of the last stage's model.
        progress: show bars with time left.
        batch_size: examples at a time; default by memory. It makes no difference to the scores. Where memory runs out
            it is halved, and the report notes it.
        error: relative error of a query's scores that is allowed for speed with many queries, 0.01 say: their vectors
            are then of the lowest rank, in the fewest directions of what goes into a layer, and of half precision, for
            which it holds, and for which scores keep their order (Spearman's correlation lacks at most a twentieth of
            it). Measured on a batch and reported (`compression`).
        options: of the method.

    Returns:
        `Scores`, with `values` (n_queries, n_examples) in nats, positive = helpful.

    Raises:
        StudyError, LossError, MethodError, CurvatureError, TrainingError: with what was given and what to do.
    """
    started = time.perf_counter()
    first = study.position(stage)
    if batch_size is not None and batch_size < 1:
        raise MethodError(f"batch_size is {batch_size!r}, expected at least 1.")
    if not 0 <= error < 1:
        raise MethodError(f"error is {error!r}, expected a share from 0 to below 1.")
    place = next(study.stages[-1].model.parameters()).device if device is None else usable(device)
    if method == REPLAY.name:  # no curvature, so no chain
        check_options(_replayed, method, options)
        return _replayed(study, study.stages[first].name, damping, curvature, place, batch_size, progress, **options)
    chosen = method_named(method)
    check_options(chosen.__init__, method, options)
    held = bytes_held(study, first, method)
    refuse_what_is_too_much(held, place)

    def solver(objective: Objective) -> Method:
        return chosen(objective, damping=damping, curvature=curvature, **options)

    def scored(halvings: int) -> tuple[np.ndarray, Chain]:
        with bars.step(f"Curvature ({method})"):
            chain = Chain(study, first, solver, device=place, batch_size=batch_size, halvings=halvings)
        return _values(chain, error, bars), chain

    with derivatives_named(study), Progress(visible=progress) as bars:
        bars.say(f"Holds {size(sum(held.values()))} of memory: {described(held)}")
        values, chain = with_smaller_batches(scored)
    report = report_of(chain, method) | {"seconds": time.perf_counter() - started}
    return Scores(values, chain.objectives[0].stage.name, report)


def _values(chain: Chain, error: float, bars: Progress) -> np.ndarray:
    """Scores (Q, m) of the chain's first stage."""
    with bars.step("Pulling queries back"):
        for pulled in chain.pull_back(chain.query_gradients()):
            objective, solved = pulled
    values = np.empty((len(chain.study.queries), objective.count), dtype=np.float32)
    with bars.step(f"Scoring {objective.stage.name}", total=objective.count) as bar:
        for positions, block in score(objective, solved, error=error):
            values[:, positions] = block.cpu().numpy()
            bar.advance(positions.stop - positions.start)
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
        "stages": found.stages,
        "not_covered": {name: list(names) for name, names in constant.items() if names},
        "notes": found.notes,
        "warnings": [],
        "peak_memory": peak_memory(),
        "seconds": time.perf_counter() - started,
    }
    return Scores(found.scores[stage].float().numpy(), stage, report)
