"""`Votes`: labels that come from rules, each of which votes for a class or abstains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from influence.errors import StudyError, listed
from influence.study.edits import Edit, leave_out, relabel
from influence.study.positions import plain, positions

ABSTAINS = -1


class Votes:
    """The votes of rules on the examples of a stage, whose labels are the average of the votes of each.

        votes = Votes([[0, 0, 1], [2, -1, -1]], classes=3)
        votes.labels    # [[2/3, 1/3, 0], [0, 0, 1]]

    Args:
        table: (m, rules), the class that each rule votes for, -1 where it abstains.
        classes: how many the stage has.
        rules: their names, for people; default their numbers.

    Attributes:
        table: (m, rules), int64.
        classes: how many the stage has.
        rules: names of the rules.

    Raises:
        StudyError: the table is of another form, names a class that the stage does not have, or has an example on which
            all rules abstain: such an example has no label, so it cannot be in the stage's data. Or the names are not
            one a rule, each another.
    """

    def __init__(self, table: Any, classes: int, rules: Sequence[str] | None = None):
        given = np.asarray(plain(table))
        if given.ndim != 2 or not given.size or not np.issubdtype(given.dtype, np.number):
            raise StudyError(f"The votes have shape {given.shape}, expected numbers of shape (examples, rules).")
        odd = (given != np.round(given)) | (given < ABSTAINS) | (given >= classes)
        if odd.any():
            row, rule = map(int, np.argwhere(odd)[0])
            raise StudyError(
                f"Rule {rule} votes {given[row, rule]!s} on example {row}, expected a class from 0 to {classes - 1}, "
                f"or {ABSTAINS} where it abstains."
            )
        self.table, self.classes = given.astype(np.int64), int(classes)
        self.rules = [str(name) for name in (range(given.shape[1]) if rules is None else rules)]
        if len(self.rules) != given.shape[1] or len(set(self.rules)) < len(self.rules) or not all(self.rules):
            raise StudyError(
                f"The rules are called {listed(map(repr, self.rules))}, expected {given.shape[1]} names, each another."
            )
        silent = np.flatnonzero(self.counts == 0)
        if len(silent):
            raise StudyError(
                f"All rules abstain on {len(silent)} examples ({listed(map(str, silent.tolist()))}), which have no "
                "label then. Take them out of the votes and of the stage's data."
            )

    @cached_property
    def counts(self) -> np.ndarray:
        """(m,), how many rules vote on each example."""
        return (self.table != ABSTAINS).sum(1)

    @cached_property
    def labels(self) -> np.ndarray:
        """(m, classes), float64: the average of each example's votes, its label."""
        return self._tallies / self.counts[:, None]

    @cached_property
    def _tallies(self) -> np.ndarray:
        """(m, classes), how many votes each class has."""
        return (self.table[:, :, None] == np.arange(self.classes)).sum(1)

    def named(self, classes: Sequence[str]) -> pd.DataFrame:
        """A vote a row, by examples: `example` (its row), `rule` and `vote`, by the names of rules and `classes`."""
        examples, rules = np.nonzero(self.table != ABSTAINS)
        given = self.table[examples, rules]
        names = {"rule": np.array(self.rules, object)[rules], "vote": np.array(list(classes), object)[given]}
        return pd.DataFrame({"example": examples.astype(np.int32)} | names)

    def take_back(self, stage: str | None, rule: int, rows: Iterable[int] | None = None) -> list[Edit]:
        """Edits by which a rule takes its votes back: labels become the average of the votes that remain.

        An example that no other rule votes on leaves the stage.

        Args:
            stage: whose examples these are; None is the first.
            rule: number of the rule.
            rows: examples, on all of which it votes; None: all on which it does, so the rule is switched off.

        Raises:
            StudyError: there is no such rule, or it does not vote on one of `rows`, or on none at all.
        """
        rules = self.table.shape[1]
        if isinstance(rule, bool) or rule not in range(rules):
            raise StudyError(f"There is no rule {rule!r}; they are 0 to {rules - 1}.")
        voting = np.flatnonzero(self.table[:, rule] != ABSTAINS)
        chosen = voting if rows is None else np.array(positions(rows, "rows"))
        wrong = sorted(set(chosen.tolist()) - set(voting.tolist()))
        if wrong or not len(chosen):
            raise StudyError(
                f"Rule {rule} takes back no vote on {listed(map(str, wrong)) or 'any example'}: it abstains."
            )
        taken = np.zeros_like(self.table, dtype=bool)
        taken[chosen, rule] = True
        return self.without(stage, taken)

    def without(self, stage: str | None, taken: np.ndarray) -> list[Edit]:
        """The edits by which any votes are taken back together: at most one relabelling and one leaving out.

        Examples whose other votes have the same average stay as they are, unless there are no others to edit.

        Args:
            stage: whose examples these are; None is the first.
            taken: (m, rules) bool, which votes; where a rule abstains there is none to take.

        Raises:
            StudyError: no vote is taken, or `taken` is of another shape.
        """
        if taken.shape != self.table.shape:
            raise StudyError(f"The votes that are taken back have shape {taken.shape}, expected {self.table.shape}.")
        taken = taken & (self.table != ABSTAINS)
        touched = np.flatnonzero(taken.any(1))
        if not len(touched):
            raise StudyError("No vote is taken back, expected at least one.")
        left = self.counts[touched] - taken[touched].sum(1)
        rows, out = touched[left > 0], touched[left == 0]
        found = []
        if len(rows):
            kept = np.where(taken[rows], ABSTAINS, self.table[rows])
            tallies = (kept[:, :, None] == np.arange(self.classes)).sum(1)
            labels = tallies / tallies.sum(1, keepdims=True)
            moved = np.abs(labels - self.labels[rows]).max(1) > 0
            if len(out) or moved.any():
                rows, labels = rows[moved], labels[moved]
            if len(rows):
                found.append(relabel(stage, rows, labels))
        if len(out):
            found.append(leave_out(stage, out))
        return found
