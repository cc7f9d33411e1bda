"""Whether several studies are trainings of one: the same stages, data and queries, and other parameters."""

from __future__ import annotations

import itertools
from collections import UserDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.errors import StudyError
from influence.study.parameters import groups_of
from influence.study.stage import Stage
from influence.study.study import Study


def refuse_other_studies(studies: Sequence[Study]) -> None:
    """Raise StudyError unless all have the stages, parameters, terms, data and queries of the first.

    Their models may be at other parameters, which is what they are for.
    """
    if not studies or not all(isinstance(each, Study) for each in studies):
        kinds = ", ".join(type(each).__name__ for each in studies) or "nothing"
        raise StudyError(f"Expected a Study, or a list of studies that differ in their seeds only; got {kinds}.")
    first = studies[0]
    for number, other in enumerate(studies[1:], 2):
        for what in _differences(first, other):
            raise StudyError(
                f"Study 1 and study {number} differ in {what}. Scores are averaged over trainings of one study, which "
                "differ in their seeds only: give studies of the same stages, data and queries."
            )


def _differences(one: Study, other: Study) -> Iterator[str]:
    """What the studies differ in, cheapest first."""
    names = [[stage.name for stage in study.stages] for study in (one, other)]
    if names[0] != names[1]:
        yield f"their stages: {', '.join(names[0])}, and {', '.join(names[1])}"
        return
    pairs = list(zip(one.pairs(), other.pairs(), strict=True))
    for (before, stage), (before_too, same) in pairs:
        if _terms(stage, before) != _terms(same, before_too):
            yield f"the parameters, l2, proximity or frozen parts of stage {stage.name!r}"
    data = [(f"the data of stage {a.name!r}", a.data, b.data) for (_, a), (_, b) in pairs]
    for what, a, b in (*data, ("their queries", one.queries, other.queries)):
        if len(a) != len(b):
            yield f"{what}: {len(a):,} and {len(b):,} examples"
        elif a is not b and (row := next((i for i in range(len(a)) if not _equal(a[i], b[i])), None)) is not None:
            yield f"{what}: example {row}"


def _terms(stage: Stage, before: Stage | None) -> tuple[Any, ...]:
    """What the objective of a stage is made of besides its data and its loss."""
    groups = groups_of(stage, before)
    shapes = {name: tuple(p.shape) for name, p in stage.model.named_parameters()}
    return shapes, stage.l2, stage.proximity, groups.frozen, groups.held, groups.new


def _equal(one: Any, other: Any) -> bool:
    """Whether two examples hold the same. What cannot be compared counts as the same."""
    ones, form = pytree.tree_flatten(one)
    others, shape = pytree.tree_flatten(other)
    return form == shape and all(map(_same, ones, others))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one.cpu(), other.cpu())
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, UserDict) and isinstance(other, UserDict):
        return _equal(one.data, other.data)
    if type(one).__eq__ is object.__eq__:
        return type(one) is type(other)
    return bool(one == other)


def same_parameters(studies: Sequence[Study]) -> list[str]:
    """A warning, where two of the trainings ended at one and the same parameters."""
    for (i, one), (k, other) in itertools.combinations(enumerate(studies, 1), 2):
        pairs = zip(one.stages, other.stages, strict=True)
        if all(_equal(dict(a.model.named_parameters()), dict(b.model.named_parameters())) for a, b in pairs):
            return [
                f"Studies {i} and {k} have the same parameters: the spread of the scores over trainings is too small. "
                "Give trainings from other seeds."
            ]
    return []
