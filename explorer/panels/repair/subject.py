"""What is repaired, and what it is judged by: what all parts of Suspects read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from explorer.jobs import live
from explorer.panels.repair import answers
from explorer.ui import amounts, theme
from explorer.view import criterion
from explorer.view.criterion import Judgement
from influence.live import ADD, LEAVE_OUT, SWITCH_OFF, Alteration
from influence.run import NAT, Run


@dataclasses.dataclass(frozen=True)
class Subject:
    """A stage of a run whose examples are repaired, what they are judged by, and the edits in the basket."""

    run: Run
    stage: str
    judged: Judgement
    basket: Sequence[Alteration]

    @property
    def method(self) -> str:
        return self.run.methods(self.stage)[0]

    @property
    def examples(self) -> pd.DataFrame:
        return self.run.examples(self.stage)

    def unit(self, values: np.ndarray) -> theme.Unit:
        """The unit in which changes of what is judged by read well."""
        if self.judged.unit == NAT:
            return amounts.unit(self.run, self.method, self.stage, values)
        return theme.unit_of(values, self.stored)

    @property
    def stored(self) -> str:
        """The unit of changes as they are computed, without a slope."""
        stored = self.run.unit(self.method, self.stage)
        return self.judged.unit if stored == NAT else stored

    def rows(self, ids: pd.Series | Sequence[int]) -> list[int]:
        """Rows of the stage's examples by their ids."""
        return pd.Index(self.examples["id"]).get_indexer(list(ids)).tolist()

    def changes(self, row: int) -> list[Alteration]:
        """The basket's edits of the example at `row`."""
        number = int(self.examples["id"].iloc[row])
        return [
            each
            for each in self.basket
            if (each.stage, each.id) == (self.stage, number) and each.kind not in (ADD, SWITCH_OFF)
        ]

    def scores(self) -> np.ndarray:
        """What leaving each example out does to what is judged by, float64 (m,), read-only; positive = helpful.

        Raises:
            RunError, StudyError: the run's scores cannot be read; or only its models could tell, and cannot be asked.
        """
        return scores(self.run, self.stage, self.judged)

    def without(self, rows: Sequence[int]) -> list[Alteration]:
        """The edits that leave the examples at `rows` out."""
        return [Alteration(LEAVE_OUT, self.stage, int(self.examples["id"].iloc[row])) for row in rows]


def scores(run: Run, stage: str, judged: Judgement) -> np.ndarray:
    """As `Subject.scores`, of any stage."""
    found = criterion.stored(run, stage, run.methods(stage)[0], judged)
    if found is not None:
        return found
    return answers.once(
        (run.manifest.checksum, "scores", judged.criterion, stage),
        lambda: live.leave_one_out(live.opened(run), judged.criterion, stage) * float(judged.times),
    )
