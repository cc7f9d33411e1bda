"""Ground truths: what training without some digits really does to the loss of every test digit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from influence.validation.pieces import Pieces
from influence.validation.statistics import pearson, spearman
from mnist.training import Digits, Network, trained

ANOTHER = 100_000
"""Distance of the seeds of the second ground truth from those of the first."""


@dataclasses.dataclass(frozen=True)
class Halves:
    """Random halves of the digits, and each test digit's loss after training on each: (S, Q), nats.

    Attributes:
        kept: the digits of each half.
        first: with another seed for each half, as dattri trains them.
        second: the same with other seeds again.
        same: all with the seed of the first of the models that are explained.
    """

    kept: Sequence[np.ndarray]
    first: np.ndarray
    second: np.ndarray
    same: np.ndarray

    @property
    def ceiling(self) -> float:
        """Rank correlation of the two independent ground truths: nothing that knows no seeds agrees much better."""
        return float(np.nanmean(spearman(self.first.T, self.second.T)))


class Truth:
    """Trains again, and keeps every outcome.

    Args:
        network, data: what on what.
        pieces: where outcomes are kept.
        advance: called after each training.
    """

    def __init__(self, network: Network, data: Digits, pieces: Pieces, advance: Callable[[], None]):
        self.network, self.data, self.pieces, self.advance = network, data, pieces, advance

    def halves(self, count: int) -> Halves:
        half = len(self.data) // 2
        kept = [np.random.default_rng(1 + i).choice(len(self.data), half, replace=False) for i in range(count)]
        first, second, same = (
            np.stack([self._losses(rows, seed(1 + i)) for i, rows in enumerate(kept)])
            for seed in (lambda i: i, lambda i: ANOTHER + i, lambda i: 0)
        )
        return Halves(kept, first, second, same)

    def left_out(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Some digits (n,), and the losses after training without each (n, Q), with one seed and in a fixed order."""
        alone = np.sort(np.random.default_rng(0).choice(len(self.data), count, replace=False))
        everything = np.arange(len(self.data))
        return alone, np.stack([self._losses(np.delete(everything, i), 0, shuffled=False) for i in alone])

    def _losses(self, kept: np.ndarray, seed: int, shuffled: bool = True) -> np.ndarray:
        settings = {k: v for k, v in dataclasses.asdict(self.network).items() if k != "make"}
        key = ["mnist10", settings, len(self.data), len(self.data.test_labels), kept.tolist(), seed, shuffled]
        table = self.pieces.get(key)
        if table is None:
            table = pd.DataFrame(
                {"loss": self.data.losses(trained(self.network, self.data, kept.tolist(), seed, shuffled))}
            )
            self.pieces.put(key, table)
        self.advance()
        return table["loss"].to_numpy()


def lds(scores: np.ndarray, kept: Sequence[np.ndarray], losses: np.ndarray) -> float:
    """Rank correlation of minus the scores (Q, m) summed over the kept digits with the losses (S, Q), over queries."""
    summed = np.stack([-scores[:, rows].sum(1) for rows in kept], axis=1)
    return float(np.nanmean(spearman(summed, losses.T)))


def leave_one_out(scores: np.ndarray, alone: np.ndarray, losses: np.ndarray) -> float:
    """Pearson's r, over digits left out alone, of scores with losses (n, Q); its mean over queries."""
    return float(np.nanmean(pearson(scores[:, alone], losses.T)))
