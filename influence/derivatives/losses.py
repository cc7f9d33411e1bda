"""Checks of a stage's losses before influence is computed: finite, deterministic, the same in every batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from influence.derivatives.objective import Objective, equal_to_rounding, plain_kernels, ran_out_of_memory
from influence.derivatives.origin import MISTAKES, origin_of
from influence.errors import LossError, StudyError
from influence.study.stage import Loss


def value(objective: Objective, before: Mapping[str, Tensor]) -> float:
    """The whole objective, nats: mean loss + 1/2 sum_i l2_i theta_i^2 + alpha |P - where P was inherited from|^2.

    Args:
        objective: at the parameters in question.
        before: the previous stage's parameters by name; empty for the first stage.

    Raises:
        LossError: as `checked_losses`.
    """
    point, moved = objective.trained.flatten(objective.parameters), objective.displacement(before)
    total = float(checked_losses(objective, objective.stage.data).double().mean())
    total += float((objective.l2 * point.square()).sum()) / 2
    for name in objective.groups.held:
        total += objective.stage.proximity * float(moved[objective.trained.slices[name]].square().sum())
    return total


def checked_losses(objective: Objective, data: Any, loss: Loss | None = None) -> Tensor:
    """Losses of all examples (n,) on the CPU.

    Raises:
        LossError: the model or the loss fails on the data, does not give one value per example, gives a value that
            is not finite, or gives two different values for the same batch.
    """
    found: list[Tensor] = []
    try:
        with torch.no_grad(), plain_kernels():
            for positions, batch in objective.batches(data):
                count = positions.stop - positions.start
                values = objective.losses(batch, count, loss=loss)
                _refuse_not_finite(objective.stage.name, values, positions.start)
                if not positions.start and not _same(objective, values, objective.losses(batch, count, loss=loss)):
                    raise LossError(
                        f"Stage {objective.stage.name!r}: the same batch gave two different losses. Something in the "
                        "model is random in evaluation mode too; influence needs a fixed function."
                    )
                found.append(values.cpu())
    except MISTAKES as error:
        if ran_out_of_memory(error):
            raise
        whose, first = "the queries" if loss else "its training examples", sum(map(len, found))
        last, origin = min(first + objective.batch_size, len(data)) - 1, origin_of(error)
        raise LossError(
            f"Stage {objective.stage.name!r}: its model or loss failed on {whose}: {type(error).__name__}: {error}. "
            f"Its {origin.part if origin else 'model or loss'} raised this at positions {first} to {last}. Try "
            "forward, loss and collate on one batch by hand."
        ) from error
    return torch.cat(found)


def refuse_changing(objective: Objective, losses: Tensor) -> None:
    """Compute the losses of some examples again, in other batches, and compare with `losses` (n,).

    They are the first and last eight, by threes, and sixteen drawn from all, in pairs: labels that are left out, say,
    are few, and hardly any at the ends, but their batches divide by another number.

    Raises:
        StudyError: the data change from one reading to the next.
        LossError: an example's loss depends on which others are in its batch.
    """
    ends = sorted({*range(min(8, objective.count)), *range(max(0, objective.count - 8), objective.count)})
    drawn = torch.randperm(objective.count, generator=torch.Generator().manual_seed(0))[:16].tolist()
    for part, size in ((ends[::2], 3), (ends[1::2], 3), (drawn, 2)):
        other = copy.copy(objective)
        if objective.batch_size > 1:  # whoever asks for batches of one may have a reason
            other.batch_size = size if objective.batch_size != size else 5 - size
            # Models that squeeze a batch of one away are no fault.
            part = part[: len(part) - (len(part) % other.batch_size == 1)]
        some = Subset(objective.stage.data, part)
        again = checked_losses(other, some) if part else losses[part]
        close = equal_to_rounding(again, losses[part], float(losses.abs().max()), objective.epsilon)
        if close.all():
            continue
        place = int((~close).nonzero()[0])
        example, then, now = part[place], float(losses[part[place]]), float(again[place])
        if _same(objective, again, checked_losses(other, some)):
            raise LossError(
                f"Stage {objective.stage.name!r}: example {example} has the loss {then:.6g} among some examples and "
                f"{now:.6g} among others. A loss must not depend on the rest of its batch: give batch "
                "normalisation running statistics, mask what `collate` pads, and compare outputs with labels of the "
                "same shape (torch broadcasts (B, 1) and (B,) to (B, B))."
            )
        raise StudyError(
            f"Stage {objective.stage.name!r}: example {example} had the loss {then:.6g}, and read again {now:.6g}. Its "
            "data change from one reading to the next: switch random augmentation and shuffling off."
        )


def _same(objective: Objective, one: Tensor, other: Tensor) -> bool:
    return bool(equal_to_rounding(one, other, epsilon=objective.epsilon).all())


def _refuse_not_finite(stage: str, values: Tensor, start: int) -> None:
    bad = (~values.isfinite()).nonzero().flatten()
    if len(bad):
        raise LossError(
            f"Stage {stage!r}: the loss of example {start + int(bad[0])} is {values[bad[0]].item()}, "
            "expected a finite number. Check this example and the trained parameters."
        )
