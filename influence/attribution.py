"""`attribute`: a study in, scores out."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch

from influence.chain import Chain
from influence.curvature import Method, method_named
from influence.derivatives import Objective
from influence.derivatives.objective import ran_out_of_memory
from influence.errors import LossError, MethodError
from influence.memory import bytes_held, described, refuse_what_is_too_much, size, with_smaller_batches
from influence.progress import Progress
from influence.replay import Replay, replay
from influence.run.ranking import top
from influence.scoring import score
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
    if method == Replay.name:  # no curvature, so no chain
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
        "method": Replay.name,
        "stages": found.stages,
        "not_covered": {name: list(names) for name, names in constant.items() if names},
        "notes": found.notes,
        "warnings": [],
        "peak_memory": peak_memory(),
        "seconds": time.perf_counter() - started,
    }
    return Scores(found.scores[stage].float().numpy(), stage, report)


@contextmanager
def derivatives_named(study: Study) -> Iterator[None]:
    """What torch cannot differentiate in a study's models, as a named error.

    Raises:
        LossError: in place of torch's own error.
    """
    try:
        with torch.inference_mode(False):  # a caller's: nothing made within it could be differentiated
            yield
    except RuntimeError as error:
        if ran_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else ""
        raise LossError(
            f"Study {study.name!r}: torch cannot differentiate one of its models or losses ({type(error).__name__}: "
            f"{reason}). Look for operations in place, and for layers or losses without second derivatives: solves "
            "need those of the loss, the Hessian those of the model."
        ) from error


def usable(device: torch.device | str) -> torch.device:
    """The device, if one can compute on it.

    Raises:
        MethodError: there is no such device here.
    """
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MethodError(
            f"Device {device!r} cannot be used here ({reason}). Leave `device` out, or use 'cpu'."
        ) from error


def report_of(chain: Chain, method: str) -> dict[str, Any]:
    """What was solved at each stage, what was not covered, and what a careful reader should know."""
    warnings = []
    for objective, solver in zip(chain.objectives, chain.solvers, strict=True):
        stage, groups = objective.stage, objective.groups
        loose = [r for r in solver.report.get("residuals", []) if r > 10 * solver.report["tolerance"]]
        if loose:
            warnings.append(
                f"{len(loose)} queries are not converged at stage {stage.name!r} (worst residual "
                f"{max(loose):.2g}); {solver.report.get('remedy', 'raise `iterations` or `damping`')}."
            )
        if objective is not chain.objectives[0] and groups.held and stage.proximity == 0:
            warnings.append(
                f"Stage {stage.name!r} trains {len(groups.held)} inherited parameters with proximity "
                "0: by the theory its minimum has forgotten "
                "where they started, so nothing flows back through them. Set `proximity`."
            )
        if objective is not chain.objectives[0]:
            warnings += moved(objective, chain.objectives[chain.objectives.index(objective) - 1])
        off = [n for n, p in stage.model.named_parameters() if not p.requires_grad and n in objective.trained.shapes]
        if off:
            warnings.append(
                f"Stage {stage.name!r}: {', '.join(off[:5])} have requires_grad=False but are not in "
                "`frozen`, so they count as trained."
            )
    norms = chain.gradient_norms()
    return {
        "method": method,
        "stages": [{**s.report, "gradient_norm": n} for s, n in zip(chain.solvers, norms, strict=True)],
        "not_covered": {o.stage.name: list(o.groups.constant) for o in chain.objectives if o.groups.constant},
        "without_rule": {o.stage.name: sorted(o.uncovered) for o in chain.objectives if o.uncovered},
        "compression": chain.objectives[0].compression,
        "notes": sorted(note for o in chain.objectives for note in o.notes),
        "warnings": warnings,
        "peak_memory": peak_memory(),
    }


def moved(here: Objective, before: Objective) -> list[str]:
    """A warning if frozen parameters do not have the values they were inherited with."""
    gaps = {}
    for name in here.groups.frozen:
        inherited = before.parameters[here.groups.inherited[name]]
        gap = float((here.parameters[name] - inherited).abs().max())
        if gap > 1e-5 * max(1.0, float(inherited.abs().max())):
            gaps[name] = gap
    if not gaps:
        return []
    named = ", ".join(list(gaps)[:3]) + (" ..." if len(gaps) > 3 else "")
    return [
        f"Stage {here.stage.name!r}: {named} in `frozen` differ from stage {before.stage.name!r} by up to "
        f"{max(gaps.values()):.2g}. Were they trained, or is this another model?"
    ]


def peak_memory() -> int:
    """Peak resident memory of this process, in bytes."""
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):
        return int(info.peak_wset)
    import resource  # absent on Windows, where psutil knows the peak itself

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_options(signature_of: Any, method: str, options: dict[str, Any]) -> None:
    known = [n for n, p in inspect.signature(signature_of).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise MethodError(f"Method {method!r} has no option {name!r}; it has {', '.join(known)}.")
