"""The fingerprint of a study's models and data, by which processes know that they compute of the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Subset

from influence.derivatives.losses import checked_losses
from influence.derivatives.objective import Objective
from influence.engine.pieces import Fingerprint


def fingerprint_of(
    objectives: Sequence[Objective], queries: Any, starts: Mapping[str, Mapping[str, Tensor]] | None = None
) -> Fingerprint:
    """Of all stages: models, where their training began, and losses of the first, middle and last example.

    Args:
        objectives: of the stages.
        queries: the study's.
        starts: stage -> its parameters before training, by name; None: they do not matter.
    """
    digest, losses = hashlib.sha256(), list[float]()
    for objective in objectives:
        stage, parameters = objective.stage, objective.parameters
        digest.update(f"{stage.name} {objective.count} {len(queries)} {sorted(parameters)}".encode())
        begun = (starts or {}).get(stage.name, {})
        for values in (parameters, begun):
            for name in sorted(values):
                digest.update(values[name].detach().contiguous().view(-1).cpu().double().numpy().tobytes())
        ends = Subset(stage.data, sorted({0, objective.count // 2, objective.count - 1}))
        losses += checked_losses(objective, ends).double().tolist()
    return Fingerprint(digest.hexdigest(), tuple(losses))
