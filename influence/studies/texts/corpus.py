"""The texts of one stage, or the queries: what every text study is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Corpus:
    """Texts with labels, ids, titles and sources. Each sequence is as long as `texts`, or empty if unknown.

    Attributes:
        texts: never empty ones.
        labels: classes; to pretrain on, any groups or none.
        ids: stable numbers, each once; default the position.
        titles: short names to show, which the model does not read.
        sources: where each comes from.
    """

    texts: Sequence[str]
    labels: Sequence[str] = ()
    ids: Sequence[int] = ()
    titles: Sequence[str] = ()
    sources: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def chosen(self, rows: Sequence[int]) -> Corpus:
        """Some of the texts, which keep their ids."""
        kept = {name: [part[row] for row in rows] for name, part in vars(self).items() if len(part)}
        return Corpus(**{"ids": list(rows), **kept})
