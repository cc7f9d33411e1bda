"""Alterations of a run's training data, as a person states them: by ids, names of classes, words, parts of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from influence.errors import RunError, StudyError, printable
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit
from influence.studies.images.mask import masked
from influence.studies.images.picture_files import png, read_picture
from influence.studies.texts.strike import struck
from influence.study import edits
from influence.study.edits import Edit
from influence.validation.pool import digest, example_with_text, examples_of, pool

LEAVE_OUT, RELABEL, UPWEIGHT, MASK, STRIKE, ADD = "leave out", "relabel", "upweight", "mask", "strike", "add"
NONE = -1
"""In place of an id: the alteration is of no example that there is."""


@dataclass(frozen=True)
class Alteration:
    """What is changed of one example, or which are added.

    Attributes:
        kind: `LEAVE_OUT`, `RELABEL`, `UPWEIGHT`, `MASK`, `STRIKE` or `ADD`.
        stage: whose example.
        id: of the example, as the run's table has it; `NONE` where some are added.
        value: of "relabel" the class's name, of "upweight" what is added to the weight 1, of "mask" (left, top, width,
            height) in pixels, of "strike" a word or phrase, of "add" (path, digest of what is there).
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
            STRIKE: f" {self.value!r}",
        }
        return f"{self.kind}{told.get(self.kind, '')}"


def addition(stage: str, path: Path) -> Alteration:
    """More examples for a stage: those at `path`, as `pool` reads them.

    Raises:
        StudyError: it cannot be read.
    """
    return Alteration(ADD, stage, NONE, (str(path.resolve()), digest(path)))


def as_json(alterations: Iterable[Alteration]) -> str:
    """The same alterations, in any order, as one text."""
    return json.dumps(sorted([a.stage, a.id, a.kind, a.value] for a in alterations))


def edits_of(run: Run, exhibit: Exhibit, alterations: Sequence[Alteration]) -> list[Edit]:
    """The edits of the study of a run; of one example several words may be struck.

    Raises:
        RunError: no alteration, an unknown id, or an example that is altered twice.
        StudyError: a class that the stage does not have, a stage without classes, a mask that does not fit, a word that
            stands nowhere, a text that nothing is left of, or as `pool`.
    """
    if not alterations:
        raise RunError("Nothing is to be altered; say what, --leave-out 15 for instance.")
    together: dict[tuple[str, int, Any], list[Alteration]] = {}
    for each in alterations:
        of = together.setdefault((each.stage, each.id, each.value if each.kind == ADD else None), [])
        if of and (each.kind != STRIKE or of[0].kind != STRIKE or each in of):
            what = f"Example {each.id}" if each.kind != ADD else f"What is added from {each.value[0]}"
            raise RunError(f"{what} of stage {each.stage!r} is altered twice, expected once.")
        of.append(each)
    return [_edit(run, exhibit, of) for of in together.values()]


def _edit(run: Run, exhibit: Exhibit, alterations: Sequence[Alteration]) -> Edit:
    """The edit that one alteration is, or several words struck of one example."""
    first = alterations[0]
    stage = first.stage
    if first.kind == ADD:
        return edits.add(stage, examples_of(exhibit, stage, pool(run, stage, Path(first.value[0]))))
    row = row_of_id(run, stage, first.id)
    if first.kind == LEAVE_OUT:
        return edits.leave_out(stage, [row])
    if first.kind == UPWEIGHT:
        return edits.upweight(stage, [row], first.value)
    if first.kind == RELABEL:
        return edits.relabel(stage, [row], [_class(exhibit, stage, str(first.value))])
    if first.kind == STRIKE:
        left = _text_without(run, row, alterations)
        return edits.replace(stage, [row], [example_with_text(exhibit, stage, row, left)])
    data = exhibit.study.stages[exhibit.study.position(stage)].data
    picture, *rest = data[row] if isinstance(data[row], tuple | list) else (data[row],)
    changed = masked(picture, first.value)
    return edits.replace(stage, [row], [(changed, *rest)])


def _text_without(run: Run, row: int, strikes: Sequence[Alteration]) -> str:
    """The text of an example without the words that are struck of it."""
    stage = strikes[0].stage
    table = run.examples(stage)
    if "text" not in table:
        raise StudyError(f"Stage {stage!r} has no texts, so there is no word to strike.")
    return struck(table["text"].iloc[row], [str(each.value) for each in strikes])


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

    Examples keep their ids, and added ones get the next. Labels and texts are the new ones, `weight` is 1 but where it
    was changed, and pictures are as they were: `changes` says which part was blank.
    """
    found = {}
    for stage in dict.fromkeys(each.stage for each in alterations):
        table = run.examples(stage).drop(columns=["self_influence", "gradient_norm"], errors="ignore").copy()
        altered: dict[int, list[Alteration]] = {}
        for each in alterations:
            if each.stage == stage and each.kind != ADD:
                altered.setdefault(row_of_id(run, stage, each.id), []).append(each)
        table["weight"] = 1.0
        changes: list[dict[str, Any]] = []
        for row, of in altered.items():
            first, place = of[0], table.index[row]
            words = ", ".join(map(str, of))
            changes.append({"id": first.id, "change": words, "label before": table["label"].iloc[row]})
            if first.kind == RELABEL:
                table.loc[place, "label"] = str(first.value)
            if first.kind == UPWEIGHT:
                table.loc[place, "weight"] = 1.0 + first.value
            if first.kind == STRIKE:
                table.loc[place, "text"] = _text_without(run, row, of)
        more = _added(run, stage, [each for each in alterations if each.stage == stage and each.kind == ADD])
        changes += [{"id": name, "change": ADD, "label before": None} for name in more.get("id", ())]
        out = [table.index[row] for row, (first, *_) in altered.items() if first.kind == LEAVE_OUT]
        found[stage] = pd.concat([table.drop(index=out), *([more] if len(more) else [])], ignore_index=True)
        found[f"{stage}-changes"] = pd.DataFrame(changes)
    return found


def _added(run: Run, stage: str, additions: Sequence[Alteration]) -> pd.DataFrame:
    """The examples that are added to a stage, as its table has them."""
    if not additions:
        return pd.DataFrame()
    more = pd.concat([pool(run, stage, Path(each.value[0])) for each in additions], ignore_index=True)
    if "file" in more:
        more["image"] = [png(read_picture(file)) for file in more["file"]]
        more["source"] = [printable(file) for file in more.pop("file")]
    first = int(run.examples(stage)["id"].max()) + 1
    more["id"], more["weight"] = range(first, first + len(more)), 1.0
    return more[[name for name in more if name in (*run.examples(stage), "weight")]]
