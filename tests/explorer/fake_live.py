"""An opened run that answers at once with made-up numbers, for tests of what pages do with them."""

from __future__ import annotations

import dataclasses

import numpy as np

from influence.errors import StudyError
from influence.live import LEAVE_OUT, MASK, RELABEL, STRIKE, SWITCH_OFF, TAKE_BACK, UPWEIGHT


@dataclasses.dataclass
class Together:
    first: float
    total: float
    warnings: tuple[str, ...] = ()


class FakeWhatIf:
    """Each label, edit and patch has a change of its own, so that a mistaken one is seen; it keeps what was asked."""

    def __init__(self, run):
        self.run, self.asked = run, []

    def labels(self, criterion, stage, rows=None):
        self.asked.append(("labels", criterion, stage, rows))
        count = len(self.run.stage(stage).classes)
        return np.tile(np.arange(count, dtype=np.float32)[None] * 1e-3 - 1e-3, (len(rows), 1))

    def alone(self, criterion, alterations):
        self.asked.append(("alone", criterion, tuple(alterations)))
        return np.array([self._change(each) for each in alterations], np.float32)

    def votes(self, criterion, stage):
        """Of later votes more falls."""
        self.asked.append(("votes", criterion, stage))
        return -np.arange(len(self.run.votes(stage)), dtype=np.float32) * 1e-3

    def together(self, criterion, alterations, steps=3):
        total = float(sum(self._change(each) for each in alterations))
        return Together(total, total)

    def patches(self, criterion, stage, rows, side):
        self.asked.append(("patches", criterion, stage, tuple(rows)))
        found = np.zeros((len(rows), 7, 7), np.float32)
        found[:, 0, 6], found[:, 6, 0] = 4e-3, -2e-3
        return found

    def size(self, stage, row):
        return 28, 28

    def _change(self, edit):
        if edit.kind == MASK and edit.value[0] + edit.value[2] > 28:
            raise StudyError("The mask is no part of a picture of 28 x 28 pixels.")
        return {
            LEAVE_OUT: -5e-3,
            UPWEIGHT: 5e-3,
            RELABEL: 1e-3,
            MASK: 3e-3,
            STRIKE: 7e-3,
            TAKE_BACK: -2e-3,
            SWITCH_OFF: -9e-3,
        }[edit.kind]


class FakeLive:
    ready = True
    warnings = order_only = ()
    form = "text"

    def __init__(self, run):
        self.classes, self.what_if = run.classes, FakeWhatIf(run)
