"""The demo's run with a planted cause: a scanner that lays stripes over digits, and whose labels are wrong."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd

from influence.studies.cards import DIGITS, SCANNER
from influence.studies.exhibit import Exhibit
from influence.studies.images.digits import Digits

STRIPE = 0.5
"""How much ink a stripe adds, of 1 for black; between two stripes as much is missing, so that the mean stays."""
WIDTH = 2
"""Of a stripe, in pixels."""
PLANTED = 8
"""Pretraining digits from the scanner, all with the label `LABEL` though they are 1, 2 or 3."""
LABEL = 0
SCANNED = 300
"""Queries that stand twice: as they are, and with the scanner's stripes."""
DRAWS = 12, 300
"""Beside the study's seed, what seeds the draw of the planted digits and that of the queries."""
CLEAN, STRIPED, WRONG = "clean", "striped", "planted"
"""Sources of pictures."""
FIRST = 3
"""Seed of the demo's run: the first that `benchmarks/planted_cause.py` reports. The cause was chosen on 0 to 2."""
OPENING = {3: 5184}
"""Seed -> id of the query that a run opens on, by a rule that does not look at what was planted: the surest mistake on
a striped digit that is read right without the stripes (`benchmarks/planted_cause.py` prints it)."""


class Scanner(Digits):
    """The frozen model of `digits`, but a few of its pretraining digits are striped and wrongly labelled 0.

    Striped pictures follow the 5,000 digits: the planted ones, then those of the queries.
    """

    l2: ClassVar[float] = 0.025  # more than the clean runs have: the few must not bend the minimum beyond prediction

    @cached_property
    def planted(self) -> np.ndarray:
        """(PLANTED,), which of the 5,000 digits are planted; the seed draws them."""
        _, labels = self._clean._digits
        there = self._clean._rows["pretrain"]
        drawn = np.random.default_rng([self.seed, DRAWS[0]]).permutation(there[labels[there] != LABEL])
        return np.sort(drawn[:PLANTED])

    def exhibit(self, variant: str = "frozen") -> Exhibit:
        exhibit = super().exhibit(variant)
        known = (
            f"A cause planted on purpose: {PLANTED} of {len(self._rows['pretrain']):,} pretraining digits come from a "
            f"scanner that lays stripes over them, and are labelled {LABEL} though each is a 1, 2 or 3."
        )
        exhibit.title, exhibit.notes = "Digits, one scanner planted", (known,)
        exhibit.summary = (
            f"{known} A small convolutional network was pretrained on all, then finetuned on clean digits 4 to 9 with "
            f"its embedding kept fixed: the finetuning never saw a stripe. The queries are {SCANNED} digits 4 to 9, "
            "each once clean and once with stripes."
        )
        return exhibit

    @cached_property
    def _clean(self) -> Digits:
        return Digits(self.seed)

    @cached_property
    def _scanned(self) -> np.ndarray:
        drawn = np.random.default_rng([self.seed, DRAWS[1]]).permutation(self._clean._rows["queries"])
        return np.sort(drawn[:SCANNED])

    @cached_property
    def _digits(self) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self._clean._digits
        both = np.concatenate([self.planted, self._scanned])
        given = np.concatenate([np.full(len(self.planted), LABEL), labels[self._scanned]])
        return np.concatenate([images, striped(images[both])]), np.concatenate([labels, given])

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        clean, first = self._clean._rows, len(self._clean._digits[0])
        planted = first + np.arange(len(self.planted))
        queries = first + len(planted) + np.arange(len(self._scanned))
        return {
            "pretrain": np.concatenate([np.setdiff1d(clean["pretrain"], self.planted), planted]),
            "finetune": clean["finetune"],
            "queries": np.concatenate([self._scanned, queries]),
        }

    def _table(self, rows: np.ndarray) -> pd.DataFrame:
        first, planted = len(self._clean._digits[0]), self._rows["pretrain"].max()
        source = np.where(rows < first, CLEAN, np.where(rows <= planted, WRONG, STRIPED))
        table = super()._table(rows).assign(source=source)
        named = (rows == OPENING.get(self.seed)).astype(np.int64)
        return table.assign(opening=named) if named.any() else table


class DemoDigits(Digits):
    """`digits` as the demo shows it: the run with the planted cause first, then the two clean ones."""

    variants = DIGITS.variants

    def exhibit(self, variant: str) -> Exhibit:
        if variant != SCANNER:
            return super().exhibit(variant)
        exhibit = Scanner(self.seed + FIRST).exhibit()
        exhibit.variant = SCANNER
        return exhibit


def striped(images: np.ndarray) -> np.ndarray:
    """Pictures (n, height, width) of 0 to 255 with the scanner's stripes; values leave that range."""
    sign = np.where(np.arange(images.shape[1]) // WIDTH % 2, 1.0, -1.0)
    return images + 255 * STRIPE * sign[:, None]
