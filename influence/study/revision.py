"""A study with edits made: every stage's data as edited, and the weights of its examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.errors import StudyError, listed
from influence.study.edits import Edit
from influence.study.stage import Stage
from influence.study.study import Study


def by_stage(study: Study, edits: Edit | Iterable[Edit]) -> dict[int, list[Edit]]:
    """Position of a stage -> its edits, which are made together.

    Raises:
        StudyError: no edit; a stage or example that does not exist; an example edited twice; a stage that nothing would
            be left of; or examples that come in of another form than the stage's own.
    """
    found: dict[int, list[Edit]] = {}
    for edit in [edits] if isinstance(edits, Edit) else list(edits):
        if not isinstance(edit, Edit):
            raise StudyError(f"{edit!r} is no edit; make edits by the functions of `influence.edits`.")
        found.setdefault(study.position(edit.stage), []).append(edit)
    if not found:
        raise StudyError("There is no edit, expected at least one.")
    for position, several in found.items():
        _check(study.stages[position], several)
    return found


def weight_changes(edits: Sequence[Edit]) -> dict[int, float]:
    """Row -> change of its weight, of one stage's edits."""
    return {row: edit.by for edit in edits for row in edit.rows}


class Revision:
    """A stage's data as edited: relabelled and replaced examples in their places, added ones at the end.

    Attributes:
        weights: (len,), of every example, times len / m: their mean keeps the denominator m.
        lengths: as of the data before, if it has any: by these mini-batches are drawn, and an edit leaves them as they
            were.
    """

    def __init__(self, data: Any, edits: Sequence[Edit]):
        self._data, self.lengths = data, getattr(data, "lengths", None)
        self._entered: dict[int, tuple[Sequence[Any], int]] = {}
        weights = [1.0] * len(data)
        for edit in edits:
            entering = edit.entering(data)
            for place, row in enumerate(edit.rows):
                if len(entering):
                    self._entered[row] = entering, place
                else:
                    weights[row] += edit.by
            if not edit.rows:
                self._entered |= {len(weights) + place: (entering, place) for place in range(len(entering))}
                weights += [1.0] * len(entering)
        self.weights = torch.tensor(weights, dtype=torch.float64) * (len(weights) / len(data))

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, row: int) -> Any:
        if row in self._entered:
            entering, place = self._entered[row]
            return entering[place]
        return self._data[row]


def revised(study: Study, edits: Edit | Iterable[Edit]) -> tuple[Study, dict[str, Tensor]]:
    """The study with edited data, its models as they are; and stage -> weights of its examples, for edited stages.

    Raises:
        StudyError: as `by_stage`.
    """
    stages, weights = list(study.stages), dict[str, Tensor]()
    for position, several in by_stage(study, edits).items():
        data = Revision(stages[position].data, several)
        stages[position] = dataclasses.replace(stages[position], data=data)
        weights[stages[position].name] = data.weights
    return Study(study.name, stages, study.queries, study.measure), weights


def _check(stage: Stage, edits: Sequence[Edit]) -> None:
    count = len(stage.data)
    rows = [row for edit in edits for row in edit.rows]
    absent = sorted(row for row in set(rows) if row >= count)
    if absent:
        raise StudyError(
            f"Stage {stage.name!r} has no example {listed(map(str, absent))}; its examples are 0 to {count - 1}."
        )
    if len(set(rows)) < len(rows):
        twice = sorted({row for row in rows if rows.count(row) > 1})
        raise StudyError(
            f"Stage {stage.name!r}: example {listed(map(str, twice))} is edited twice; make one edit of it."
        )
    entering = sum(len(edit.labels) or len(edit.examples) for edit in edits)
    if not entering and sum(by == -1 for by in weight_changes(edits).values()) == count:
        raise StudyError(f"The edits take all {count} examples of stage {stage.name!r} out; nothing would be left.")
    for edit in edits:
        for place, example in enumerate(edit.examples):
            _refuse_other_form(stage, example, f"Stage {stage.name!r}: example {place} of edits.{edit.name}")


def _refuse_other_form(stage: Stage, example: Any, what: str) -> None:
    """Raise StudyError where an example could not stand among the stage's own.

    A `collate` of the user's may take tensors of several shapes (texts of any length); torch's own stacks them.
    """
    own = stage.data[0]
    leaves, spec = pytree.tree_flatten(example)
    own_leaves, own_spec = pytree.tree_flatten(own)
    if spec != own_spec:
        raise StudyError(
            f"{what} is a {_form(example)}, where the stage's own examples are a {_form(own)}. Give it as the stage's "
            "data set gives its examples, not collated."
        )
    for leaf, own_leaf in zip(leaves, own_leaves, strict=True):
        if isinstance(leaf, Tensor) != isinstance(own_leaf, Tensor):
            raise StudyError(f"{what} holds a {_form(leaf)} where the stage's own have a {_form(own_leaf)}.")
        if not isinstance(leaf, Tensor):
            continue
        same = leaf.shape == own_leaf.shape or stage.collate is not None
        if not same or leaf.dtype != own_leaf.dtype:
            raise StudyError(f"{what} holds a {_form(leaf)} where the stage's own have a {_form(own_leaf)}.")
        if leaf.is_floating_point() and not leaf.isfinite().all():
            raise StudyError(f"{what} holds numbers that are not finite.")


def _form(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)} and {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, dict):
        return f"dict with the keys {', '.join(map(repr, value))}"
    return type(value).__name__
