"""Alterations as edits of the study: ids become rows, names of classes numbers, masks and words new examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from influence.errors import RunError, StudyError
from influence.live.alterations import ADD, LEAVE_OUT, RELABEL, STRIKE, UPWEIGHT, Alteration
from influence.live.pool import added_examples, example_with_text
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit
from influence.studies.images.mask import masked
from influence.studies.texts.strike import struck
from influence.study import edits
from influence.study.edits import Edit


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
        of = together.setdefault((each.stage, each.id, (ADD, each.value) if each.kind == ADD else None), [])
        if of and (each.kind != STRIKE or of[0].kind != STRIKE or each in of):
            raise RunError(f"{_named(each)} of stage {each.stage!r} is altered twice, expected once.")
        of.append(each)
    return [_edit(run, exhibit, of) for of in together.values()]


def _named(alteration: Alteration) -> str:
    if alteration.kind != ADD:
        return f"Example {alteration.id}"
    return f"What is added from {alteration.value[0]}" if alteration.value else f"Query {alteration.id}, an addition"


def _edit(run: Run, exhibit: Exhibit, alterations: Sequence[Alteration]) -> Edit:
    """The edit that one alteration is, or several words struck of one example."""
    first = alterations[0]
    stage = first.stage
    if first.kind == ADD:
        return edits.add(stage, added_examples(run, exhibit, first))
    row = row_of_id(run, stage, first.id)
    if first.kind == LEAVE_OUT:
        return edits.leave_out(stage, [row])
    if first.kind == UPWEIGHT:
        return edits.upweight(stage, [row], first.value)
    if first.kind == RELABEL:
        return edits.relabel(stage, [row], [_class(exhibit, stage, str(first.value))])
    if first.kind == STRIKE:
        left = text_without(run, row, alterations)
        return edits.replace(stage, [row], [example_with_text(exhibit, stage, row, left)])
    data = exhibit.study.stages[exhibit.study.position(stage)].data
    return edits.replace(stage, [row], [with_picture(data[row], masked(picture_of(data[row]), first.value))])


def picture_of(example: Any) -> Tensor:
    """The picture of an example: its first tensor of real numbers with a height and a width.

    Raises:
        StudyError: it has none.
    """
    for part in example.values() if isinstance(example, Mapping) else _parts(example):
        if _is_picture(part):
            return part
    raise StudyError("A mask needs pictures: tensors of real numbers that end in the dimensions height and width.")


def with_picture(example: Any, picture: Tensor) -> Any:
    """The example with another picture in the place of `picture_of` it."""
    if isinstance(example, Mapping):
        place = next(key for key, part in example.items() if _is_picture(part))
        return {**example, place: picture}
    parts = _parts(example)
    place = next(i for i, part in enumerate(parts) if _is_picture(part))
    parts[place] = picture
    return tuple(parts) if isinstance(example, tuple | list) else picture


def _parts(example: Any) -> list[Any]:
    return list(example) if isinstance(example, tuple | list) else [example]


def _is_picture(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dim() >= 2 and part.is_floating_point()


def text_without(run: Run, row: int, strikes: Sequence[Alteration]) -> str:
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
