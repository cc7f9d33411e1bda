"""`edit_scores`: what many edits, each made alone, do to every query, to first order and in one pass."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from influence.attribution.chain import Chain
from influence.attribution.edits.change import Change, same_labels
from influence.attribution.explained import Explained
from influence.attribution.guards import derivatives_named, device_of, solver_of
from influence.attribution.products.dots import dots
from influence.attribution.report import report_of
from influence.derivatives import Objective
from influence.errors import StudyError
from influence.progress import Progress
from influence.study.edits import Edit
from influence.study.revision import by_stage
from influence.study.study import Study
from influence.study.targets import TargetLike


@dataclass(frozen=True, eq=False)
class EditScores:
    """Predicted change of every query's loss, in nats, for each of many edits made alone; positive = the loss rises."""

    values: np.ndarray
    """(Q, E), float32."""
    report: dict[str, Any]
    """As of `attribute`."""


def edit_scores(
    study: Study,
    edits: Sequence[Edit | Sequence[Edit]],
    *,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    targets: Sequence[TargetLike] | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    **options: Any,
) -> EditScores:
    """The first-order effect of each of many edits, by one pull-back and one pass over the examples they touch.

    For each edit phi(S) - phi(S~), as in `edit_effect`, whose `first` it is.

    Args:
        study: what was trained on what.
        edits: made by the functions of `influence.edits`. Each is made alone; a list among them is made together.
        method: see `attribute`.
        damping: see `attribute`.
        curvature: see `attribute`.
        targets: functions of all queries to explain in their place, see `influence.targets`.
        device: see `attribute`.
        progress: see `attribute`.
        batch_size: see `attribute`.
        options: of the method.

    Raises:
        StudyError: as `edit_effect`, of each edit alone.
        LossError, MethodError, CurvatureError: as for `attribute`.
    """
    started = time.perf_counter()
    alone = [[edit] if isinstance(edit, Edit) else list(edit) for edit in _listed(edits)]
    staged = numbered(study, alone)
    solver = solver_of(method, damping, curvature, options)
    first, place = min(staged), device_of(study, device)
    with derivatives_named(study), Progress(visible=progress) as bars:
        with bars.step(f"Curvature ({method})"):
            chain = Chain(study, first, solver, device=place, batch_size=batch_size)
            edited = {chain.objectives[position - first]: pairs for position, pairs in staged.items()}
            changes = {objective: changes_alone(objective, pairs) for objective, pairs in edited.items()}
            explained = Explained(chain, targets)
        with bars.step("Pulling queries back, and scoring the edits"):
            values = scores_alone(chain.pull_back(explained.gradients()), changes, len(alone))
    report = explained.told(report_of(chain, method))
    for objective, pairs in edited.items():
        report["notes"] += same_labels(objective, [edit for _, edit in pairs])
    report["seconds"] = time.perf_counter() - started
    return EditScores(values.float().cpu().numpy(), report)


def numbered(study: Study, alone: Sequence[Sequence[Edit]]) -> dict[int, list[tuple[int, Edit]]]:
    """Position of a stage -> (number among those that are made alone, edit).

    Raises:
        StudyError: as `by_stage`, of each alone.
    """
    found: dict[int, list[tuple[int, Edit]]] = {}
    for number, several in enumerate(alone):
        for position, some in by_stage(study, several).items():
            found.setdefault(position, []).extend((number, edit) for edit in some)
    return found


def changes_alone(objective: Objective, pairs: Sequence[tuple[int, Edit]]) -> tuple[Change, list[int]]:
    """What one stage's edits of `numbered` change, and their numbers."""
    return Change(objective, [edit for _, edit in pairs]), [number for number, _ in pairs]


def scores_alone(
    pulled: Iterable[tuple[Objective, Tensor]], changes: Mapping[Objective, tuple[Change, list[int]]], count: int
) -> Tensor:
    """(Q, count), float64, the first-order effect of each of many edits.

    Args:
        pulled: each stage with the queries pulled back and solved there, (Q, T).
        changes: of stages among these, see `changes_alone`.
        count: how many are made alone.
    """
    shares = [_shares(objective, v, *changes[objective], count) for objective, v in pulled if objective in changes]
    return torch.stack(shares).sum(0)


def _shares(objective: Objective, solved: Tensor, change: Change, columns: Sequence[int], count: int) -> Tensor:
    """A stage's share of the edits' effects (Q, count), of which its edits have the `columns`."""
    values = torch.zeros(len(solved), count, dtype=torch.float64, device=solved.device)
    places = torch.tensor(columns, device=values.device)
    for (examples, weights), stems in zip(change.parts, change.places, strict=True):
        for positions, block in dots(objective, examples, objective.trained, solved):
            shares = block.double() * weights[positions, None] / objective.count
            values.index_add_(1, places[stems[positions]], -shares.T)
    return values


def _listed(edits: Iterable[Any]) -> list[Any]:
    if isinstance(edits, Edit) or not isinstance(edits, Iterable):
        raise StudyError(f"edits is {edits!r}, expected a list of edits, each of which is made alone.")
    found = list(edits)
    if not found:
        raise StudyError("There is no edit, expected at least one.")
    return found
