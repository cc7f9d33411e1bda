"""`Keeping`: fills what a run keeps of its scores where it keeps the strongest, from spans that anybody computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import zarr

from influence.derivatives import Objective
from influence.derivatives.batches import SPAN, spans
from influence.precompute.pieces.kept import (
    COUNTS,
    EXPONENT,
    HARMFUL,
    HELPFUL,
    SAMPLED,
    SLICES,
    SUMS,
    Plan,
    SpanStrongest,
    merged,
    plan_file,
)
from influence.precompute.pieces.keys import rows_of, scores_of_keys
from influence.precompute.pieces.sharing import Pieces
from influence.progress import Bar
from influence.run.files import groups_file, sample_file, scores_file, slices_method, strongest_file, totals_file
from influence.run.kept.histogram import BARS
from influence.run.lists.slices import slice_names, slice_rows
from influence.run.writer import chunk_of

SAMPLE = 10_000
"""Examples of a stage of which all scores are kept; of a smaller stage all."""
MOST_GROUPS = 200
"""Labels, and sources, whose scores are summed; of more, none are."""
MOST_SLICES = 64
"""Slices of the queries over which each example's scores are summed."""
LEAST = 20
"""Scores of either sign that are kept till the run is finished, for its own checks, where it keeps fewer."""
NUMBER, LISTED_BYTES, HISTOGRAM_BYTES = 4, 9, 3000
"""Bytes of a number, of a score in the lists with its row, and of a query's histogram as Parquet packs it."""
SPANS_AT_ONCE = 16
"""Spans that are merged together: their files take some ten times what is kept of all."""


class Keeping:
    """What is kept of the scores of one stage by one method.

    Args:
        pieces: computes spans, and has the draft.
        objective: of the stage.
        method: whose scores.
        most: K, that are kept of either sign and query.
    """

    def __init__(self, pieces: Pieces, objective: Objective, method: str, most: int):
        self.pieces, self.draft, self.method, self.most = pieces, pieces.draft, method, most
        self.stage, self.count = objective.stage.name, objective.count
        self.folder = f"work/kept-{self.stage}-{method}"
        self.spans = spans(self.count, objective.all.size, width=chunk_of((MOST_SLICES, self.count))[1])

    @property
    def filled(self) -> bool:
        return self._step in self.draft.steps

    @property
    def compression(self) -> Any:
        """What spans told of how queries' vectors were compressed."""
        return self.draft.steps[self._step]

    @property
    def _step(self) -> str:
        return f"kept {self.stage} {self.method}"

    def plan(self, examples: pd.DataFrame, queries: Callable[[], pd.DataFrame], seed: int) -> None:
        """Decide what is kept beside the strongest, once for all methods.

        Args:
            examples: the stage's table; its labels and sources are groups.
            queries: the run's table of queries, with predictions, whose slices are summed over.
            seed: of the sample.
        """
        step = f"plan {self.stage}"
        if step in self.draft.steps:
            return
        draw = np.random.default_rng([seed, self.count]).permutation(self.count)[:SAMPLE]
        ways, named = _groups(examples)
        table = queries()
        names = slice_names(table)[:MOST_SLICES]
        members = np.zeros((len(names), len(table)), np.uint8)
        for row, name in enumerate(names):
            members[row, slice_rows(table, name, 0)] = 1
        plan = Plan(np.sort(draw).astype(np.int64), ways, members, len(named))
        self.draft.write_tensors(plan_file(self.stage), plan.tensors())
        self.draft.write_table(sample_file(self.stage).removesuffix(".parquet"), pd.DataFrame({"example": plan.sample}))
        self.draft.write_table(groups_file(self.stage).removesuffix(".parquet"), named)
        self.draft.mark(step, names)

    @property
    def slices(self) -> list[str]:
        """Names of the slices, in the order of their sums."""
        return list(self.draft.steps[f"plan {self.stage}"])

    def fill(self, bar: Bar) -> None:
        """Compute the spans that are not there, and merge them in order; nothing of one alone is kept."""
        groups = [self.spans[at : at + SPANS_AT_ONCE] for at in range(0, len(self.spans), SPANS_AT_ONCE)]
        done = sum(self._merged_step(number) in self.draft.steps for number in range(len(groups)))
        if done and not self.draft.journal.names_files_of(self._merged_step(done - 1)):
            done = 0  # what was merged is lost, and so are its parts
        if not done:
            self._begin()
        bar.advance(sum(s.stop - s.start for group in groups[:done] for s in group))
        for number, group in list(enumerate(groups))[done:]:
            parts = [self._part(number, span) for span in group]
            self.draft.forget([p.step for p in parts if not self.draft.journal.names_files_of(p.step)])
            self.pieces.compute(parts, bar)
            self._merge(number, parts)
        self._end(len(groups) - 1)

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each query: rows and scores (Q, k) of its strongest helpful, then harmful ones; 0: there is none."""
        kept = self.draft.tensors(self._merged_file(self.draft.steps[self._merged_name]))
        helpful, harmful = kept[HELPFUL].numpy(), kept[HARMFUL].numpy()
        scores = [np.maximum(scores_of_keys(helpful), 0), np.minimum(-scores_of_keys(harmful), 0)]
        return np.concatenate([rows_of(helpful), rows_of(harmful)], axis=1), np.concatenate(scores, axis=1)

    def discard(self) -> None:
        """Delete what is not of the run."""
        last = self.draft.steps[self._merged_name]
        self.draft.discard([self._merged_step(last)], self.folder)

    # Parts

    @property
    def _merged_name(self) -> str:
        return f"merged {self.stage} {self.method}"

    def _merged_step(self, number: int) -> str:
        return f"{self._merged_name} {number}"

    def _merged_file(self, number: int) -> str:
        return f"{self.folder}/merged-{number}/kept.safetensors"

    def _part(self, number: int, span: slice) -> SpanStrongest:
        most = min(max(self.most, LEAST), self.count)
        return SpanStrongest(self.method, span.start, span.stop, self.stage, most, f"{self.folder}/spans-{number}")

    def _begin(self) -> None:
        """The array of sums over slices; what an earlier process merged is forgotten."""
        gone = [step for step in self.draft.steps if step.startswith((f"{self._merged_name} ", f"slices {self._own} "))]
        self.draft.forget(gone)
        step = f"array {self._own}"
        if step not in self.draft.steps:
            self.draft.create_scores(self.stage, slices_method(self.method), (len(self.slices), self.count))
            self.draft.mark(step)

    @property
    def _own(self) -> str:
        return f"{self.stage} {self.method}"

    def _merge(self, number: int, parts: Sequence[SpanStrongest]) -> None:
        found = [self.draft.tensors(part.file) for part in parts]
        file = scores_file(self.stage, slices_method(self.method))
        array: Any = zarr.open_array(self.draft.path(file), mode="r+", config={"write_empty_chunks": True})
        sums = np.concatenate([part[SLICES].numpy() for part in found], axis=1)
        self.draft.write_scores(file, array, parts[0].start, sums)
        self.draft.mark(f"slices {self._own} {number}")
        before = [self.draft.tensors(self._merged_file(number - 1))] if number else []
        self.draft.write_tensors(self._merged_file(number), merged([*before, *found], parts[0].most))
        self.draft.mark(self._merged_step(number))
        self.draft.discard([part.step for part in parts], parts[0].folder)
        if number:
            self.draft.discard([self._merged_step(number - 1)], f"{self.folder}/merged-{number - 1}")

    def _end(self, last: int) -> None:
        """What the run keeps, from what is merged of all spans."""
        kept = {name: values.numpy() for name, values in self.draft.tensors(self._merged_file(last)).items()}
        self.draft.mark(self._merged_name, last)
        lists = strongest_file(self.stage, self.method).removesuffix(".parquet")
        self.draft.write_table(lists, _listed(kept, self.most))
        self.draft.write_table(totals_file(self.stage, self.method).removesuffix(".parquet"), _totals(kept))
        self.draft.write_array(scores_file(self.stage, self.method).removesuffix(".zarr"), kept[SAMPLED])
        first = f"scores {self._own} {self.spans[0].start}"
        self.draft.mark(self._step, self.draft.steps[first])


def kept_bytes(queries: int, examples: int, most: int) -> int:
    """Bytes of what is kept of a stage's scores, about: lists, sample, histograms, sums over slices."""
    listed = 2 * min(most, examples) * LISTED_BYTES
    return queries * (listed + NUMBER * min(SAMPLE, examples) + HISTOGRAM_BYTES) + NUMBER * MOST_SLICES * examples


