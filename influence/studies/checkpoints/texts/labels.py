"""Labels of examples as a model's head numbers them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from influence.errors import StudyError
from influence.studies.checkpoints.checkpoint import NAMELESS
from influence.studies.checkpoints.texts.objectives import IGNORED, MULTI_LABEL, REGRESSION
from influence.studies.lookalikes import hint
from influence.studies.text_files.formats import name_list, short_repr
from influence.studies.text_files.labels import label_text, plain_text


@dataclass(frozen=True)
class Head:
    """The outputs of a model's head.

    Attributes:
        kind: of the objective.
        names: of the outputs, in order.
    """

    kind: str
    names: tuple[str, ...]

    @property
    def is_nameless(self) -> bool:
        """Whether nobody named the outputs."""
        return all(NAMELESS.fullmatch(name) for name in self.names)

    def number(self, value: Any, place: str) -> int:
        """The number of a class that is given by its name or, where no name fits, its number.

        Raises:
            StudyError: the head has no such class.
        """
        text = label_text(plain_text(int(value) if isinstance(value, bool) and str(value) not in self.names else value))
        if text in self.names and not isinstance(value, int | np.integer):
            return self.names.index(text)
        if re.fullmatch(r"\d{1,9}", text) and int(text) < len(self.names):
            return int(text)
        if text in self.names:
            return self.names.index(text)
        raise StudyError(
            f"{place}: the label is {short_repr(value)}, which the model's head has not: it has {len(self.names):,} "
            f"outputs, {name_list(self.names)}. Give their names (id2label in the checkpoint's config.json), or "
            f"numbers from 0 to {len(self.names) - 1}.{hint(text, self.names)}"
        )

    def target(self, value: Any, place: str) -> Any:
        """A label as the loss takes it: a class number; of several labels 0 or 1 each; of numbers, these.

        Raises:
            StudyError: the head has no such label, or the value is none.
        """
        if self.kind == REGRESSION:
            return self._numbers(value, place)
        if self.kind == MULTI_LABEL:
            return self._several(value, place)
        return self.number(value, place)

    def shown(self, target: Any) -> str:
        """A target in words."""
        if self.kind == REGRESSION:
            return ", ".join(f"{number:g}" for number in target)
        if self.kind == MULTI_LABEL:
            return ", ".join(name for name, on in zip(self.names, target, strict=True) if on)
        return self.names[target]

    def tags(self, values: Any, words: int, place: str) -> list[int]:
        """The class numbers of a text's words; `IGNORED` (-100) stays.

        Raises:
            StudyError: there are not as many as words, or the head has no such class.
        """
        several = values.split() if isinstance(values, str) else values
        if not isinstance(several, Sequence | np.ndarray) or len(several) != words:
            count = len(several) if isinstance(several, Sequence | np.ndarray) else "no list of"
            raise StudyError(f"{place}: there are {count} labels for {words} words; expected one for each.")
        return [IGNORED if each in (IGNORED, str(IGNORED)) else self.number(each, place) for each in several]

    def _several(self, value: Any, place: str) -> list[float]:
        given = _list_of(value)
        if len(given) == len(self.names) and all(each in (0, 1) for each in given):
            return [float(each) for each in given]
        numbers = {self.number(each, place) for each in given}
        return [float(number in numbers) for number in range(len(self.names))]

    def _numbers(self, value: Any, place: str) -> list[float]:
        given = _list_of(value)
        try:
            found = [float(each) for each in given]
        except (TypeError, ValueError):
            found = []
        if len(found) != len(self.names) or not np.isfinite(found).all():
            raise StudyError(
                f"{place}: the label is {short_repr(value)}, expected {len(self.names)} finite number(s), one for each "
                "output of the model's head, which is one for regression."
            )
        return found


def head_of(config: Any, kind: str, names: Sequence[str] = ()) -> Head:
    """The head of a model with this configuration.

    Args:
        config: of `transformers`.
        kind: of the model's objective.
        names: of the classes in the data, for a head whose own were never given.
    """
    own: Mapping[int, str] = config.id2label
    found = tuple(str(own[number]) for number in sorted(own))
    head = Head(kind, found)
    return Head(kind, tuple(map(str, names))) if head.is_nameless and len(names) == len(found) else head


def _list_of(value: Any) -> list[Any]:
    """A list; of a text, one in JSON, or parts that bars separate."""
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            return [part.strip() for part in value.split("|") if part.strip()]
        return found if isinstance(found, list) else [found]
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence | np.ndarray) else [value]
