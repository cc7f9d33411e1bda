"""A block of queries, pulled back through all stages and solved at each."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Subset

from influence.attribution.chain import WayBack
from influence.attribution.memory import VECTOR_COPIES
from influence.curvature.method import PER_QUERY
from influence.derivatives import Objective
from influence.precompute.needs import VECTOR_BYTES
from influence.precompute.pieces.work import Part, Work
from influence.run.draft import Draft

BLOCK_QUERIES = 256
"""Queries of a block at most: conjugate gradients solve so many together."""


@dataclass(frozen=True)
class QueryBlock(Part):
    """Queries `start` to `stop`. The record has what solvers report of each, and hashes of what was written."""

    @property
    def step(self) -> str:
        return f"pull {self.method} {self.start}"

    def by(self, work: Work) -> dict[str, Any]:
        solvers = [work.solver(objective, self.method) for objective in work.objectives]
        return self.pull(WayBack(work.study, work.objectives, solvers), work)

    def pull(self, way: WayBack, work: Work) -> dict[str, Any]:
        """Pull these queries back on a way, and write them; the record."""
        stages: Iterable[tuple[Objective, Tensor]] = way.pull_back(
            way.query_gradients(Subset(way.study.queries, range(self.start, self.stop)))
        )
        hashes = {}
        for objective, solved in stages:
            vectors = work.vectors(objective.stage.name, self.method)
            vectors.write(self.rows, solved)
            hashes[objective.stage.name] = vectors.sha256(self.rows)
        work.advance(self.size)
        # Copied: solving for self-influence puts its own residuals into the solvers' reports.
        pairs = zip(way.objectives, way.solvers, strict=True)
        return {"reports": {o.stage.name: copy.deepcopy(s.report) for o, s in pairs}, "sha256": hashes}

    def is_there(self, draft: Draft, work: Work) -> bool:
        """Whether what an interrupted process wrote is still what it was."""
        hashes = draft.steps[self.step]["sha256"] if self.step in draft.steps else {}
        try:
            same = [work.vectors(stage, self.method).sha256(self.rows) == found for stage, found in hashes.items()]
        except OSError:
            return False
        return bool(same) and all(same)


def query_blocks(objectives: Sequence[Objective], method: str, queries: int) -> list[QueryBlock]:
    """The blocks of the queries, in order, each of as many as memory allows."""
    widest = max(o.all.size * o.sum_dtype.itemsize for o in objectives)
    rows = max(1, min(VECTOR_BYTES // (VECTOR_COPIES * widest), BLOCK_QUERIES))
    return [QueryBlock(method, start, min(start + rows, queries)) for start in range(0, queries, rows)]


def reports_of(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stage -> what its solver reports of the queries of all blocks, in order."""
    reports: dict[str, Any] = {}
    for record in records:
        for stage, found in record["reports"].items():
            before = reports.get(stage, {})
            reports[stage] = found | {key: before[key] + found[key] for key in PER_QUERY if key in before}
    return reports
