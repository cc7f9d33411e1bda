"""What the edits of one stage do to the sum of its losses: examples, and the change of the weight of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import Subset

from influence.attribution.edits.classes import classes_of
from influence.derivatives import Objective
from influence.derivatives.first.gradients import summed_gradient
from influence.derivatives.losses import checked_losses
from influence.errors import StudyError
from influence.study.edits import Edit
from influence.study.labels import label_of


class Change:
    """The edits of a stage as examples with weights: -1 for one taken out, +1 for one that comes in.

    Args:
        objective: the stage's.
        edits: its edits, checked by `study.revision.by_stage`.

    Attributes:
        parts: (examples, change of the weight of each (n,)); within a part all examples are of one form.
        places: for each part the index in `edits` that its examples stem from, (n,).

    Raises:
        StudyError: a label that the stage does not have.
        LossError: the stage's loss fails on an example that comes in, or is not finite there.
    """

    def __init__(self, objective: Objective, edits: Sequence[Edit]):
        data = objective.stage.data
        self.parts: list[tuple[Any, Tensor]] = []
        self.places: list[Tensor] = []
        self._refuse_unknown_labels(objective, edits)
        rows = [(row, edit.by, place) for place, edit in enumerate(edits) for row in edit.rows]
        if rows:
            self._add(objective, Subset(data, [row for row, _, _ in rows]), [by for _, by, _ in rows], rows)
        forms: dict[Any, list[tuple[Any, float, int]]] = {}
        for place, edit in enumerate(edits):
            for example in edit.entering(data):
                forms.setdefault(_form(example), []).append((example, 1.0, place))
        for some in forms.values():
            entering = [example for example, _, _ in some]
            checked_losses(objective, entering)
            self._add(objective, entering, [1.0] * len(some), some)

    def _add(
        self, objective: Objective, examples: Any, weights: list[float], some: Sequence[tuple[Any, Any, int]]
    ) -> None:
        self.parts.append((examples, torch.tensor(weights, dtype=torch.float64, device=objective.device)))
        self.places.append(torch.tensor([place for _, _, place in some], device=objective.device))

    def _refuse_unknown_labels(self, objective: Objective, edits: Sequence[Edit]) -> None:
        relabelled = [edit for edit in edits if edit.labels]
        classes = classes_of(objective) if relabelled else None
        for edit in relabelled:
            for row, label in zip(edit.rows, edit.labels, strict=True):
                given = torch.as_tensor(label) if not isinstance(label, str | bytes) else None
                if classes is None or given is None or given.dim():
                    continue
                if not 0 <= float(given) < classes or float(given) != int(given):
                    raise StudyError(
                        f"Stage {objective.stage.name!r} has no class {label!r}, which example {row} was to have; its "
                        f"classes are 0 to {classes - 1}."
                    )

    def gradient(self, objective: Objective) -> Tensor:
        """Gradient (T,) by which the edits change that of the stage's mean loss, at the objective's parameters."""
        sums = [summed_gradient(objective, examples, weights) for examples, weights in self.parts]
        return torch.stack(sums).double().sum(0) / objective.count


def same_labels(objective: Objective, edits: Sequence[Edit]) -> list[str]:
    """A note for each relabelled example that has its new label already."""
    found = []
    for edit in edits:
        for row, label in zip(edit.rows, edit.labels, strict=False):
            own = label_of(objective.stage.data[row], f"Example {row}")
            if own == label if isinstance(own, str | bytes) else np.array_equal(np.asarray(own), np.asarray(label)):
                found.append(f"{objective.stage.name}: example {row} has the label {label!r} already, so no effect")
    return found


def _form(example: Any) -> Any:
    """What must be equal for examples to be put into one batch; lengths may differ, as `collate` may pad."""
    leaves, spec = pytree.tree_flatten(example)
    kinds = tuple((v.dtype, v.dim()) if isinstance(v, Tensor) else type(v) for v in leaves)
    return str(spec), kinds
