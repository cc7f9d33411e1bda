"""One view: a run, a query and what is asked about it. Panels read it; nothing in here draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from explorer.runs import leads, neighbours, score_arrays, splits
from explorer.ui import amounts, state, theme
from explorer.view import diverse, lists, regions
from explorer.view.query import Query
from influence.errors import RunError
from influence.live import Target
from influence.run import NAT, ORDER_ONLY, Run, Slope, StageScores


@dataclasses.dataclass(frozen=True)
class View:
    """A query, its scores and the visitor's choices. Scores are read once; everything else is derived from them."""

    run: Run
    query: Query
    stage: str
    method: str
    scores: np.ndarray
    count: int
    order: str
    group: str | None = None
    within: str | None = None
    """The chosen class of the examples of the chosen source, if totals are by source."""
    region: np.ndarray | None = None
    bar: int | None = None
    """Place of the chosen bar in the histogram of all scores."""
    branch: str | None = None
    """The class (or source) whose row of the totals is open."""
    example: int | None = None
    """Position of the ringed example in `examples`, if it is one of them."""
    ranking: str = state.INFLUENCE
    simpler: np.ndarray | None = None
    """The simpler score of every example that the ranking goes by, if it is one of those."""
    embedding: neighbours.Embedding | None = None
    """The map's embedding, if this stage's examples are on the map and the run has kept it."""
    shading: str = state.PLAIN
    by: str = state.LABEL
    target: Target | None = None
    """The target; None: the prediction's loss (of the true class, where there are any), whose scores are stored."""
    split: Callable[[list[int]], Mapping[int, np.ndarray]] | None = None
    """For scores computed live: rows of examples -> their scores split over tokens."""
    patch: Callable[[list[int]], np.ndarray] | None = None
    """Rows of examples -> the changes of the loss with each patch of their pictures filled, (n, down, across)."""
    picture_size: tuple[int, int] = (1, 1)
    """Width and height of the model's input, pixels, where there are patches."""
    told: tuple[str, ...] = ()
    """For scores computed live: why their size means nothing, if it does not."""

    @property
    def examples(self) -> pd.DataFrame:
        return self.run.examples(self.stage)

    @cached_property
    def spread(self) -> np.ndarray | None:
        """Standard deviation of each score over the run's trainings; None where scores are of one, or computed live."""
        if self.target is not None or self.query.position is None:
            return None
        return score_arrays.spread_row(self.run, self.stage, self.method, self.query.position)

    @cached_property
    def unit(self) -> theme.Unit:
        slope = self.slope.times if self.slope else 1.0
        return theme.unit_of(self.scores, ORDER_ONLY if self.order_only else NAT, slope)

    @cached_property
    def slope(self) -> Slope | None:
        """By what scores are multiplied to be nats, as retraining measured; None: they are shown as they are."""
        return amounts.slope(self.run, self.method, self.stage, self.told)

    @cached_property
    def order_only(self) -> tuple[str, ...]:
        """Why the size of the scores means nothing, a sentence each; empty: they are nats, perhaps by a slope."""
        if self.slope:
            return ()
        return tuple(dict.fromkeys([*self.run.order_only(self.method, self.stage), *self.told]))

    @cached_property
    def on_map(self) -> bool:
        """Whether this stage's examples have places on the map."""
        return neighbours.mapped(self.run) is self.examples

    @cached_property
    def stored(self) -> StageScores | None:
        """What the run keeps of these scores, where it keeps the strongest and does not know all; else None."""
        if self.target is not None or self.query.position is None:
            return None
        found = score_arrays.known(self.run, self.stage, self.method)
        return found if found.lacks else None

    @cached_property
    def known(self) -> np.ndarray:
        """Mask of the examples whose scores are known."""
        return np.isfinite(self.scores)

    @cached_property
    def listed(self) -> np.ndarray:
        """Mask of the examples that lists by influence are of: none beside them is as strong."""
        found = None
        if self.stored is not None and self.query.position is not None:
            found = score_arrays.listed(self.run, self.stage, self.method, self.query.position)
        return np.ones(len(self.scores), dtype=bool) if found is None else found

    @cached_property
    def sampled(self) -> np.ndarray | None:
        """Mask of the random sample, where not all scores are kept; None: all are."""
        return None if self.stored is None else score_arrays.sampled(self.run, self.stage, self.method)

    @cached_property
    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts and edges of the bars of all scores, also of those that are not kept one by one."""
        if self.stored is None:
            return lists.histogram(self.scores)
        assert self.query.position is not None
        return self.stored.histogram(self.query.position, lists.BAR_COUNT)

    @cached_property
    def share(self) -> float:
        """Part of the total absolute influence of all examples that the shown ones carry, 0..1."""
        stored, position = self.stored, self.query.position
        total = stored.absolute(position) if stored is not None and position is not None else None
        return lists.share(self.scores, self.lists.positions, total)

    @cached_property
    def in_region(self) -> np.ndarray:
        """Mask of the examples inside the lassoed region; all of them without one."""
        if self.region is None or not self.on_map:
            return np.ones(len(self.scores), dtype=bool)
        return regions.inside(self.region, self.examples["x"].to_numpy(), self.examples["y"].to_numpy())

    @cached_property
    def kept(self) -> np.ndarray:
        """Mask of the examples that the lists may show: in the region, of the chosen class or source, in the bar."""
        kept = self.in_region if self.group is None else self.in_region & (self.groups == self.group).to_numpy()
        if self.within is not None:
            kept = kept & (self.examples["label"].fillna("") == self.within).to_numpy()
        kept = kept & self.known
        return kept if self.bar is None else kept & (lists.bars(self.scores) == self.bar)

    @property
    def narrowed(self) -> bool:
        """Whether the lists show a part of the examples only."""
        return self.group is not None or self.region is not None or self.bar is not None

    @cached_property
    def groups(self) -> pd.Series:
        """Each example's label or source, by which totals are summed; "" where it has none."""
        return self.examples[group_column(self.by)].fillna("")

    @cached_property
    def strongest(self) -> lists.Lists:
        """The lists by influence."""
        if self.order == state.DIVERSE and self.embedding is not None:
            return self._diverse
        keys = self.scores if self.relative is None else self.relative
        return lists.ranked(keys, self.count, self.kept & self.listed)

    @cached_property
    def relative(self) -> np.ndarray | None:
        """Scores over the sizes of the examples' own gradients, as shares of the largest; None in another order."""
        if self.order != state.RELATIVE or "gradient_norm" not in self.examples:
            return None
        return lists.relative(self.scores, self.examples["gradient_norm"].to_numpy())

    @cached_property
    def _diverse(self) -> lists.Lists:
        assert self.embedding is not None
        vectors, near = self.embedding.examples, diverse.run_radius(self.run)
        every = lists.ranked(self.scores, len(self.scores), self.kept & self.listed)
        return lists.Lists(
            *(diverse.one_a_neighbourhood(order, vectors, near, self.count) for order in (every.helpful, every.harmful))
        )

    @cached_property
    def rankings(self) -> dict[str, np.ndarray]:
        """Equally long lists by each ranking: both by influence as one, strongest first; the nearest; a random draw."""
        strongest = self.strongest.positions
        return {
            state.INFLUENCE: strongest[np.argsort(-np.abs(self.scores[strongest]), kind="stable")],
            state.NEAREST: self.nearest[self.kept[self.nearest]][: len(strongest)],
            state.RANDOM: self.random[self.kept[self.random]][: len(strongest)],
        }

    @cached_property
    def on_cards(self) -> np.ndarray:
        """Positions of all examples that have a card."""
        if self.ranking == state.ALL_THREE:
            return np.unique(np.concatenate(list(self.rankings.values())))
        return self.lists.positions

    @cached_property
    def random(self) -> np.ndarray:
        """Positions of all examples in a random order, always the same for a query."""
        return neighbours.random_order(int(self.query.row["id"]), len(self.scores))

    @cached_property
    def leads(self) -> leads.Leads | RunError:
        """How many predictions each example leads, or why that cannot be counted."""
        try:
            return leads.counted(self.run, self.stage, self.method)
        except RunError as error:
            return error

    @cached_property
    def everywhere(self) -> frozenset[int]:
        """The examples that lead so many predictions' lists that one more means little."""
        if isinstance(self.leads, RunError):
            return frozenset()
        return frozenset(np.flatnonzero(leads.everywhere(self.leads)).tolist())

    @cached_property
    def lists(self) -> lists.Lists:
        if self.ranking == state.NEAREST and self.cosines is not None:
            return lists.one(self.scores, 2 * self.count, self.kept, self.nearest)
        if self.ranking == state.RANDOM:
            return lists.one(self.scores, 2 * self.count, self.kept, self.random)
        if self.simpler is not None:
            return lists.one(self.scores, 2 * self.count, self.kept, np.argsort(-self.simpler, kind="stable"))
        return self.strongest

    @cached_property
    def cosines(self) -> np.ndarray | None:
        """Nearness of each example to the query in the embedding, if it is known."""
        if self.embedding is None or self.query.position is None:
            return None
        return self.embedding.cosines(self.query.position)

    @cached_property
    def nearest(self) -> np.ndarray:
        """Positions of all examples, nearest first; none if the embedding is not known."""
        if self.cosines is None:
            return np.empty(0, dtype=np.int64)
        return np.argsort(-self.cosines, kind="stable")

    @cached_property
    def among_nearest(self) -> frozenset[int]:
        """The examples of the lists by influence that are also among as many nearest neighbours."""
        strongest = self.strongest.positions
        near = self.nearest[self.kept[self.nearest]][: len(strongest)]
        return frozenset(np.intersect1d(strongest, near).tolist()) if self.comparable else frozenset()

    @property
    def comparable(self) -> bool:
        """Whether the lists could have held other examples than the nearest ones."""
        return self.cosines is not None and 0 < len(self.strongest.positions) < int(self.kept.sum())

    @cached_property
    def splits(self) -> splits.Splits:
        """How this query's scores split over tokens."""
        live = None
        if self.split is not None:
            ringed = [] if self.example is None else [self.example]
            live = self.split([*self.on_cards.tolist(), *ringed]) if self.shading == state.TOKENS else {}
        return splits.Splits(self.run, self.stage, self.method, self.query.position, live)

    @cached_property
    def patches(self) -> Mapping[int, np.ndarray]:
        """Row of each example that has a card -> what each patch of its picture does, if that is asked for."""
        if self.patch is None:
            return {}
        rows = [*self.on_cards.tolist(), *([] if self.example is None else [self.example])]
        rows = list(dict.fromkeys(rows))
        return dict(zip(rows, self.patch(rows), strict=True)) if rows else {}

    @cached_property
    def totals(self) -> pd.DataFrame:
        """Helpful and harmful totals by class (or source), of the region if there is one.

        Where not all scores are kept: of all examples; of a region, or of more groups than are kept, of those known.
        """
        if self.stored is not None and self.stored.kept is not None and self.region is None:
            found = self.stored.kept.totals(self.query.position or 0, group_column(self.by))
            if found is not None:
                return found
        in_region = self.in_region & self.known
        return lists.totals(self.scores[in_region], self.groups[in_region])

    @property
    def classes(self) -> list[str]:
        """The last stage's classes, which the query's probabilities are of."""
        return list(self.run.classes)


def group_column(by: str) -> str:
    """The examples' column that totals are summed by."""
    return "source" if by == state.SOURCE else "label"


def has_sources(examples: pd.DataFrame) -> bool:
    """Whether examples come from more than one source: with one, its total would say nothing."""
    return "source" in examples and len(examples["source"].fillna("").unique()) > 1
