"""`DataRead`: a run's data, compared after each step with what they were when its computation began."""

from __future__ import annotations

from influence.errors import StudyError
from influence.run.draft import Draft
from influence.study.study import Study
from influence.training.readings import Readings

READ, CHANGED = "data", "data changed"
"""Steps of the journal: what some examples were when they were first read; that they did not stay so."""


class DataRead:
    """The stages' data and the queries of a run that is computed.

    Args:
        study: of the run.
        draft: of it; its journal keeps what was read.
        known: identity of a data set -> what it was when the first run of this process read it.
    """

    def __init__(self, study: Study, draft: Draft, known: dict[int, Readings]):
        self.draft = draft
        named = {stage.name: (stage.data, f"Stage {stage.name!r}") for stage in study.stages}
        named["the queries"] = study.queries, "The queries"  # no stage has such a name
        for data, what in named.values():
            if id(data) not in known:
                known[id(data)] = Readings(data, what)
        self.readings = {name: known[id(data)] for name, (data, _) in named.items()}

    def begin(self) -> None:
        """Compare with what an earlier process began the run with; the first one notes it.

        Raises:
            StudyError: they are others, or they changed while an earlier process computed.
        """
        if CHANGED in self.draft.steps:
            raise StudyError(f"{self.draft.steps[CHANGED]} To begin anew, delete {self.draft.folder}.")
        begun = self.draft.steps.get(READ, {})
        if not begun:
            self.draft.mark(READ, {name: readings.examples for name, readings in self.readings.items()})
            return
        for name, readings in self.readings.items():
            readings.refuse_others(begun.get(name, {}))

    def refuse_changed(self) -> None:
        """Compare with what this process read first.

        Raises:
            StudyError: they changed. What was computed meanwhile may be of either, so the run cannot go on.
        """
        for readings in self.readings.values():
            try:
                readings.refuse_changed()
            except StudyError as error:
                self.draft.mark(CHANGED, str(error))
                raise
