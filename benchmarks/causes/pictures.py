"""The demo's digits with a source of pretraining digits that is rotated, or with swapped labels."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from influence.studies.images.digits import PRETRAIN, Digits

DRAWS = 12, 300, 13
"""Beside the study's seed, what seeds the draw of the planted digits, that of the queries, and the wrong labels."""


class PlantedDigits(Digits):
    """`digits` with `planted` of its pretraining digits changed.

    Args:
        seed: of the study, and of the draw of the planted digits.
        rotated: the planted digits lie on their side, and so does the first of the three parts of the queries; else
            their labels are another one of 0 to 3, and pictures are as they are.
        planted, queries: how many.
    """

    def __init__(self, seed: int, *, rotated: bool, planted: int, queries: int):
        super().__init__(seed)
        self.rotated, self._counts = rotated, (planted, queries)

    @cached_property
    def planted(self) -> np.ndarray:
        """Which of the 5,000 digits are planted."""
        drawn = np.random.default_rng([self.seed, DRAWS[0]]).permutation(self._clean._rows["pretrain"])
        return np.sort(drawn[: self._counts[0]])

    @cached_property
    def _clean(self) -> Digits:
        return Digits(self.seed)

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        drawn = np.random.default_rng([self.seed, DRAWS[1]]).permutation(self._clean._rows["queries"])
        return {**self._clean._rows, "queries": drawn[: self._counts[1]]}

    @cached_property
    def _digits(self) -> tuple[np.ndarray, np.ndarray]:
        images, labels = (values.copy() for values in self._clean._digits)
        if self.rotated:
            turned = np.concatenate([self.planted, self._rows["queries"][: self._counts[1] // 3]])
            images[turned] = np.rot90(images[turned], axes=(1, 2))
        else:
            other = np.random.default_rng([self.seed, DRAWS[2]]).integers(1, len(PRETRAIN), len(self.planted))
            labels[self.planted] = (labels[self.planted] + other) % len(PRETRAIN)
        return images, labels
