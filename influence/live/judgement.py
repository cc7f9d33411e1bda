"""A criterion as a target (`influence.study.targets`) of those queries that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from influence.attribution.tokens import refuse_other_measure
from influence.derivatives import Objective
from influence.derivatives.objective import plain_kernels
from influence.errors import StudyError, listed
from influence.live.criterion import Criterion
from influence.live.question import Contrast, Span
from influence.studies.exhibit import Exhibit
from influence.study import targets
from influence.study.stage import Loss
from influence.study.targets import Answers, Target


@dataclass(frozen=True)
class Judgement:
    """A target, and the positions of the queries that it is a function of."""

    target: Target
    queries: Sequence[int]


def judgement_of(criterion: Criterion, exhibit: Exhibit, last: Objective) -> Judgement:
    """What a criterion says of an exhibit's queries; `last` is the objective of its last stage.

    Raises:
        StudyError: no query, or one that does not exist; a class that the model does not have; a contrast of several
            queries; an error of a class beside other parts; or a span that cannot be explained.
    """
    classes, count = [str(name) for name in exhibit.classes[last.stage.name]], len(exhibit.study.queries)
    if criterion.error_of is not None:
        if criterion.rows or criterion.against or criterion.contrast:
            raise StudyError("A class's error is made of all queries; expected no rows, no groups and no contrast.")
        return Judgement(targets.error(_number(criterion.error_of, classes)), range(count))
    _refuse_absent([*criterion.rows, *criterion.against], count)
    if criterion.contrast is not None:
        if len(criterion.rows) != 1 or criterion.against:
            raise StudyError(f"A contrast is of one query; {len(criterion.rows)} are named.")
        return Judgement(_target(criterion.contrast, exhibit, last, criterion.rows[0]), criterion.rows)
    queries = sorted({*criterion.rows, *criterion.against})
    place = {query: i for i, query in enumerate(queries)}
    rows, against = ([place[query] for query in some] for some in (criterion.rows, criterion.against))
    return Judgement(targets.gap(rows, against) if against else targets.mean(rows), queries)


def span_loss(exhibit: Exhibit, last: Objective, item: Any, span: Span) -> Loss:
    """The part of the measure that a span of one query's text has, as a loss of that query alone.

    Raises:
        StudyError: the last stage has no token losses, or the text no such tokens.
        LossError: the token losses are not the parts of the measure.
    """
    measure, token_losses = exhibit.study.measure, exhibit.token_losses.get(last.stage.name)
    assert measure is not None
    if span.tokens is None:
        return measure
    if token_losses is None:
        raise StudyError(
            f"There are no spans to explain: the study gives no token losses of stage {last.stage.name!r} "
            "(`Exhibit.token_losses`). The whole of a query can be asked about."
        )
    (batch,) = (batch for _, batch in last.batches([item]))
    with plain_kernels(), torch.no_grad():
        outputs = last.outputs(batch)
        parts = token_losses(outputs, batch)
        times = refuse_other_measure(parts, measure(outputs, batch))
    if not span.tokens or not 0 <= min(span.tokens) <= max(span.tokens) < parts.shape[1]:
        raise StudyError(f"The span has the tokens {span.tokens}; the text's are 0 to {parts.shape[1] - 1}.")
    chosen = torch.zeros_like(parts)
    chosen[:, list(span.tokens)] = 1
    return lambda outputs, batch: (token_losses(outputs, batch) * (chosen * times)).sum(1)


def _target(wanted: Contrast | Span, exhibit: Exhibit, last: Objective, row: int) -> Target:
    if isinstance(wanted, Contrast):
        return _contrast(wanted, [str(name) for name in exhibit.classes[last.stage.name]])
    item = exhibit.study.queries[row]
    loss = span_loss(exhibit, last, item, wanted)
    (batch,) = (batch for _, batch in last.batches([item]))
    return Target(f"loss of {wanted.text!r}", lambda answers: loss(answers.outputs, batch).sum())


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
