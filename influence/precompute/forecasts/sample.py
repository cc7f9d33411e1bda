"""Exhibits on some of their examples and queries, for a rehearsal of their runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Subset, TensorDataset

from influence.run.kept.choice import ALL
from influence.studies.exhibit import Exhibit
from influence.study.copies import copied, put
from influence.study.parameters import groups_of
from influence.study.stage import Stage

DAMPING = 100.0
"""Of Hessians at parameters that are not trained: they have negative eigenvalues, which would be refused."""


def sampled(exhibits: Sequence[Exhibit], share: float, least: int, queries: int) -> list[Exhibit]:
    """The exhibits on a `share` (0..1) of every stage's examples, at least `least`, and so many of their queries.

    Examples and queries are evenly spaced. A stage that exhibits share is one stage here too. Nothing is to be trained:
    of exhibits that would be, models are copies in which every stage has what it inherits.
    """
    stages: dict[int, Stage] = {}
    made = []
    for exhibit in exhibits:
        study = exhibit.study
        for previous, stage in study.pairs():
            if id(stage) not in stages:
                found = _stage(stage, positions(len(stage.data), share, least), exhibit.train)
                if exhibit.train and previous is not None:
                    before = dict(stages[id(previous)].model.named_parameters())
                    inherited = groups_of(stage, previous).inherited
                    put(found.model, {here: before[there] for here, there in inherited.items()})
                stages[id(stage)] = found
        asked = positions(len(study.queries), 0, queries)
        chosen = {s.name: positions(len(s.data), share, least) for s in study.stages} | {"queries": asked}
        made.append(
            dataclasses.replace(
                exhibit,
                seeds=1,
                keep=ALL,
                study=dataclasses.replace(
                    study, stages=[stages[id(stage)] for stage in study.stages], queries=_part(study.queries, asked)
                ),
                examples={name: _rows(table, chosen[name]) for name, table in exhibit.examples.items()},
                queries=_rows(exhibit.queries, asked),
                tokens={name: _rows(table, chosen[name]) for name, table in exhibit.tokens.items()},
                train=False,
                damping=DAMPING if exhibit.train and exhibit.curvature == "hessian" else exhibit.damping,
            )
        )
    return made


def positions(count: int, share: float, least: int) -> list[int]:
    """A `share` of `count` positions, at least `least` where there are so many, evenly spaced."""
    some = min(count, max(least, round(share * count)))
    return [i * count // some for i in range(some)]


def _stage(stage: Stage, chosen: list[int], train: bool) -> Stage:
    model = copied(stage.model) if train else stage.model
    return dataclasses.replace(stage, model=model, data=_part(stage.data, chosen))


def _part(data: Any, chosen: list[int]) -> Any:
    # Batches of a plain TensorDataset are slices, which are much faster than examples one by one.
    if type(data) is TensorDataset:
        return TensorDataset(*(tensor[chosen] for tensor in data.tensors))
    return Subset(data, chosen)


def _rows(table: Any, chosen: list[int]) -> Any:
    return table.iloc[np.asarray(chosen)].reset_index(drop=True)
