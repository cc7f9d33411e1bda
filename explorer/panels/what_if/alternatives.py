"""What each edit alone would do: every label that the example could have, its votes back, twice, left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from explorer import components
from explorer.panels.what_if import choice
from explorer.ui import escape, theme
from influence.live import LEAVE_OUT, RELABEL, TAKE_BACK, UPWEIGHT, Alteration
from influence.run import Run

COMPONENT = "alternatives"
FIRST_LABELS = 12
"""Labels that are shown at first; more of them stand in the order of what they do."""
MOST_LABELS = 200
"""Labels that are sent at most."""
OWN = "as it is"
"""Key of the row of the example's own label, which is no edit."""
NAMES = {UPWEIGHT: "counted twice", LEAVE_OUT: "left out"}


def whole(stage: str, example: pd.Series) -> list[Alteration]:
    """The edits of a whole example that are no labels."""
    number = int(example["id"])
    return [Alteration(UPWEIGHT, stage, number, 1.0), Alteration(LEAVE_OUT, stage, number)]


def votes_back(stage: str, example: pd.Series, votes: Mapping[str, str]) -> list[Alteration]:
    """The edits that take each of the example's votes back."""
    return [Alteration(TAKE_BACK, stage, int(example["id"]), rule) for rule in votes]


def relabels(stage: str, example: pd.Series, classes: Sequence[str]) -> list[Alteration]:
    """The edits that give the example each of the classes as its label, its own too."""
    return [Alteration(RELABEL, stage, int(example["id"]), name) for name in classes]


def written(edit: Alteration) -> str:
    """A key of an edit among those of one example."""
    return f"{edit.kind} {edit.value}"


@dataclasses.dataclass(frozen=True)
class Alternatives:
    """Edits of one example, and the predicted change that each makes alone.

    Attributes:
        example: its row.
        labels: one edit a class, () without classes.
        label_changes: (C,) of these.
        others: further edits.
        other_changes: of these.
        chosen: what the visitor chose.
        unit: of the changes.
        words: what is judged by, unescaped.
        votes: rule -> the class that it votes for, where the example's label is the average of votes.
    """

    example: pd.Series
    labels: Sequence[Alteration]
    label_changes: np.ndarray
    others: Sequence[Alteration]
    other_changes: np.ndarray
    chosen: Sequence[Alteration]
    unit: theme.Unit
    words: str
    votes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def largest(self) -> float:
        """The end of the bars' scale."""
        return float(np.abs([*self.label_changes, *self.other_changes]).max(initial=0.0))

    def json(self) -> dict[str, Any]:
        """The bars as the component draws them."""
        listed = [self._row(self.labels[place], float(self.label_changes[place])) for place in self._order]
        rest = list(zip(self.others, self.other_changes.tolist(), strict=True))
        groups = [
            {"name": "if its label were", "rows": listed},
            {"name": "without the vote of", "rows": [self._row(*pair) for pair in rest if pair[0].kind == TAKE_BACK]},
            {"name": "if it were", "rows": [self._row(*pair) for pair in rest if pair[0].kind != TAKE_BACK]},
        ]
        return {
            "about": escape.visible(f"What each edit would do to {self.words}; press one to choose it"),
            "falls": f"{theme.FALLS} loss falls",
            "rises": f"loss rises {theme.RISES}",
            "groups": [group for group in groups if group["rows"]],
            "first": FIRST_LABELS,
        }

    @property
    def _order(self) -> list[int]:
        """Places of the labels that are listed: its own and what is chosen always."""
        if len(self.labels) <= FIRST_LABELS:
            return list(range(len(self.labels)))
        order = np.argsort(-np.abs(self.label_changes), kind="stable").tolist()
        always = [place for place, edit in enumerate(self.labels) if self._own(edit) or edit in self.chosen]
        return order[:MOST_LABELS] + [place for place in always if place not in order[:MOST_LABELS]]

    def _own(self, edit: Alteration) -> bool:
        return edit.kind == RELABEL and not self.votes and edit.value == str(self.example["label"])

    def _name(self, edit: Alteration) -> str:
        if edit.kind == TAKE_BACK:
            return f"{escape.beginning(edit.value, 40)}: {theme.group_name(self.votes[edit.value])}"
        return theme.group_name(edit.value) if edit.kind == RELABEL else NAMES[edit.kind]

    def _row(self, edit: Alteration, change: float) -> dict[str, Any]:
        name = self._name(edit)
        if self._own(edit):
            said = f"{name}: its label now, so nothing changes"
            return {"key": OWN, "name": name, "value": "its label", "sign": "", "title": said, "own": True}
        return {
            "key": written(edit),
            "name": name,
            "value": theme.moved(change, self.unit),
            "sign": "rises" if change > 0 else "falls" if change < 0 else "",
            "width": abs(change) / self.largest if self.largest else 0.0,
            "title": escape.visible(f"{name}: {self.words} is predicted to {theme.change_words(change, self.unit)}"),
            "pressed": edit in self.chosen,
        }


def draw(run: Run, shown: Alternatives) -> None:
    """Draw the bars; a press chooses an edit, or takes it back."""

    def pick() -> None:
        made = {written(each): each for each in (*shown.labels, *shown.others)}
        edit = made.get(str(components.event(COMPONENT, "picked")))
        choice.choose(run, [] if edit is None or edit in shown.chosen else [edit])

    components.alternatives(key=COMPONENT, data=shown.json(), on_picked_change=pick)
