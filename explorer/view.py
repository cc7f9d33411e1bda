"""One view: a run, a query and what is asked about it. Panels read it; nothing in here draws."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
import pandas as pd

from explorer import lists, queries, regions, runs, state, theme
from influence.run import Run


@dataclasses.dataclass(frozen=True)
class View:
    """What the visitor looks at; the scores are read once, everything else is derived from them."""

    run: Run
    position: int
    stage: str
    method: str
    scores: np.ndarray
    count: int
    order: str
    group: str | None = None
    region: np.ndarray | None = None
    example: int | None = None
    """Position of the ringed example in `examples`, if it is one of them."""

    @property
    def query(self) -> pd.Series:
        return self.run.queries().iloc[self.position]

    @property
    def examples(self) -> pd.DataFrame:
        return self.run.examples(self.stage)

    @cached_property
    def unit(self) -> theme.Unit:
        return theme.unit_of(self.scores, self.method)

    @cached_property
    def on_map(self) -> bool:
        """Whether this stage's examples have places on the map."""
        return runs.mapped(self.run) is self.examples

    @cached_property
    def in_region(self) -> np.ndarray:
        """Mask of the examples inside the lassoed region; all of them without one."""
        if self.region is None or not self.on_map:
            return np.ones(len(self.scores), dtype=bool)
        return regions.inside(self.region, self.examples["x"].to_numpy(), self.examples["y"].to_numpy())

    @cached_property
    def kept(self) -> np.ndarray:
        """Mask of the examples that the lists may show: in the region and of the chosen class."""
        if self.group is None:
            return self.in_region
        return self.in_region & (self.examples["label"] == self.group).to_numpy()

    @cached_property
    def lists(self) -> lists.Lists:
        relative = self.order == state.RELATIVE and "gradient_norm" in self.examples
        return lists.ranked(
            self.scores, self.count, self.kept, self.examples["gradient_norm"].to_numpy() if relative else None
        )

    @cached_property
    def totals(self) -> pd.DataFrame:
        """Helpful and harmful totals by class, of the region if there is one."""
        table = lists.totals(self.scores[self.in_region], self.examples["label"][self.in_region])
        return table.loc[queries.class_order(table.index)]

    @property
    def classes(self) -> list[str]:
        """The last stage's classes, which the query's probabilities are of."""
        return [str(name) for name in self.run.stages and self.run.stage(self.run.stages[-1])["classes"]]
