"""Targets: numbers made of all queries at once, to explain in place of each query's loss.

    from influence import attribute, targets
    attribute(study, targets=[targets.gap(women, men), targets.error(3)]).values    # (2, m)

A target costs one pull-back, as a query does. Its score is the predicted change of the target, if the example had been
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.errors import StudyError, listed
from influence.study.labels import label_of

PROBABILITY = "probability"
"""Unit of a target that is made of probabilities."""


class Answers:
    """What the finetuned model says to all queries.

    Attributes:
        losses: (Q,), the study's measure of every query, nats.
    """

    def __init__(self, queries: Any, losses: Tensor, outputs: Sequence[Any]):
        self.losses, self._queries, self._outputs = losses, queries, outputs

    @cached_property
    def outputs(self) -> Any:
        """What the model returns, its batches put together: tensors (Q, ...), in the form in which it returns them."""
        flat = [pytree.tree_flatten(each) for each in self._outputs]
        columns = zip(*(leaves for leaves, _ in flat), strict=True)
        joined = [torch.cat(list(c)) if isinstance(c[0], Tensor) and c[0].dim() else c[0] for c in columns]
        return pytree.tree_unflatten(joined, flat[0][1])

    @cached_property
    def probabilities(self) -> Tensor:
        """(Q, classes), the softmax of the only tensor of this form among the outputs.

        Raises:
            StudyError: there is none, or more than one.
        """
        logits = [v for v in pytree.tree_leaves(self.outputs) if isinstance(v, Tensor) and v.is_floating_point()]
        logits = [v for v in logits if v.dim() == 2 and len(v) == len(self.losses)]
        if len(logits) != 1:
            raise StudyError(
                f"The last stage returns {len(logits)} tensors of shape (queries, classes), expected one; so there are "
                "no probabilities of classes. Give the target as a function of the outputs."
            )
        if logits[0].shape[1] == 1:
            positive = logits[0].sigmoid()
            return torch.cat([1 - positive, positive], dim=1)
        return logits[0].softmax(1)

    @cached_property
    def labels(self) -> np.ndarray:
        """(Q,), the queries' labels."""
        found = [label_of(self._queries[row], f"Query {row}") for row in range(len(self.losses))]
        return np.asarray([v.item() if hasattr(v, "item") else v for v in found])

    def chosen(self, rows: Sequence[int]) -> Tensor:
        """Index of the queries at `rows`.

        Raises:
            StudyError: there is no such query.
        """
        absent = [row for row in rows if row >= len(self.losses)]
        if absent:
            raise StudyError(f"There is no query {listed(map(str, absent))}; they are 0 to {len(self.losses) - 1}.")
        return torch.tensor(list(rows), device=self.losses.device)

    def of_class(self, number: int) -> Tensor:
        """(Q,), the probability of a class.

        Raises:
            StudyError: there is no such class.
        """
        classes = self.probabilities.shape[1]
        if not 0 <= number < classes:
            raise StudyError(f"There is no class {number}; the last stage's classes are 0 to {classes - 1}.")
        return self.probabilities[:, number]


@dataclass(frozen=True)
class Target:
    """A number made of all queries.

    Attributes:
        name: in messages and reports.
        function: what the model says to all queries -> the number, differentiable in losses and outputs.
        unit: of the number, and of its scores; None is that of the study's measure, nats.
    """

    name: str
    function: Callable[[Answers], Tensor]
    unit: str | None = None


TargetLike = Target | Callable[[Any], Tensor]
"""A target, or a function of the outputs for all queries, (Q, ...), that gives a number."""


def mean(rows: Iterable[int]) -> Target:
    """The mean loss (the study's measure) of the queries at `rows`, nats.

    Raises:
        StudyError: no row, one twice, or one that is no position.
    """
    some = _rows(rows, "rows")
    return Target(f"mean of {len(some)} queries", lambda answers: answers.losses[answers.chosen(some)].mean())


def gap(rows_a: Iterable[int], rows_b: Iterable[int], of: int | None = None) -> Target:
    """How far two groups of queries are apart: the mean over the first less that over the second.

    Args:
        rows_a: queries of the first group.
        rows_b: queries of the second.
        of: a class, whose probability is averaged; None for the loss (the study's measure), in nats.

    Raises:
        StudyError: an empty group, a query twice in one, or one that is no position.
    """
    a, b = _rows(rows_a, "rows_a"), _rows(rows_b, "rows_b")

    def function(answers: Answers) -> Tensor:
        values = answers.losses if of is None else answers.of_class(of)
        return values[answers.chosen(a)].mean() - values[answers.chosen(b)].mean()

    what = "loss" if of is None else f"probability of class {of}"
    name = f"gap of {what} between {len(a)} and {len(b)} queries"
    return Target(name, function, None if of is None else PROBABILITY)


def error(number: int) -> Target:
    """The error of one class: the mean probability, over the queries with this label, that is not given to it.

    It is the error rate of predictions drawn by the probabilities; the rate of wrong largest outputs has no derivative.

    Raises:
        StudyError: `number` is no class number.
    """
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 0:
        raise StudyError(f"The class is {number!r}, expected a whole number from 0.")

    def function(answers: Answers) -> Tensor:
        probability = answers.of_class(int(number))
        rows = np.flatnonzero(answers.labels == number)
        if not len(rows):
            raise StudyError(f"No query has the label {number}, so there is no error of this class.")
        return 1 - probability[answers.chosen(rows.tolist())].mean()

    return Target(f"error of class {number}", function, PROBABILITY)


def _rows(rows: Iterable[int], what: str) -> tuple[int, ...]:
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise StudyError(f"{what} is {rows!r}, expected a list of positions of queries.")
    given = [row.item() if hasattr(row, "item") else row for row in rows]
    if not given:
        raise StudyError(f"{what} is empty, expected at least one query.")
    wrong = [row for row in given if isinstance(row, bool) or not isinstance(row, Integral) or row < 0]
    if wrong:
        raise StudyError(f"{what} holds {listed(map(repr, wrong))}, expected positions: whole numbers from 0.")
    if len(set(given)) < len(given):
        twice = sorted({row for row in given if given.count(row) > 1})
        raise StudyError(f"{what} names {listed(map(str, twice))} more than once.")
    return tuple(given)
