"""Edits of a stage's training data: examples left out, relabelled, replaced, added, or given another weight.

    from influence import edits
    edit = edits.relabel("pretrain", [15, 23], [3, 3])

An edit only describes. `edit_effect` and `edit_scores` predict what it does to the queries, and
`influence.training.Retrainer.retrain(edits=...)` trains again with the edited data. The mean loss keeps its denominator
m, the number of examples before the edit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from influence.errors import StudyError
from influence.study.forms import alike
from influence.study.labels import with_label
from influence.study.positions import plain, positions


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of a stage's training data, made by the functions of this module.

    Attributes:
        name: of the function that made it.
        stage: whose data; None is the first.
        rows: positions of the examples whose weight changes.
        by: change of the weight of each of them, which is 1 before; -1 takes them out.
        examples: what comes in with weight 1, as the stage's data set gives its examples.
        labels: of "relabel", one a row: the examples at `rows` come in with these.
    """

    name: str
    stage: str | None
    rows: tuple[int, ...] = ()
    by: float = -1.0
    examples: Sequence[Any] = ()
    labels: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        what = f"rows {list(self.rows[:5])}{' ...' if len(self.rows) > 5 else ''}, " if self.rows else ""
        return f"edits.{self.name}({self.stage!r}, {what}{len(self.examples)} examples)"

    def entering(self, data: Any, collated: bool = False) -> Sequence[Any]:
        """The examples that come in, in the form of the stage's `data`; `collated` is as of `alike`.

        Raises:
            StudyError: an example to relabel has no label, the new label is of another kind, or an example of another
                form.
        """
        if self.labels:
            return Relabelled(data, self.rows, self.labels)
        return Entering(self.examples, data, collated, f"of edits.{self.name}") if len(self.examples) else ()


class Relabelled(Sequence[Any]):
    """Some examples of a data set with other labels, read when asked for."""

    def __init__(self, data: Any, rows: Sequence[int], labels: Sequence[Any]):
        self._data, self._rows, self._labels = data, rows, labels

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        row = self._rows[place]
        return with_label(self._data[row], self._labels[place], f"Example {row}")


class Entering(Sequence[Any]):
    """Examples of a user's in the form of a data set's own, read when asked for."""

    def __init__(self, examples: Sequence[Any], data: Any, collated: bool, whose: str):
        self._examples, self._own, self._collated, self._whose = examples, data[0], collated, whose

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, place: Any) -> Any:
        if place >= len(self):  # a data set need not say so, and iteration would not end
            raise IndexError(place)
        return alike(self._examples[place], self._own, self._collated, f"Example {place} {self._whose}")


def leave_out(stage: str | None, rows: Iterable[int]) -> Edit:
    """The examples at `rows` of the stage left out: weight 0.

    Raises:
        StudyError: no row, one twice, or one that is no position.
    """
    return Edit("leave_out", stage, _rows(stage, rows))


def upweight(stage: str | None, rows: Iterable[int], by: float) -> Edit:
    """The examples at `rows` with weight 1 + `by` in place of 1: by = 1 counts them twice, by = -1 leaves them out.

    Raises:
        StudyError: `by` is below -1 or not finite; no row, one twice, or one that is no position.
    """
    by = plain(by)
    if isinstance(by, bool) or not isinstance(by, Real) or not -1 <= float(by) < math.inf:
        raise StudyError(
            f"{_named(stage)}: by is {by!r}, expected a finite number of at least -1: the weight becomes 1 + by."
        )
    return Edit("upweight", stage, _rows(stage, rows), float(by))


def relabel(stage: str | None, rows: Iterable[int], labels: Iterable[Any]) -> Edit:
    """The examples at `rows` with other labels, one a row.

    A label is the last entry of an example that is a tuple or list, or what a dict holds under "labels" or "label". In
    place of a class number, numbers are probabilities of the classes, if the stage's loss takes these.

    Raises:
        StudyError: not one label a row; no row, one twice, or one that is no position.
    """
    places = _rows(stage, rows)
    listed = plain(labels) if getattr(labels, "shape", None) == () else labels
    if isinstance(listed, str | bytes) or not isinstance(listed, Iterable):
        raise StudyError(f"{_named(stage)}: labels is {labels!r}, expected a list with one label a row.")
    given = tuple(listed)
    if len(given) != len(places):
        raise StudyError(f"{_named(stage)}: there are {len(given)} labels for {len(places)} rows, expected one a row.")
    return Edit("relabel", stage, places, labels=given)


def replace(stage: str | None, rows: Iterable[int], examples: Sequence[Any]) -> Edit:
    """Other examples in the place of those at `rows`, one a row.

    Args:
        stage: whose data; None is the first.
        rows: positions.
        examples: as the stage's data set gives its own, not collated.

    Raises:
        StudyError: not one example a row; no row, one twice, or one that is no position.
    """
    places, given = _rows(stage, rows), _examples(stage, examples)
    if len(given) != len(places):
        raise StudyError(
            f"{_named(stage)}: there are {len(given)} examples for {len(places)} rows, expected one a row."
        )
    return Edit("replace", stage, places, examples=given)


def add(stage: str | None, examples: Sequence[Any]) -> Edit:
    """More examples for the stage, with weight 1 in a mean that is still divided by m.

    Args:
        stage: whose data; None is the first.
        examples: as the stage's data set gives its own, not collated.

    Raises:
        StudyError: no examples.
    """
    return Edit("add", stage, examples=_examples(stage, examples))


def _examples(stage: str | None, examples: Sequence[Any]) -> Sequence[Any]:
    if (
        isinstance(examples, str | bytes | Mapping)
        or not hasattr(examples, "__len__")
        or not hasattr(examples, "__getitem__")
    ):
        raise StudyError(
            f"{_named(stage)}: examples is a {type(examples).__name__}, expected a list or data set of examples as the "
            "stage's own data set gives them."
        )
    if not len(examples):
        raise StudyError(f"{_named(stage)}: the examples are empty, expected at least one.")
    return examples


def _rows(stage: str | None, rows: Iterable[int]) -> tuple[int, ...]:
    return positions(rows, f"{_named(stage)}: rows")


def _named(stage: str | None) -> str:
    return "The first stage" if stage is None else f"Stage {stage!r}"
