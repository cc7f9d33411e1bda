"""`best_together`: the set of examples whose weights, changed together, lower a target most."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset

from influence.attribution.guards import device_of
from influence.attribution.scores import attribute
from influence.errors import StudyError
from influence.progress import Progress
from influence.study.edits import upweight
from influence.study.positions import plain
from influence.study.stage import Stage
from influence.study.study import Study
from influence.study.targets import TargetLike
from influence.training.retraining import Retrainer


@dataclass(frozen=True, eq=False)
class BestTogether:
    """A set of examples, and what it really does."""

    rows: np.ndarray
    """(count,), positions in the stage's data, in the order in which they were chosen."""
    measured: np.ndarray
    """(Q,), change of every query's loss by training again with these weights, nats; positive = the loss rose."""
    report: dict[str, Any]
    """As of `attribute`, of the last round."""


def best_together(
    study: Study,
    target: TargetLike,
    count: int,
    *,
    by: int = -1,
    stage: str | None = None,
    rounds: int = 5,
    retrainer: Retrainer | None = None,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    **options: Any,
) -> BestTogether:
    """The examples of a stage that lower a target most if the weight of each becomes 1 + `by`.

    With by=-1 they are left out: what to take away. With by=1 they count twice: a support set, what to have more of
    (Han, Tsvetkov, "ORCA: Interpreting Prompted Language Models via Locating Supporting Data Evidence in the Ocean of
    Pretraining Data", 2022).

    What examples do together is not the sum of what each does alone (Basu, You, Feizi, "On Second-Order Group Influence
    Functions for Black-Box Predictions", ICML 2020): once one of several near-duplicates is out, the others matter
    otherwise. So the set grows in rounds. After each, all stages are really trained again with the set so far, and the
    rest is ranked anew there. A set that is chosen by queries flatters itself on them: judge it by `measured` of
    others.

    Args:
        study: what was trained on what, at minima of its objectives.
        target: what is to fall: of `influence.targets`, or a function of the outputs for all queries.
        count: how many examples.
        by: change of the weight of each: -1, or a whole number from 1.
        stage: whose examples; default the first (pretraining).
        rounds: in which the set grows; 1 takes the first of the list. Each costs an `attribute` of one target and a
            training.
        retrainer: trains the study again; default to the minima of its objectives.
        method: see `attribute`.
        damping: see `attribute`.
        curvature: see `attribute`.
        device: see `attribute`.
        progress: see `attribute`.
        batch_size: see `attribute`.
        options: see `attribute`.

    Raises:
        StudyError: no such stage; `count` or `rounds` is no whole number from 1, or too large; `by` is another.
        LossError, MethodError, CurvatureError, TrainingError: as for `attribute` and `Retrainer`.
    """
    position = study.position(stage)
    total = len(study.stages[position].data)
    _check(count, rounds, by, total, study.stages[position].name)
    retrainer = retrainer or Retrainer(study, device=device_of(study, device))
    solving: dict[str, Any] = {"method": method, "curvature": curvature, "device": device, "batch_size": batch_size}
    chosen, now, scale = list[int](), study, 1.0
    with Progress(visible=progress) as bars, bars.step("Choosing", total=rounds) as bar:
        base = retrainer.retrain()
        for number in range(1, rounds + 1):
            found = attribute(
                now, stage=stage, targets=[target], progress=False,
                damping=None if damping is None else damping * scale, **solving, **options,
            )  # fmt: skip
            effects = np.full(total, np.inf)
            effects[_rows(total, chosen, by)] = -by * found.values[0]
            effects[chosen] = np.inf
            more = math.ceil(count * number / rounds) - len(chosen)
            chosen += np.argsort(effects, kind="stable")[:more].tolist()
            again = retrainer.retrain(edits=upweight(stage, chosen, by))
            moved = retrainer.study_at(again.parameters)
            edited = _edited(moved.stages[position], _rows(total, chosen, by))
            scale = total / len(edited.data)
            stages = [*moved.stages[:position], edited, *moved.stages[position + 1 :]]
            now = Study(study.name, stages, study.queries, study.measure)
            bar.advance()
    return BestTogether(np.array(chosen), again.losses - base.losses, found.report)


def _check(count: Any, rounds: Any, by: Any, total: int, stage: str) -> None:
    for name, value, most in (("count", count, total - 1), ("rounds", rounds, count)):
        whole = isinstance(plain(value), Integral) and not isinstance(value, bool)
        if not whole or not 1 <= value <= most:
            raise StudyError(
                f"{name} is {value!r}, expected a whole number from 1 to {most}"
                + (f": stage {stage!r} has {total} examples." if name == "count" else ", the number of examples.")
            )
    if isinstance(by, bool) or plain(by) not in (-1, *range(1, 1000)):
        raise StudyError(f"by is {by!r}, expected -1, which leaves examples out, or a whole number from 1 to add.")


def _rows(total: int, chosen: list[int], by: int) -> list[int]:
    """The rows of the edited data: without those chosen, or with them `by` times more at the end.

    As an index of the scores by row, what comes last counts, and copies have equal scores.
    """
    if by == -1:
        out = set(chosen)
        return [row for row in range(total) if row not in out]
    return [*range(total), *chosen * by]


def _edited(stage: Stage, rows: list[int]) -> Stage:
    """The stage with other data and the same minimum as with weights in a mean that keeps its denominator.

    Its terms shrink with the mean's denominator, and so does its curvature: scores stay the same.
    """
    scale = len(stage.data) / len(rows)
    groups = stage.l2 if isinstance(stage.l2, Mapping) else {"*": stage.l2}
    l2 = {pattern: value * scale for pattern, value in groups.items()}
    return dataclasses.replace(stage, data=Subset(stage.data, rows), l2=l2, proximity=stage.proximity * scale)
