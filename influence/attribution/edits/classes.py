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
from influence.study.labels import KEYS, label_of, with_label

FEW = 64
"""Examples whose labels are looked at."""


def classes_of(objective: Objective) -> int | None:
    """The number of classes of a stage; None where it has none.

    It has classes if its labels are whole numbers from 0, and its loss depends on one row of outputs an example, with
    one for each class; or on one output an example, with labels of 0 and 1.
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
            "(the last entry of a tuple, or 'labels' of a dict), and a loss of one row of outputs an example, one "
            "number for each class. For other changes see edits.replace."
        )
    return classes


def _labels(objective: Objective) -> Tensor | None:
    """Labels (n,) of some examples, as float64; None where they are not all whole numbers from 0."""
    data, found = objective.stage.data, []
    for row in range(0, len(data), max(1, len(data) // FEW)):
        try:
            label = torch.as_tensor(label_of(data[row], f"Example {row}"))
        except (StudyError, TypeError, ValueError, RuntimeError):
            return None
        if label.numel() != 1 or label.dim() > 1:
            return None
        found.append(float(label))
    labels = torch.tensor(found, dtype=torch.float64)
    return labels if bool((labels >= 0).all()) and torch.equal(labels, labels.round()) else None


class LabelledBatch:
    """A batch of a stage with any class in the place of its labels.

    Args:
        objective: the stage's.
        data: examples of the stage's form.
        positions: of the batch's examples in `data`.
        batch: collated, on the device.
    """

    def __init__(self, objective: Objective, data: Any, positions: slice, batch: Any):
        self._objective, self._data, self._positions, self.batch = objective, data, positions, batch
        self._place = self._found()

    @property
    def labels(self) -> Tensor:
        """(B,), the examples' own classes."""
        if self._place is not None:
            labels: Tensor = self.batch[self._place]
            return labels.flatten().long()
        return (
            torch.stack([torch.as_tensor(label).flatten()[0] for label in self._own()])
            .long()
            .to(self._objective.device)
        )

    def with_class(self, number: int) -> Any:
        """The batch in which every example is of this class."""
        if self._place is not None:
            other = torch.full_like(self.batch[self._place], number)
            if isinstance(self.batch, MutableMapping):
                changed = copy.copy(self.batch)
                changed[self._place] = other
                return changed
            values = list(self.batch)
            values[self._place] = other
            return values if isinstance(self.batch, list) else tuple(values)
        relabelled = [
            with_label(self._data[row], torch.full_like(torch.as_tensor(own), number), f"Example {row}")
            for row, own in zip(self._rows(), self._own(), strict=True)
        ]
        return next(self._objective.batches(relabelled))[1]

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
        count = self._positions.stop - self._positions.start
        if not isinstance(value, Tensor) or value.numel() != count or len(value) != count:
            return None
        first = torch.as_tensor(label_of(self._data[self._positions.start], "An example"))
        return place if float(first) == float(value.flatten()[0]) else None
