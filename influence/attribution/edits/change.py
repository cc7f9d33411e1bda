"""What the edits of one stage do to the sum of its losses: examples, and the change of the weight of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from influence.attribution.edits.classes import classes_of
from influence.derivatives import Objective
from influence.derivatives.first.gradients import summed_gradient
from influence.derivatives.losses import checked_losses
from influence.errors import StudyError
from influence.study.edits import Edit
from influence.study.labels import label_of
from influence.study.positions import plain


class Change:
    """The edits of a stage as examples with weights: -1 for one taken out, +1 for one that comes in.

    Args:
        objective: the stage's.
        edits: its edits, checked by `study.revision.by_stage`.

    Attributes:
        parts: (examples, change of the weight of each (n,)); labels of a part are all numbers, or all probabilities.
        places: for each part the index in `edits` that its examples stem from, (n,).

    Raises:
        StudyError: a label that the stage does not have.
        LossError: the stage's loss fails on an example that comes in, or is not finite there.
    """

    def __init__(self, objective: Objective, edits: Sequence[Edit]):
        data = objective.stage.data
        self.parts: list[tuple[Any, Tensor]] = []
        self.places: list[Tensor] = []
        rows = [(row, edit.by, place) for place, edit in enumerate(edits) for row in edit.rows]
        if rows:
            self._add(objective, Subset(data, [row for row, _, _ in rows]), [by for _, by, _ in rows], rows)
        classes = classes_of(objective) if any(edit.labels for edit in edits) else None
        forms: dict[tuple[int, ...], list[tuple[Any, float, int]]] = {}
        for place, edit in enumerate(edits):
            entering = list(edit.entering(data, objective.stage.collate is not None))
            if edit.labels and classes is not None:
                _refuse_unknown_labels(objective, classes, edit, entering)
            for example in entering:
                form = np.shape(label_of(example, "An example")) if edit.labels else ()
                forms.setdefault(form, []).append((example, 1.0, place))
        for some in forms.values():
            entering = [example for example, _, _ in some]
            checked_losses(objective, entering)
            self._add(objective, entering, [1.0] * len(some), some)

    def _add(
        self, objective: Objective, examples: Any, weights: list[float], some: Sequence[tuple[Any, Any, int]]
    ) -> None:
        self.parts.append((examples, torch.tensor(weights, dtype=torch.float64, device=objective.device)))
        self.places.append(torch.tensor([place for _, _, place in some], device=objective.device))

    def gradient(self, objective: Objective) -> Tensor:
        """Gradient (T,) by which the edits change that of the stage's mean loss, at the objective's parameters."""
        sums = [summed_gradient(objective, examples, weights) for examples, weights in self.parts]
        return torch.stack(sums).double().sum(0) / objective.count


def _refuse_unknown_labels(objective: Objective, classes: int, edit: Edit, entering: Sequence[Any]) -> None:
    stage = objective.stage.name
    for row, example in zip(edit.rows, entering, strict=True):
        label = torch.as_tensor(label_of(example, f"Example {row}"))
        if label.numel() > 1 and len(label) != classes:
            raise StudyError(
                f"Stage {stage!r} has {classes} classes, and example {row} was to have {len(label)} probabilities; "
                "expected one a class."
            )
        if label.numel() == 1 and not 0 <= float(label) < classes:
            raise StudyError(
                f"Stage {stage!r} has no class {plain(label)!r}, which example {row} was to have; its classes are 0 to "
                f"{classes - 1}."
            )


def same_labels(objective: Objective, edits: Sequence[Edit]) -> list[str]:
    """A note for each relabelled example that has its new label already."""
    found = []
    for edit in edits:
        for row, label in zip(edit.rows, edit.labels, strict=False):
            own = plain(label_of(objective.stage.data[row], f"Example {row}"))
            if np.array_equal(np.asarray(own), np.asarray(plain(label))):
                said = f"example {row} has the label {plain(label)!r} already, so no effect"
                found.append(f"{objective.stage.name}: {said}")
    return found
