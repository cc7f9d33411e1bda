"""A study with edits made: every stage's data as edited, and the weights of its examples."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

from influence.errors import StudyError, listed
from influence.study.edits import Edit
from influence.study.labels import probabilities, with_probabilities
from influence.study.stage import Stage
from influence.study.study import Study


def by_stage(study: Study, edits: Edit | Iterable[Edit]) -> dict[int, list[Edit]]:
    """Position of a stage -> its edits, which are made together.

    Raises:
        StudyError: no edit; a stage or example that does not exist; an example edited twice; a stage that nothing would
            be left of; or examples that come in of another form than the stage's own.
    """
    found: dict[int, list[Edit]] = {}
    if not isinstance(edits, Edit | Iterable):
        raise StudyError(f"{edits!r} is no edit; make edits by the functions of `influence.edits`.")
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

    Where one gets probabilities of the classes as its label, so do all: a batch holds labels of one form.

    Attributes:
        weights: (len,), of every example, times len / m: their mean keeps the denominator m.
        lengths: as of the data before, if it has any: by these mini-batches are drawn, and an edit leaves them as they
            were.
    """

    def __init__(self, data: Any, edits: Sequence[Edit], collated: bool = False):
        self._data, self.lengths = data, getattr(data, "lengths", None)
        self._classes = 0
        self._entered: dict[int, tuple[Sequence[Any], int]] = {}
        weights = [1.0] * len(data)
        for edit in edits:
            entering = edit.entering(data, collated)
            for place, row in enumerate(edit.rows):
                if len(entering):
                    self._entered[row] = entering, place
                    if edit.labels:
                        self._classes = max(self._classes, probabilities(entering[place], data[row]))
                else:
                    weights[row] += edit.by
            if not edit.rows:
                self._entered |= {len(weights) + place: (entering, place) for place in range(len(entering))}
                weights += [1.0] * len(entering)
        self.weights = torch.tensor(weights, dtype=torch.float64) * (len(weights) / len(data))

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, row: int) -> Any:
        entering, place = self._entered.get(row, (self._data, row))
        example = entering[place]
        return with_probabilities(example, self._classes, f"Example {row}") if self._classes else example


def revised(study: Study, edits: Edit | Iterable[Edit]) -> tuple[Study, dict[str, Tensor]]:
    """The study with edited data, its models as they are; and stage -> weights of its examples, for edited stages.

    Raises:
        StudyError: as `by_stage`.
    """
    stages, weights = list(study.stages), dict[str, Tensor]()
    for position, several in by_stage(study, edits).items():
        data = Revision(stages[position].data, several, stages[position].collate is not None)
        stages[position] = dataclasses.replace(stages[position], data=data)
        weights[stages[position].name] = data.weights
    return Study(study.name, stages, study.queries, study.measure), weights


class Weighed(NamedTuple):
    """An example and its weight; or a batch of them, with the weights (B,)."""

    examples: Any
    weights: Any


class _WeighedData:
    """A data set, each example with its weight."""

    def __init__(self, data: Any, weights: Tensor):
        self._data, self._weights = data, weights

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: int) -> Weighed:
        return Weighed(self._data[row], float(self._weights[row]))


def weighted(stage: Stage, weights: Tensor) -> Stage:
    """The stage with the loss of every training example times its weight, (len(data),); queries have none."""
    together, forward = stage.collate or default_collate, stage.forward
    assert forward is not None

    def collate(given: list[Any]) -> Any:
        if not isinstance(given[0], Weighed):
            return together(given)
        return Weighed(together([each.examples for each in given]), torch.tensor([each.weights for each in given]))

    def outputs(model: Any, batch: Any) -> Any:
        return forward(model, batch.examples if isinstance(batch, Weighed) else batch)

    def loss(outputs: Any, batch: Any) -> Tensor:
        if not isinstance(batch, Weighed):
            return stage.loss(outputs, batch)
        losses = stage.loss(outputs, batch.examples)
        return losses * batch.weights.to(losses)

    return dataclasses.replace(
        stage, data=_WeighedData(stage.data, weights), collate=collate, forward=outputs, loss=loss
    )


def _check(stage: Stage, edits: Sequence[Edit]) -> None:
    count = len(stage.data)
    rows = [row for edit in edits for row in edit.rows]
    absent = sorted(row for row in set(rows) if row >= count)
    if absent:
        raise StudyError(
            f"Stage {stage.name!r} has no example {listed(map(str, absent))}; its examples are 0 to {count - 1}."
        )
    if len(set(rows)) < len(rows):
        twice = sorted(row for row, times in Counter(rows).items() if times > 1)
        raise StudyError(
            f"Stage {stage.name!r}: example {listed(map(str, twice))} is edited twice; make one edit of it."
        )
    entering = sum(len(edit.labels) or len(edit.examples) for edit in edits)
    if not entering and sum(by == -1 for by in weight_changes(edits).values()) == count:
        raise StudyError(f"The edits take all {count} examples of stage {stage.name!r} out; nothing would be left.")
    for edit in edits:
        if len(edit.examples):
            _refuse_other_form(stage, edit)


def _refuse_other_form(stage: Stage, edit: Edit) -> None:
    entering = edit.entering(stage.data, stage.collate is not None)
    try:
        for place in range(len(entering)):
            entering[place]
    except StudyError as error:
        raise StudyError(f"Stage {stage.name!r}: {error}") from error
