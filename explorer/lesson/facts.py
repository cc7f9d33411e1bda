"""Facts that the lesson states of a run, first of all the prediction that it teaches from.

Properties without a docstring are sentences, escaped for markdown. Only the steps that need them read them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from explorer.runs import neighbours, queries, score_arrays, slices
from explorer.ui import amounts, escape, theme
from explorer.view import lists
from influence.errors import RunError
from influence.run import Run, SliceKind, StageScores, slice_names, slice_rows

MOST_NAMED_CLASSES = 8
"""At most so many classes are all named; of more, only the first three are."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A run with scores and classes, as a lesson sees it."""

    run: Run

    @cached_property
    def position(self) -> int:
        """Row of the prediction that is taught from: the one that Explore opens on."""
        return queries.opening(self.run.queries())

    @cached_property
    def stages(self) -> list[str]:
        """The stages whose examples have scores, first to last."""
        return score_arrays.scored_stages(self.run)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """The first stage's examples, which the lesson lists."""
        return self.run.examples(self.stages[0])

    def scores(self, position: int) -> np.ndarray:
        """The first stage's scores of the prediction at `position`, nats, positive = helpful."""
        return score_arrays.row(self.run, self.stages[0], self.run.methods(self.stages[0])[0], position)

    @cached_property
    def own(self) -> np.ndarray:
        """Scores of the prediction that is taught from."""
        return self.scores(self.position)

    @cached_property
    def known(self) -> StageScores:
        """What the run keeps of the first stage's scores."""
        return score_arrays.known(self.run, self.stages[0], self.run.methods(self.stages[0])[0])

    @cached_property
    def listed(self) -> np.ndarray:
        """Mask of the examples that lists of the prediction are of."""
        found = score_arrays.listed(self.run, self.stages[0], self.run.methods(self.stages[0])[0], self.position)
        return np.ones(len(self.own), dtype=bool) if found is None else found

    @cached_property
    def unit(self) -> theme.Unit:
        method = self.run.methods(self.stages[0])[0]
        return amounts.unit(self.run, method, self.stages[0], self.own)

    def amount(self, score: float, rank: int) -> str:
        """A score with arrow and unit; its `rank` among those of its sign where its size means nothing."""
        arrow = theme.HELPFUL if score > 0 else theme.HARMFUL if score < 0 else ""
        return f"{arrow} {self.unit.of_one(score, rank)} {self.unit.name}".strip()

    @property
    def _asked(self) -> pd.Series:
        return self.run.queries().iloc[self.position]

    @property
    def query(self) -> str:
        return str(self._asked["id"])

    @property
    def queries(self) -> str:
        return f"{len(self.run.queries()):,}"

    @property
    def mistaken(self) -> bool:
        """Whether the prediction is a mistake; a run without any teaches from the least sure hit."""
        return bool(self._asked["prediction"] != self._asked["label"])

    @property
    def what_happened(self) -> str:
        true, said = (escape.for_markdown(self._asked[name]) for name in ("label", "prediction"))
        sure = theme.percent(float(self._asked["confidence"]))
        if self.mistaken:
            return f"Test item #{self.query} is “{true}”. The model said “{said}”, and was {sure} sure of it."
        return f"This model makes no mistake here. Of test item #{self.query}, “{said}”, it was least sure: {sure}."

    @cached_property
    def cell(self) -> tuple[str, str]:
        """The prediction's cell of the confusion matrix: (true, predicted)."""
        return str(self._asked["label"]), str(self._asked["prediction"])

    @property
    def in_cell(self) -> str:
        return f"{len(queries.positions_in_list(self.run.queries(), cell=self.cell)):,}"

    @property
    def m(self) -> str:
        return f"{len(self.examples):,}"

    @property
    def stage(self) -> str:
        return escape.for_markdown(theme.stage_word(self.stages[0]))

    @property
    def last(self) -> str:
        return escape.for_markdown(theme.stage_word(self.stages[-1]))

    @property
    def last_title(self) -> str:
        return self.last.capitalize()

    @property
    def first_learnt(self) -> str:
        """The task of the first stage."""
        classes = self.run.stage(self.stages[0]).classes
        return f"to tell {named(classes)} apart" if classes else "to predict them word by word"

    @property
    def last_learnt(self) -> str:
        return f"to tell {named(self.run.classes)} apart"

    @property
    def stranger(self) -> str:
        """A word on the true class where the first stage does not have it."""
        if self.cell[0] in set(self.examples["label"]):
            return ""
        return f" None of them is “{escape.for_markdown(self.cell[0])}”: that came later."

    @cached_property
    def worst(self) -> int:
        """Row of the example that harms the prediction most."""
        return int(np.nanargmin(self.own))

    @property
    def worst_words(self) -> str:
        better = "do better here by that much" if self.unit.name else "do better here, by how much is not known"
        return f"Without {self.example_words(self.worst, self.own)} the model is predicted to {better}."

    def example_words(self, row: int, scores: np.ndarray) -> str:
        """An example by id, label and score."""
        example = self.examples.iloc[row]
        label = escape.for_markdown(theme.group_name(example["label"]))
        return f"#{example['id']} (“{label}”, {self.amount(float(scores[row]), lists.rank(scores, row))})"

    def share(self, count: int) -> str:
        """Part of all influence that the cards of a `count` a list carry."""
        shown = lists.ranked(self.own, count, self.listed).positions
        if not self.unit.name:
            return f"The {len(shown)} shown are its ends"
        carried = theme.percent(lists.share(self.own, shown, self.known.absolute(self.position)))
        return f"The {len(shown)} shown carry {carried} of all influence"

    @property
    def share_of_few(self) -> str:
        return self.share(5)

    @property
    def share_of_many(self) -> str:
        return self.share(20)

    @cached_property
    def nearest(self) -> np.ndarray | None:
        """Rows of the ten examples nearest to the prediction; None where the run cannot tell."""
        try:
            embedding = neighbours.embedding(self.run)
        except RunError:
            return None
        if embedding is None or neighbours.mapped(self.run) is not self.examples:
            return None
        return np.argsort(-embedding.cosines(self.position), kind="stable")[:10]

    @cached_property
    def alike(self) -> int:
        """Row of the look-alike with the lowest score."""
        assert self.nearest is not None
        return int(self.nearest[self.own[self.nearest].argmin()])

    @property
    def alike_words(self) -> str:
        does = "yet harms" if self.own[self.alike] < 0 else "and helps least"
        return f"{self.example_words(self.alike, self.own)} looks alike, {does}"

    @property
    def overlap(self) -> str:
        assert self.nearest is not None
        shown = lists.ranked(self.own, 5, self.listed).positions
        return f"{len(np.intersect1d(shown, self.nearest))} of the {len(self.nearest)} nearest"

    @cached_property
    def totals(self) -> pd.DataFrame:
        """Helpful and harmful totals by class."""
        kept = self.known.kept
        found = kept.totals(self.position, "label") if kept else None
        if found is not None:
            return found
        there = np.isfinite(self.own)
        return lists.totals(self.own[there], self.examples["label"].fillna("")[there])

    @cached_property
    def heaviest(self) -> str:
        """The class with the largest harmful total, as it is in the data."""
        return str(self.totals["harmful"].idxmin())

    @property
    def heaviest_words(self) -> str:
        total = self.totals.loc[self.heaviest]
        name = escape.for_markdown(theme.group_name(self.heaviest))
        if not self.unit.name:
            return f"“{name}” has the largest harmful total"
        sums = np.asarray(total[["harmful", "helpful"]], dtype=float).tolist()
        harmful, helpful = (self.amount(each, 1) for each in sums)
        return f"“{name}” harms by {harmful} and helps by {helpful}"

    @property
    def slice_words(self) -> str:
        return "mistakes" if SliceKind.WRONG in slice_names(self.run.queries()) else "predictions"

    @cached_property
    def slice_sums(self) -> np.ndarray:
        """Scores summed over the predictions that Suspects opens on, nats."""
        table = self.run.queries()
        name = SliceKind.WRONG if self.slice_words == "mistakes" else SliceKind.ALL
        method = self.run.methods(self.stages[0])[0]
        found = slices.totals(self.run, self.stages[0], method, name, slice_rows(table, name, self.position))
        if found is None:
            raise RunError(f"Run {self.run.name} keeps no sums over its {self.slice_words}.")
        return found

    @property
    def measured(self) -> str:
        """The measured effect of retraining without the most harmful examples, if there was such a retraining."""
        table = self.run.validation("removal")
        if table is not None:
            table = table[(table["kind"] == "harmful") & (table["left_out"] > 0)]
        if table is None or table.empty:
            return self._measured_alone
        first = table[table["left_out"] == table["left_out"].min()]
        change, predicted = float((first["loss"] - first["loss_before"]).mean()), float(first["predicted"].mean())
        told = (
            f"; {theme.signed(predicted * self.unit.slope)} was predicted"
            if self.unit.name
            else ", which an order only cannot predict"
        )
        return (
            f"Really retrained without its {int(first['left_out'].iloc[0]):,} most harmful examples, this model's "
            f"mean loss changed by {theme.signed(change)} nat{told}."
        )

    @property
    def _measured_alone(self) -> str:
        """The measured effect of leaving out single examples, if any was."""
        table = self.run.validation("summary")
        words = [] if table is None else table.loc[table["check"] == "leave-one-out", "words"].tolist()
        if words:
            return f"What retraining this model says of such predictions: {escape.for_markdown(words[0])}"
        return (
            "Nobody measured it on this run yet: “Really retrain without these”, below the basket, does. The next step "
            "retrains a smaller model at once."
        )

    def strongest_harm(self, position: int) -> int:
        """Row of the example that harms the prediction at `position` most."""
        return int(np.nanargmin(self.scores(position)))


def named(classes: Sequence[str]) -> str:
    """Classes in a sentence, escaped."""
    shown = [
        escape.for_markdown(name) for name in classes[: MOST_NAMED_CLASSES if len(classes) <= MOST_NAMED_CLASSES else 3]
    ]
    if len(shown) < len(classes):
        return f"{', '.join(shown)} and {len(classes) - len(shown)} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else "nothing"
