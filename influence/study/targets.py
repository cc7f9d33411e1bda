"""Targets: numbers made of all queries at once, to explain in place of each query's loss.

    from influence import attribute, targets
    attribute(study, targets=[targets.gap(women, men), targets.error(3)]).values    # (2, m)

A target costs one pull-back, as a query does. Its score is the predicted change of the target, if the example had been
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from influence.study.positions import plain, positions

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
        """(Q, classes), of the outputs called `logits`, or of the only ones of this form: their softmax.

        Outputs that are probabilities already are taken as they are. One output a query is the logit of class 1.

        Raises:
            StudyError: there are none, or several; or one output a query, whose labels are not 0 and 1.
        """
        logits = self._logits
        if logits.dim() == 2 and logits.shape[1] > 1:
            return logits if _are_probabilities(logits) else logits.softmax(1)
        if not np.isin(self.labels, (0, 1)).all():
            raise StudyError(
                "The last stage returns one number a query, and the queries' labels are not all 0 or 1; so there are "
                "no probabilities of classes. Give the target as a function of the outputs."
            )
        positive = logits.reshape(-1, 1).sigmoid()
        return torch.cat([1 - positive, positive], dim=1)

    @property
    def _logits(self) -> Tensor:
        named = self.outputs.get("logits") if isinstance(self.outputs, Mapping) else None
        every = pytree.tree_leaves(self.outputs) if named is None else [named]
        real = [v for v in every if isinstance(v, Tensor) and v.is_floating_point() and len(self.losses) in v.shape[:1]]
        found = [v for v in real if v.dim() == 2] or [v for v in real if v.dim() == 1]
        if len(found) != 1:
            raise StudyError(
                f"The last stage returns {len(found)} tensors of shape (queries, classes), expected one; so there are "
                "no probabilities of classes. Give the target as a function of the outputs."
            )
        return found[0]

    @cached_property
    def labels(self) -> np.ndarray:
        """(Q,), the queries' labels."""
        found = [label_of(self._queries[row], f"Query {row}") for row in range(len(self.losses))]
        values = [np.asarray(plain(label)) for label in found]
        if any(value.size != 1 for value in values):
            raise StudyError("The queries' labels are several numbers each, so they are of no class.")
        return np.stack([value.reshape(()) for value in values])

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

    def losses_of_class(self, number: int) -> Tensor:
        """(Q,), -log of the probability of a class, nats: every query's loss if this class were its label.

        Raises:
            StudyError: there is no such class.
        """
        probability, logits = self.of_class(number), self._logits
        if logits.dim() < 2 or logits.shape[1] < 2 or _are_probabilities(logits):
            return -probability.log()
        return -logits.log_softmax(1)[:, number]  # finite where the probability rounds to 0


def _are_probabilities(outputs: Tensor) -> bool:
    some = outputs.detach()
    return bool((some >= 0).all()) and torch.allclose(some.sum(1), some.new_ones(len(some)), atol=1e-5)


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
    some = positions(rows, "rows")
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
    a, b = _two_groups(rows_a, rows_b, of)

    def function(answers: Answers) -> Tensor:
        values = answers.losses if of is None else answers.of_class(of)
        return values[answers.chosen(a)].mean() - values[answers.chosen(b)].mean()

    what = "loss" if of is None else f"probability of class {of}"
    name = f"gap of {what} between {len(a)} and {len(b)} queries"
    return Target(name, function, None if of is None else PROBABILITY)


def wasserstein(rows_a: Iterable[int], rows_b: Iterable[int], of: int | None = None) -> Target:
    """The Wasserstein distance of two groups of queries: how far apart they lie, not by their means alone.

    It is the area between the two groups' distribution functions, 0 where these are the same (Dong et al.,
    "Interpreting Unfairness in Graph Neural Networks via Training Node Attribution", AAAI 2023, measure by it how
    unfair a model is to a group).

    Args:
        rows_a: queries of the first group.
        rows_b: queries of the second.
        of: a class, whose probability is compared; None for the loss (the study's measure), in nats.

    Raises:
        StudyError: as `gap`.
    """
    a, b = _two_groups(rows_a, rows_b, of)

    def function(answers: Answers) -> Tensor:
        values = answers.losses if of is None else answers.of_class(of)
        ordered, order = torch.cat([values[answers.chosen(a)], values[answers.chosen(b)]]).sort()
        steps = torch.cat([ordered.new_full((len(a),), 1 / len(a)), ordered.new_full((len(b),), -1 / len(b))])
        return (steps[order].cumsum(0)[:-1].abs() * ordered.diff()).sum()

    what = "loss" if of is None else f"probability of class {of}"
    name = f"Wasserstein distance of {what} between {len(a)} and {len(b)} queries"
    return Target(name, function, None if of is None else PROBABILITY)


def error(number: int) -> Target:
    """The error of one class: the mean probability, over the queries with this label, that is not given to it.

    It is the error rate of predictions drawn by the probabilities; the rate of wrong largest outputs has no derivative.

    Raises:
        StudyError: `number` is no class number.
    """
    _check_class(number)

    def function(answers: Answers) -> Tensor:
        probability = answers.of_class(int(number))
        rows = np.flatnonzero(answers.labels == number)
        if not len(rows):
            raise StudyError(f"No query has the label {number}, so there is no error of this class.")
        return 1 - probability[answers.chosen(rows.tolist())].mean()

    return Target(f"error of class {number}", function, PROBABILITY)


def _two_groups(rows_a: Iterable[int], rows_b: Iterable[int], of: int | None) -> tuple[Sequence[int], Sequence[int]]:
    if of is not None:
        _check_class(of)
    a, b = positions(rows_a, "rows_a"), positions(rows_b, "rows_b")
    if set(a) == set(b):
        raise StudyError("rows_a and rows_b name the same queries, between which there is no gap; expected two groups.")
    return a, b


def _check_class(number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 0:
        raise StudyError(f"The class is {number!r}, expected a whole number from 0.")