def working_bytes(most: int, examples: int) -> int:
    """Bytes a query of the spans that are not yet merged, and of what is merged, about."""
    return (1 + min(SPANS_AT_ONCE, -(-examples // SPAN))) * (2 * 8 * max(most, LEAST) + NUMBER * BARS)


def _groups(examples: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """The group of each example in every way of grouping, (ways, m), and the groups: all, by label, by source."""
    ways, named = [np.zeros(len(examples), np.int32)], [("", "", len(examples))]
    for by in ("label", "source"):
        column = examples[by].fillna("").astype(str) if by in examples else pd.Series([], dtype=str)
        names, codes = np.unique(column.to_numpy(), return_inverse=True)
        if not 0 < len(names) <= MOST_GROUPS:
            continue
        ways.append((codes + len(named)).astype(np.int32))
        named += [(by, str(name), int(count)) for name, count in zip(names, np.bincount(codes), strict=True)]
    return np.stack(ways), pd.DataFrame(named, columns=["by", "group", "count"])


def _listed(kept: dict[str, np.ndarray], most: int) -> pd.DataFrame:
    """A row a score, sorted by query: helpful ones, the strongest first, then harmful ones."""
    rows = []
    for name, sign in ((HELPFUL, 1), (HARMFUL, -1)):
        keys = kept[name][:, :most]
        scores = scores_of_keys(keys)
        query, _ = (places := np.nonzero(scores > 0))
        rows.append((query, rows_of(keys)[places], sign * scores[places]))
    queries, examples, scores = (np.concatenate(each) for each in zip(*rows, strict=True))
    order = np.argsort(queries, kind="stable")
    return pd.DataFrame(
        {
            "query": queries[order].astype(np.int32),
            "example": examples[order].astype(np.int32),
            "score": scores[order].astype(np.float32),
        }
    )


def _totals(kept: dict[str, np.ndarray]) -> pd.DataFrame:
    """A row a query."""
    columns = {
        "width": np.ldexp(1.0, kept[EXPONENT]),
        "counts": list(kept[COUNTS].astype(np.int32)),
        "helpful": list(kept[SUMS][0]),
        "harmful": list(kept[SUMS][1]),
    }
    return pd.DataFrame(columns)
