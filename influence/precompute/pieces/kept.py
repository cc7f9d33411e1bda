"""What is kept of the scores of a span of examples, where a run keeps the strongest; and how spans are merged.

A score is looked at once, with all queries' scores of its span. What is kept of a span is small beside them, and spans
are merged in their order, whoever computed them: no process holds the scores of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from influence.errors import RunError
from influence.precompute.pieces.keys import keys_of, strongest
from influence.precompute.pieces.work import Span, Work
from influence.run.kept import histogram

QUERIES_AT_ONCE = 256
"""Queries whose scores of a span are ordered at a time."""
HELPFUL, HARMFUL, SAMPLED, SLICES = "helpful", "harmful", "sampled", "slices"
"""Tensors of a span: keys (Q, k) of the strongest of either sign, scores (Q, s) of the sample, sums (slices, n)."""
EXPONENT, COUNTS, SUMS = "exponent", "counts", "sums"
"""Of the histogram's width (Q,), its counts (Q, bars), and helpful and harmful sums by group (2, Q, groups)."""


@dataclass(frozen=True)
class Plan:
    """What is kept of a stage's scores, beside the strongest: equal for every process.

    Attributes:
        sample: rows of the examples of which all scores are kept, ascending.
        groups: (ways of grouping, m), the group of each example, of all groups; -1: of none.
        slices: (slices, Q), bool: the queries of each slice.
        count: of the groups.
    """

    sample: np.ndarray
    groups: np.ndarray
    slices: np.ndarray
    count: int

    def tensors(self) -> dict[str, Tensor]:
        found = {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in PLANNED}
        return found | {"count": torch.tensor(self.count)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Plan:
        sample, groups, slices = (tensors[name].numpy() for name in PLANNED)
        return cls(sample, groups, slices, int(tensors["count"]))


PLANNED = ("sample", "groups", "slices")


class SpanKept:
    """What is kept of one span of the examples, from row `start` on.

    Args:
        plan: of the stage.
        most: of the strongest scores of either sign and query.
    """

    def __init__(self, plan: Plan, most: int):
        self.plan, self.most = plan, most

    def of(self, start: int, block: np.ndarray) -> dict[str, Tensor]:
        """Of scores (Q, n), float32.

        Raises:
            RunError: a score is not finite.
        """
        if not np.isfinite(block).all():
            raise RunError(f"Scores of examples {start:,} to {start + block.shape[1]:,} are not finite.")
        rows = [block[at : at + QUERIES_AT_ONCE] for at in range(0, len(block), QUERIES_AT_ONCE)]
        parts = [self._of_some(start, part) for part in rows]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != SUMS}
        found[SUMS] = np.concatenate([part[SUMS] for part in parts], axis=1)
        sums = [block[chosen].sum(axis=0, dtype=np.float64) for chosen in self.plan.slices.astype(bool)]
        found[SLICES] = np.stack(sums).astype(np.float32)
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found.items()}

    def _of_some(self, start: int, block: np.ndarray) -> dict[str, np.ndarray]:
        stop, sample = start + block.shape[1], self.plan.sample
        exponent = histogram.exponents(block)
        return {
            HELPFUL: strongest(keys_of(block, start), self.most),
            HARMFUL: strongest(keys_of(-block, start), self.most),
            EXPONENT: exponent,
            COUNTS: histogram.counted(block, exponent).astype(np.int32),
            SAMPLED: block[:, sample[(sample >= start) & (sample < stop)] - start],
            SUMS: self._sums(block, self.plan.groups[:, start:stop]),
        }

    def _sums(self, block: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Helpful and harmful sums by group, float64 (2, Q, groups), examples in their order."""
        found = np.zeros((2, len(block), self.plan.count))
        for way in groups:
            order = np.argsort(way, kind="stable")
            order = order[way[order] >= 0]
            if not len(order):
                continue
            names, starts = np.unique(way[order], return_index=True)
            ordered = block[:, order].astype(np.float64)
            for place, signed in enumerate((np.maximum(ordered, 0), np.minimum(ordered, 0))):
                found[place][:, names] = np.add.reduceat(signed, starts, axis=1)
        return found


def merged(parts: Sequence[Mapping[str, Tensor]], most: int) -> dict[str, Tensor]:
    """What is kept of several spans, given in their order; without sums over slices, which belong to the examples."""
    found = {name: values.numpy() for name, values in parts[0].items() if name != SLICES}
    for part in parts[1:]:
        other = {name: values.numpy() for name, values in part.items()}
        for name in (HELPFUL, HARMFUL):
            found[name] = strongest(np.concatenate([found[name], other[name]], axis=1), most)
        exponent = np.maximum(found[EXPONENT], other[EXPONENT])
        counts = [histogram.widened(each[COUNTS], each[EXPONENT], exponent) for each in (found, other)]
        found[COUNTS] = counts[0] + counts[1]
        found[EXPONENT] = exponent
        found[SAMPLED] = np.concatenate([found[SAMPLED], other[SAMPLED]], axis=1)
        found[SUMS] = found[SUMS] + other[SUMS]
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found.items()}


@dataclass(frozen=True)
class SpanStrongest(Span):
    """What is kept of the scores of a span, by the plan in the draft, as a file of its own in `folder`."""

    most: int
    folder: str

    kind = "scores"

    @property
    def file(self) -> str:
        return f"{self.folder}/{self.start}.safetensors"

    def by(self, work: Work) -> Any:
        blocks = list[np.ndarray]()
        for positions, block in work.scoring(self.stage, self.method).batches(self.start, self.stop):
            blocks.append(block.cpu().numpy().astype(np.float32))
            work.advance(positions.stop - positions.start)
        scores = np.concatenate(blocks, axis=1)
        blocks.clear()
        plan = Plan.of(work.writer.tensors(plan_file(self.stage)))
        work.writer.write_tensors(self.file, SpanKept(plan, self.most).of(self.start, scores))
        return work.objective(self.stage).remarks.compression


def plan_file(stage: str) -> str:
    """The draft's file of a stage's `Plan`."""
    return f"work/kept-{stage}.safetensors"
