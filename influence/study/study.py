"""`Study`: the user's description of his stages and of the queries to explain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from influence.errors import StudyError
from influence.study.parameters import groups_of
from influence.study.stage import Loss, Stage, check_dataset


@dataclass(eq=False)
class Study:
    """A chain of stages and the test examples whose predictions are to be explained.

    Args:
        name: of the study.
        stages: first (pretraining) to last (the finetuned model).
        queries: dataset of the last stage's form (its `forward` and `collate` are used).
        measure: `measure(outputs, batch)` -> (B,), what is explained of a query; default the last stage's loss.

    Raises:
        StudyError: no stages, two of one name, an empty set of queries, a pattern in `frozen` that matches
            nothing, or a stage that inherits nothing of the stage before it.
    """

    name: str
    stages: Sequence[Stage]
    queries: Any
    measure: Loss | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.stages, Iterable):
            raise StudyError(
                f"Study {self.name!r}: stages is a {type(self.stages).__name__}, expected a list of Stage."
            )
        self.stages = tuple(self.stages)
        for each in self.stages:
            if not isinstance(each, Stage):
                raise StudyError(f"Study {self.name!r}: stages holds a {type(each).__name__}, expected only Stage.")
        if not self.stages:
            raise StudyError(f"Study {self.name!r} has no stages; it needs at least one.")
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise StudyError(
                    f"Study {self.name!r} has {names.count(name)} stages called {name!r}; give each its own name."
                )
        check_dataset(self.queries, f"Study {self.name!r}: queries")
        self.measure = self.measure or self.stages[-1].loss
        if not callable(self.measure):
            raise StudyError(f"Study {self.name!r}: measure is {self.measure!r}, expected a function.")
        for previous, stage in self.pairs():
            groups_of(stage, previous)

    def pairs(self) -> Iterator[tuple[Stage | None, Stage]]:
        """(the stage before, the stage), first to last; before the first there is None."""
        return zip((None, *self.stages), self.stages, strict=False)

    def position(self, stage: str | None) -> int:
        """Index of the stage called `stage`; None is the first.

        Raises:
            StudyError: there is no such stage.
        """
        if stage is None:
            return 0
        names = [each.name for each in self.stages]
        if stage not in names:
            raise StudyError(f"Study {self.name!r} has no stage {stage!r}; its stages are {', '.join(names)}.")
        return names.index(stage)
