"""Alterations as edits of the study: ids become rows, names of classes numbers, masks and words new examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from influence.attribution.edits.votes import ABSTAINS
from influence.errors import RunError, StudyError, listed
from influence.live.alterations import (
    ADD,
    LEAVE_OUT,
    RELABEL,
    SEVERAL,
    STRIKE,
    SWITCH_OFF,
    TAKE_BACK,
    UPWEIGHT,
    Alteration,
)
from influence.live.pool import added_examples, example_with_text
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit
from influence.studies.images.mask import masked
from influence.studies.texts.strike import struck
from influence.study import edits
from influence.study.edits import Edit
from influence.study.labels import label_of


def edits_of(run: Run, exhibit: Exhibit, alterations: Sequence[Alteration]) -> list[Edit]:
    """The edits of the study of a run; of one example several words may be struck, or votes taken back.

    All votes that are taken back on a stage are one relabelling and one leaving out (`Votes.without`).

    Raises:
        RunError: no alteration, an unknown id, or an example that is altered twice.
        StudyError: a class that the stage does not have, a stage without classes, a mask that does not fit, a word that
            stands nowhere, a text that nothing is left of, a vote that there is not, or as `pool`.
    """
    if not alterations:
        raise RunError("Nothing is to be altered; say what, --leave-out 15 for instance.")
    together: dict[tuple[str, int, Any], list[Alteration]] = {}
    of_votes = [each for each in alterations if each.kind in (TAKE_BACK, SWITCH_OFF)]
    for each in alterations:
        if each.kind == SWITCH_OFF:
            continue
        of = together.setdefault((each.stage, each.id, (ADD, each.value) if each.kind == ADD else None), [])
        if of and (each.kind not in SEVERAL or of[0].kind != each.kind or each in of):
            raise RunError(f"{_named(each)} of stage {each.stage!r} is altered twice, expected once.")
        of.append(each)
    found = [_edit(run, exhibit, of) for of in together.values() if of[0].kind != TAKE_BACK]
    for stage in dict.fromkeys(each.stage for each in of_votes):
        taken = votes_taken_back(run, exhibit, [each for each in of_votes if each.stage == stage])
        rows = {row for edit in found if edit.stage == stage for row in edit.rows}
        if both := sorted(rows & set(np.flatnonzero(taken.any(1)).tolist())):
            name = run.examples(stage)["id"].iloc[both[0]]
            raise RunError(f"Example {name} of stage {stage!r} is altered, and a vote on it taken back; expected one.")
        found += exhibit.votes[stage].without(stage, taken)
    return found


def votes_taken_back(run: Run, exhibit: Exhibit, alterations: Sequence[Alteration]) -> np.ndarray:
    """Which votes of one stage alterations take back, (m, rules) bool.

    Raises:
        RunError: an unknown id.
        StudyError: the stage's labels come from no votes, or there is no such rule or vote.
    """
    stage = alterations[0].stage
    votes = exhibit.votes.get(run.stage(stage).name)
    if votes is None:
        raise StudyError(f"The labels of stage {stage!r} come from no votes, so there is none to take back.")
    given = votes.table != ABSTAINS
    taken = np.zeros_like(given)
    for each in alterations:
        if each.value not in votes.rules:
            raise StudyError(f"Stage {stage!r} has no rule {each.value!r}; it has {listed(map(repr, votes.rules))}.")
        rule = votes.rules.index(each.value)
        rows = given[:, rule] if each.kind == SWITCH_OFF else row_of_id(run, stage, each.id)
        if not given[rows, rule].any():
            of = "any example" if each.kind == SWITCH_OFF else f"example {each.id}"
            raise StudyError(f"Rule {each.value!r} does not vote on {of} of stage {stage!r}: it abstains.")
        taken[rows, rule] = True
    return taken


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
        return edits.relabel(stage, [row], [_label(exhibit, stage, row, str(first.value))])
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


def _label(exhibit: Exhibit, stage: str, row: int, name: str) -> Any:
    """A class as the label of an example: its number, or where its own label is probabilities, all of them on it."""
    number = _class(exhibit, stage, name)
    own = torch.as_tensor(label_of(exhibit.study.stages[exhibit.study.position(stage)].data[row], f"Example {row}"))
    return torch.eye(len(own)).to(own)[number] if own.dim() and own.numel() > 1 else number


def _class(exhibit: Exhibit, stage: str, name: str) -> int:
    names = [str(each) for each in exhibit.classes.get(stage, ())]
    if not names:
        raise StudyError(f"Stage {stage!r} has no classes, so its examples have no label to change.")
    if name not in names:
        raise StudyError(f"Stage {stage!r} has no class {name!r}; its classes are {', '.join(map(repr, names))}.")
    return names.index(name)
