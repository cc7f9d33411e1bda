"""Tokens of texts and their shares of a score, as a run stores them. Damaged tables are reported, never raised."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from explorer.runs import texts
from explorer.runs.cache import per_run
from explorer.runs.queries import table_of
from explorer.ui import escape
from influence.errors import RunError
from influence.run import Run, shares_file, tokens_file


def stored(run: Run, stage: str, method: str) -> bool:
    """Whether the run says how a stage's scores split over the tokens of its texts."""
    files = run.manifest.files
    return tokens_file(stage) in files and shares_file(stage, method) in files


def strongest(run: Run, stage: str, method: str) -> int | None:
    """Number of examples of each sign and query with a stored split; None if the run does not say."""
    count = run.manifest.shares.get(f"{stage}-{method}")
    return count if isinstance(count, int) else None


def problem_text(problem: str) -> str:
    """A problem with the tokens or their shares, as markdown."""
    return f"{escape.for_markdown(problem.rstrip('.'))}. The texts are shown without it."


@dataclasses.dataclass(frozen=True)
class Splits:
    """The part of the tables `tokens/` and `shares/` that one view needs, of a stage's texts or of the queries."""

    run: Run
    table: str
    """The stage, or `queries.QUERIES`."""
    method: str = ""
    position: int | None = None
    """Row of the query whose score is split; None if none is."""
    live: Mapping[int, np.ndarray] | None = None
    """Shares of scores computed live, by example; None: the stored ones are read."""
    problems: list[str] = dataclasses.field(default_factory=list)
    """Problems met so far, each once."""

    @cached_property
    def _tokens(self) -> pd.DataFrame | None:
        name, rows = tokens_file(self.table), len(table_of(self.run, self.table))
        try:
            table = self.run.tokens(self.table)
        except RunError as error:
            self._note(str(error))
            return None
        if table is None:
            return None
        if len(table) != rows:
            self._note(f"{name} of run {self.run.name} has {len(table):,} rows for {rows:,} texts")
            return None
        return table

    @cached_property
    def _shares(self) -> Mapping[int, np.ndarray]:
        if self.live is not None:
            return self.live
        if self.position is None:
            return {}
        try:
            return _shares(self.run, self.table, self.method, self.position)
        except RunError as error:
            self._note(str(error))
            return {}

    def has(self, row: int) -> bool:
        """Whether the score of the example at `row` is split."""
        return self._tokens is not None and row in self._shares

    def read(self, row: int, text: str) -> int | None:
        """Number of characters of the text at `row` that the model read; None if it is not known."""
        bounds = self._bounds(row, text)
        return None if bounds is None else int(bounds[1].max(initial=0))

    def spans(self, row: int, text: str) -> list[texts.Span]:
        """The text's tokens with their shares, nats; empty if they are not stored or do not fit the text."""
        bounds, shares = self._bounds(row, text), self._shares.get(row)
        if bounds is None or shares is None:
            return []
        if len(shares) != len(bounds[0]) or not np.isfinite(shares).all():
            self._note(f"{shares_file(self.table, self.method)} of run {self.run.name} does not fit the tokens")
            return []
        return texts.spans(*bounds, shares)

    def _bounds(self, row: int, text: str) -> tuple[np.ndarray, np.ndarray] | None:
        if self._tokens is None:
            return None
        try:
            starts, ends = (np.asarray(self._tokens[name].iloc[row], dtype=np.int64) for name in ("starts", "ends"))
            texts.checked(starts, ends, len(text))
        except (ValueError, TypeError) as error:
            self._note(f"{tokens_file(self.table)} of run {self.run.name} does not fit the texts ({error})")
            return None
        return starts, ends

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


@per_run(max_entries=64)
def _shares(run: Run, stage: str, method: str, position: int) -> dict[int, np.ndarray]:
    try:
        return run.shares(stage, method, position)
    except (AttributeError, KeyError, TypeError) as error:
        name = shares_file(stage, method)
        raise RunError(f"{name} of run {run.name} cannot be read: {error}") from error


@per_run(max_entries=16)
def common_words(run: Run, stage: str) -> frozenset[str]:
    """Words that so many of a stage's texts hold that they are never marked as shared."""
    return texts.common(run.examples(stage)["text"].astype(str).tolist())
