"""The classes of a stage: how many there are, and where a batch holds its examples' labels."""

from __future__ import annotations

import copy
from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor

from influence.derivatives import Objective, plain_kernels
from influence.derivatives.second.outputs import OutputLoss
from influence.errors import StudyError
from influence.study.labels import KEYS, SUM_OF_ONE, label_of, with_label

FEW = 64
"""Examples whose labels are looked at."""
IGNORED = -100
"""Label of examples without a class, whose loss torch takes as 0."""


def classes_of(objective: Objective) -> int | None:
    """The number of classes of a stage; None where it has none.

    It has classes if its labels are whole numbers from 0, or probabilities of the classes, and its loss depends on one
    row of outputs an example, with one for each class; or on one output an example, with labels of 0 and 1.
    """
    labels = _labels(objective)
    if labels is None:
        return None
    _, batch = next(objective.batches(objective.stage.data))
    with torch.no_grad(), plain_kernels():
        outputs = objective.outputs(batch)
    shapes = [tuple(leaf.shape) for leaf in OutputLoss(objective, outputs, batch).leaves]
    if len(shapes) != 1 or len(shapes[0]) not in (1, 2):
        return None
    classes = 2 if len(shapes[0]) == 1 or shapes[0][1] == 1 else shapes[0][1]
    if labels.dim() > 1:
        return classes if labels.shape[1] == classes else None
    return classes if float(labels.max()) < classes else None


def require_classes(objective: Objective) -> int:
    """`classes_of`.

    Raises:
        StudyError: the stage has no classes.
    """
    classes = classes_of(objective)
    if classes is None:
        raise StudyError(
            f"Stage {objective.stage.name!r} has no classes: expected examples whose labels are whole numbers from 0 "
            "or probabilities (the last entry of a tuple, or 'labels' of a dict), and a loss of one row of outputs an "
            "example, one number for each class. For other changes see edits.replace."
        )
    return classes


def _labels(objective: Objective) -> Tensor | None:
    """Labels of some examples, as float64: (n,) whole numbers from 0, or (n, C) probabilities; None: others."""
    data, found = objective.stage.data, []
    for row in range(0, len(data), max(1, len(data) // FEW)):
        try:
            label = torch.as_tensor(label_of(data[row], f"Example {row}"))
        except (StudyError, TypeError, ValueError, RuntimeError):
            return None
        one = label.numel() == 1 and label.dim() <= 1
        if not (one and label == IGNORED):
            found.append((label.flatten()[0] if one else label).double().cpu())
    if len({label.shape for label in found}) != 1 or found[0].dim() > 1:
        return None
    labels = torch.stack(found)
    if bool((labels < 0).any()):
        return None
    whole = labels.dim() == 1 and torch.equal(labels, labels.round())
    return labels if whole or (labels.dim() == 2 and bool(((labels.sum(1) - 1).abs() < SUM_OF_ONE).all())) else None


class LabelledBatch:
    """A batch of a stage with any class in the place of its labels.

    Args:
        objective: the stage's.
        data: examples of the stage's form.
        positions: of the batch's examples in `data`.
        batch: collated, on the device.

    Attributes:
        soft: whether its labels are probabilities of the classes.
    """

    def __init__(self, objective: Objective, data: Any, positions: slice, batch: Any):
        self._objective, self._data, self._positions, self.batch = objective, data, positions, batch
        self._first = torch.as_tensor(label_of(data[positions.start], "An example"))
        self.soft = self._first.numel() > 1
        self._place = self._found()

    @property
    def count(self) -> int:
        return len(self._rows())

    def own(self, values: Tensor) -> Tensor:
        """Of values (Q, B, C), (Q, B, 1) at the own classes of labels not `soft`; 0 where there is none."""
        if self._place is not None:
            labels = self.batch[self._place].flatten().long()
        else:
            labels = torch.stack([torch.as_tensor(label).flatten()[0] for label in self._own()]).long()
        places = labels.to(values.device)[None, :, None].expand(len(values), -1, 1)
        return values.gather(2, places.clamp(min=0)).where(places != IGNORED, 0)

    def with_class(self, number: int) -> Any:
        """The batch in which every example is of this class."""
        if self._place is not None:
            other = self._of_class(self.batch[self._place], number)
            if isinstance(self.batch, MutableMapping):
                changed = copy.copy(self.batch)
                changed[self._place] = other
                return changed
            values = list(self.batch)
            values[self._place] = other
            return values if isinstance(self.batch, list) else tuple(values)
        relabelled = [
            with_label(self._data[row], self._of_class(torch.as_tensor(own), number), f"Example {row}")
            for row, own in zip(self._rows(), self._own(), strict=True)
        ]
        return next(self._objective.batches(relabelled))[1]

    def _of_class(self, labels: Tensor, number: int) -> Tensor:
        """Labels of this form, all of one class."""
        if not self.soft:
            return torch.full_like(labels, number)
        other = torch.zeros_like(labels)
        other[..., number] = 1
        return other

    def _rows(self) -> range:
        return range(self._positions.start, self._positions.stop)

    def _own(self) -> list[Any]:
        return [label_of(self._data[row], f"Example {row}") for row in self._rows()]

    def _found(self) -> Any:
        """Where the batch holds one label an example; None where it has them in another form."""
        batch = self.batch
        if isinstance(batch, MutableMapping):
            place: Any = next((key for key in KEYS if key in batch), None)
        else:
            place = len(batch) - 1 if type(batch) in (list, tuple) and len(batch) > 1 else None
        if place is None:
            return None
        value = batch[place]
        count, first = self.count, self._first
        if not isinstance(value, Tensor) or value.numel() != count * first.numel() or len(value) != count:
            return None
        return place if torch.equal(first.flatten().double().cpu(), value[0].flatten().double().cpu()) else None
