"""Alterations of a run's training data, as a person states them: by ids, names of classes and parts of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from influence.errors import RunError, StudyError
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit
from influence.studies.images.mask import masked
from influence.study import edits
from influence.study.edits import Edit

LEAVE_OUT, RELABEL, UPWEIGHT, MASK = "leave out", "relabel", "upweight", "mask"


@dataclass(frozen=True)
class Alteration:
    """What is changed of one example.

    Attributes:
        kind: `LEAVE_OUT`, `RELABEL`, `UPWEIGHT` or `MASK`.
        stage: whose example.
        id: of the example, as the run's table has it.
        value: of "relabel" the class's name, of "upweight" what is added to the weight 1, of "mask" (left, top, width,
            height) in pixels.
    """

    kind: str
    stage: str
    id: int
    value: Any = None

    def __str__(self) -> str:
        told = {
            RELABEL: f" as {self.value!r}",
            UPWEIGHT: f" to 1{self.value:+g}" if self.kind == UPWEIGHT else "",
            MASK: f" {','.join(map(str, self.value))}" if self.kind == MASK else "",
        }
        return f"{self.kind}{told.get(self.kind, '')}"


def as_json(alterations: Iterable[Alteration]) -> str:
    """The same alterations, in any order, as one text."""
    return json.dumps(sorted([a.stage, a.id, a.kind, a.value] for a in alterations))


def edits_of(run: Run, exhibit: Exhibit, alterations: Sequence[Alteration]) -> list[Edit]:
    """The edits of the study of a run.

    Raises:
        RunError: no alteration, an unknown id, or an example that is altered twice.
        StudyError: a class that the stage does not have, a stage without classes, or a mask that does not fit.
    """
    if not alterations:
        raise RunError("Nothing is to be altered; say what, --leave-out 15 for instance.")
    seen: set[tuple[str, int]] = set()
    found = []
    for each in alterations:
        if (each.stage, each.id) in seen:
            raise RunError(f"Example {each.id} of stage {each.stage!r} is altered twice, expected once.")
        seen.add((each.stage, each.id))
        found.append(_edit(run, exhibit, each))
    return found


def _edit(run: Run, exhibit: Exhibit, alteration: Alteration) -> Edit:
    row, stage = row_of_id(run, alteration.stage, alteration.id), alteration.stage
    if alteration.kind == LEAVE_OUT:
        return edits.leave_out(stage, [row])
    if alteration.kind == UPWEIGHT:
        return edits.upweight(stage, [row], alteration.value)
    if alteration.kind == RELABEL:
        return edits.relabel(stage, [row], [_class(exhibit, stage, str(alteration.value))])
    data = exhibit.study.stages[exhibit.study.position(stage)].data
    picture, *rest = data[row] if isinstance(data[row], tuple | list) else (data[row],)
    changed = masked(picture, alteration.value)
    return edits.replace(stage, [row], [(changed, *rest)])


def row_of_id(run: Run, stage: str, name: int) -> int:
    """Row of an example by its id.

    Raises:
        RunError: there is no such stage, or no such id in it.
    """
    ids = run.examples(run.stage(stage).name)["id"].to_numpy()
    rows = (ids == name).nonzero()[0]
    if not len(rows):
        raise RunError(f"There is no example with id {name} in stage {stage!r}.")
    return int(rows[0])


def _class(exhibit: Exhibit, stage: str, name: str) -> int:
    names = [str(each) for each in exhibit.classes.get(stage, ())]
    if not names:
        raise StudyError(f"Stage {stage!r} has no classes, so its examples have no label to change.")
    if name not in names:
        raise StudyError(f"Stage {stage!r} has no class {name!r}; its classes are {', '.join(map(repr, names))}.")
    return names.index(name)


def altered_tables(run: Run, alterations: Sequence[Alteration]) -> dict[str, pd.DataFrame]:
    """Name of a file -> table: each altered stage's examples that remain, and what was changed of which.

    Examples keep their ids. Labels are the new ones, `weight` is 1 but where it was changed, and pictures are as they
    were: `changes` says which part was blank.
    """
    found = {}
    for stage in dict.fromkeys(each.stage for each in alterations):
        table = run.examples(stage).drop(columns=["self_influence", "gradient_norm"], errors="ignore").copy()
        rows = {row_of_id(run, stage, each.id): each for each in alterations if each.stage == stage}
        table["weight"] = 1.0
        changes = []
        for row, each in rows.items():
            changes.append({"id": each.id, "change": str(each), "label before": table["label"].iloc[row]})
            if each.kind == RELABEL:
                table.loc[table.index[row], "label"] = str(each.value)
            if each.kind == UPWEIGHT:
                table.loc[table.index[row], "weight"] = 1.0 + each.value
        out = [table.index[row] for row, each in rows.items() if each.kind == LEAVE_OUT]
        found[stage] = table.drop(index=out).reset_index(drop=True)
        found[f"{stage}-changes"] = pd.DataFrame(changes)
    return found
