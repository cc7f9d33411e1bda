"""A criterion as a target (`influence.study.targets`) of those queries that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from influence.errors import StudyError, listed
from influence.live.criterion import Criterion
from influence.live.question import Contrast
from influence.study import targets
from influence.study.targets import Answers, Target


@dataclass(frozen=True)
class Judgement:
    """A target, and the positions of the queries that it is a function of."""

    target: Target
    queries: Sequence[int]


def judgement_of(criterion: Criterion, classes: Sequence[str], count: int) -> Judgement:
    """What a criterion says of a run with these classes and so many queries.

    Raises:
        StudyError: no query, or one that does not exist; a class that the model does not have; a contrast of several
            queries; or an error of a class beside other parts.
    """
    if criterion.error_of is not None:
        if criterion.rows or criterion.against or criterion.contrast:
            raise StudyError("A class's error is made of all queries; expected no rows, no groups and no contrast.")
        return Judgement(targets.error(_number(criterion.error_of, classes)), range(count))
    _refuse_absent([*criterion.rows, *criterion.against], count)
    if criterion.contrast is not None:
        if len(criterion.rows) != 1 or criterion.against:
            raise StudyError(f"A contrast is of one query; {len(criterion.rows)} are named.")
        return Judgement(_contrast(criterion.contrast, classes), criterion.rows)
    queries = sorted({*criterion.rows, *criterion.against})
    place = {query: i for i, query in enumerate(queries)}
    rows, against = ([place[query] for query in some] for some in (criterion.rows, criterion.against))
    return Judgement(targets.gap(rows, against) if against else targets.mean(rows), queries)


def _contrast(contrast: Contrast, classes: Sequence[str]) -> Target:
    of = _number(contrast.of, classes)
    against = None if contrast.against is None else _number(contrast.against, classes)

    def function(answers: Answers) -> Tensor:
        loss = answers.losses_of_class(of)[0]
        return loss if against is None else loss - answers.losses_of_class(against)[0]

    return Target(
        f"loss of {contrast.of!r}" + (f" less that of {contrast.against!r}" if contrast.against else ""), function
    )


def _number(name: str, classes: Sequence[str]) -> int:
    if not classes:
        raise StudyError(f"There is no class {name!r} to judge by: the run's last model is no classifier.")
    if name not in classes:
        raise StudyError(f"There is no class {name!r} to judge by; the model has {listed(map(repr, classes))}.")
    return list(classes).index(name)


def _refuse_absent(rows: Sequence[int], count: int) -> None:
    absent = [row for row in rows if not 0 <= row < count]
    if absent:
        raise StudyError(f"There is no query {listed(map(str, absent))}; they are 0 to {count - 1}.")
