"""`vote_scores`: what each vote of the rules that made a stage's labels does to every query."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from influence.attribution.chain import Chain
from influence.attribution.edits.classes import require_classes
from influence.attribution.edits.relabel import label_effects
from influence.attribution.edits.votes import Votes
from influence.attribution.explained import Explained
from influence.attribution.guards import checked_first, derivatives_named, device_of, solver_of
from influence.attribution.memory import bytes_held, refuse_what_is_too_much
from influence.attribution.products.dots import dots
from influence.attribution.report import report_of
from influence.derivatives import Objective
from influence.errors import LossError, StudyError
from influence.progress import Progress
from influence.study.labels import label_of
from influence.study.study import Study
from influence.study.targets import TargetLike

EQUAL = 1e-5
"""How far a label may be from the average of its votes: a stage may hold it in single precision."""
LINEAR = 1e-3
"""How far the effects of an example's own label may be from adding up to 0, beside their sizes."""


@dataclass(frozen=True, eq=False)
class VoteScores:
    """What votes do to every query, in nats; summed over examples, what a rule does."""

    values: np.ndarray
    """(Q, m, rules), float32: predicted change of the query's loss if the vote were taken back, and the example's label
    were the average of the others (without any, the example left out); positive = the loss rises. 0 where a rule
    abstains."""
    shares: np.ndarray
    """(Q, m, rules), float32: the part of the example's score that is due to the vote; they add up to the score."""
    stage: str
    """Whose training examples."""
    report: dict[str, Any]
    """As of `attribute`."""


def vote_scores(
    study: Study,
    votes: Votes,
    stage: str | None = None,
    *,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    targets: Sequence[TargetLike] | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    **options: Any,
) -> VoteScores:
    """The first-order effect of every vote, for a stage whose labels are the averages of votes.

    A loss whose derivative is linear in the label's probabilities, as that of cross-entropy is, makes phi linear in
    them. Of Z votes on example z, with phi(z, c) that of z with label c,

        shares = phi(z, c) / Z,    values = phi(z) - phi(z without the vote) = (phi(z, c) - phi(z)) / (Z - 1)

    for a vote for class c; Zhang et al., "Understanding Programmatic Weak Supervision via Source-aware Influence
    Function", NeurIPS 2022, call these reweighting and weight-moving. `votes.take_back` makes the same as edits.

    Args:
        study: what was trained on what.
        votes: on the stage's examples, in their order.
        stage: whose labels they make; default the first (pretraining).
        method: see `attribute`.
        damping: see `attribute`.
        curvature: see `attribute`.
        targets: functions of all queries to explain in their place, see `influence.targets`.
        device: see `attribute`.
        progress: see `attribute`.
        batch_size: see `attribute`.
        options: of the method.

    Raises:
        StudyError: the stage does not exist, has other classes, or labels that are not the averages of the votes.
        LossError: its loss is not linear in the label's probabilities; or as for `attribute`.
        MethodError, CurvatureError: as for `attribute`.
    """
    started = time.perf_counter()
    first = study.position(stage)
    solver = checked_first(
        lambda objective: refuse_other_labels(objective, votes),
        study.stages[first],
        solver_of(method, damping, curvature, options),
    )
    place = device_of(study, device)
    with derivatives_named(study), Progress(visible=progress) as bars:
        with bars.step(f"Curvature ({method})"):
            chain = Chain(study, first, solver, device=place, batch_size=batch_size)
            objective, explained = chain.objectives[0], Explained(chain, targets)
            shape = (explained.count, *votes.table.shape)
            held = bytes_held(study, first, method)
            held["the scores"] = 8 * int(np.prod(shape))
            refuse_what_is_too_much(held, place)
        with bars.step("Pulling queries back"):
            _, solved = chain.pull_to_first(explained.gradients())
        with bars.step(f"Votes on {objective.stage.name}", total=objective.count) as bar:
            scores = torch.empty(explained.count, objective.count, dtype=torch.float64, device=place)
            for rows, block in dots(objective, objective.stage.data, objective.trained, solved):
                scores[:, rows] = block.T.double() / objective.count
            values, shares = np.empty(shape, np.float32), np.empty(shape, np.float32)
            for rows, effects in label_effects(objective, solved, votes.classes):
                refuse_not_linear(objective, effects, votes.labels[rows])
                back, parts = of_votes(effects.double(), scores[:, rows], votes.table[rows], votes.counts[rows])
                values[:, rows], shares[:, rows] = back.float().cpu().numpy(), parts.float().cpu().numpy()
                bar.advance(rows.stop - rows.start)
    report = explained.told(report_of(chain, method)) | {"seconds": time.perf_counter() - started}
    return VoteScores(values, shares, objective.stage.name, report)


def of_votes(
    effects: torch.Tensor, scores: torch.Tensor, table: np.ndarray, counts: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """(values, shares) of `VoteScores`, (Q, B, rules) each, of a batch of examples.

    Args:
        effects: phi(z) - phi(z, c) (Q, B, C).
        scores: phi(z) (Q, B).
        table: the votes on these (B, rules).
        counts: how many vote on each (B,).
    """
    votes = torch.from_numpy(table).to(effects.device)
    of = effects.gather(2, votes.clamp(min=0).expand(len(effects), -1, -1))
    number = torch.from_numpy(counts).to(effects)[:, None]
    own = scores[:, :, None]
    back = torch.where(number > 1, -of / (number - 1).clamp(min=1), own)
    return torch.where(votes >= 0, back, 0), torch.where(votes >= 0, (own - of) / number, 0)


def refuse_other_labels(objective: Objective, votes: Votes) -> None:
    """Raise StudyError unless a stage's labels are the averages of the votes."""
    stage, classes = objective.stage.name, require_classes(objective)
    if len(votes.table) != objective.count or classes != votes.classes:
        raise StudyError(
            f"There are votes on {len(votes.table)} examples for {votes.classes} classes; stage {stage!r} has "
            f"{objective.count} examples and {classes} classes."
        )
    for row, expected in enumerate(votes.labels):
        label = np.asarray(torch.as_tensor(label_of(objective.stage.data[row], f"Example {row}")).cpu(), np.float64)
        found = label if label.ndim else np.eye(classes)[int(label)]
        if not np.allclose(found, expected, rtol=0, atol=EQUAL):
            raise StudyError(
                f"Stage {stage!r}: example {row} has the label {label.tolist()!r}, and its votes have the average "
                f"{expected.tolist()}. Train on `votes.labels`."
            )


def refuse_not_linear(objective: Objective, effects: torch.Tensor, labels: np.ndarray) -> None:
    """Raise LossError where phi is not linear in the label: `effects` (Q, B, C), `labels` (B, C)."""
    mixed = effects * torch.from_numpy(labels).to(effects)
    if bool((mixed.sum(2).norm() > LINEAR * mixed.norm()) & (mixed.norm() > 0)):
        raise LossError(
            f"The loss of stage {objective.stage.name!r} is not linear in the probabilities of its labels, as "
            "cross-entropy is, so no vote has a share of it. Predict edits instead: edit_scores with votes.take_back."
        )
