"""The table of queries: the one to open on, filters and their order, search, the confusion matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd

from influence.run import Run, classified

QUERIES = "queries"
"""Name of the table of queries; tables of examples are named by their stage."""
ALL, WRONG, CONFIDENT, BARELY = "All", "Wrong", "Confidently wrong", "Barely right"
LARGEST, SMALLEST = "Largest loss", "Smallest loss"
SHOWS = (ALL, WRONG, CONFIDENT, BARELY)
SHOWS_OF_LOSSES = (ALL, LARGEST, SMALLEST)
"""Pills of a run whose model predicts no class."""

SURE_PROBABILITY = 0.8
"""A wrong prediction with at least this probability is confidently wrong."""
UNSURE_PROBABILITY = 0.6
"""A right prediction with less than this probability is barely right."""


def table_of(run: Run, name: str) -> pd.DataFrame:
    """The run's table of that name: a stage, or QUERIES."""
    return run.queries() if name == QUERIES else run.examples(name)


def losses(table: pd.DataFrame) -> np.ndarray:
    """The loss of each row, float64; NaN where it is not known, as in a run of another tool's scores."""
    return table.get("loss", pd.Series(np.nan, index=table.index)).to_numpy(dtype=np.float64)


def shows(queries: pd.DataFrame) -> tuple[str, ...]:
    """The pills of a run."""
    if classified(queries):
        return SHOWS
    return SHOWS_OF_LOSSES if "loss" in queries else (ALL,)


def opening(queries: pd.DataFrame) -> int:
    """Position of the query to open on: the run's own, else the surest mistake, or the least confident hit.

    Without classes it is the one with the largest loss.
    """
    named = queries.get("opening")
    if named is not None and (named == 1).any():
        return int((named == 1).to_numpy().argmax())
    if not classified(queries):
        return int(np.nan_to_num(losses(queries), nan=-np.inf).argmax())
    wrong = queries["prediction"] != queries["label"]
    if wrong.any():
        return int(queries["confidence"].where(wrong, -1.0).to_numpy().argmax())
    return int(queries["confidence"].to_numpy().argmin())


def positions_in_list(
    queries: pd.DataFrame, show: str = ALL, cell: tuple[str, str] | None = None, words: str | None = None
) -> list[int]:
    """Positions of the queries that a pill lists, in its order.

    `cell` (true, predicted) keeps those of one cell of the confusion matrix, `words` those whose text holds them.
    """
    keep = pd.Series(True, index=queries.index)
    by = queries["confidence"] if classified(queries) else pd.Series(losses(queries), index=queries.index)
    if classified(queries):
        right = queries["prediction"] == queries["label"]
        kept = {WRONG: ~right, CONFIDENT: ~right & (by >= SURE_PROBABILITY), BARELY: right & (by < UNSURE_PROBABILITY)}
        keep &= kept.get(show, keep)
        if cell is not None:
            keep &= (queries["label"] == cell[0]) & (queries["prediction"] == cell[1])
    if words is not None:
        keep &= holding(queries, words)
    positions = pd.Series(range(len(queries)), index=queries.index)[keep]
    if show != ALL and show in shows(queries):
        positions = positions[by[keep].sort_values(ascending=show in (BARELY, SMALLEST), kind="stable").index]
    return positions.tolist()


def short_names(classes: list[str]) -> list[str]:
    """Names without the part that all of them begin with, where that ends with a sign: "noun.animal" as "animal"."""
    end = 0
    for place, letters in enumerate(zip(*classes, strict=False) if len(classes) > 1 else ()):
        if len(set(letters)) > 1:
            break
        if letters[0] in "./:_- ":
            end = place + 1
    return [name[end:] for name in classes] if all(len(name) > end for name in classes) else classes


def position_by_id(table: pd.DataFrame, wanted: str) -> int | None:
    """Position of the row whose id is written as `wanted`; None if there is none."""
    if not wanted.removeprefix("-").isdecimal() or abs(int(wanted[:40])) >= 2**63:
        return None
    found = (table["id"] == int(wanted)).to_numpy().nonzero()[0]
    return int(found[0]) if len(found) else None


def holding(queries: pd.DataFrame, words: str) -> pd.Series:
    """Mask of the queries with every one of the `words` in text or title; parts of words count, case does not."""
    keep = pd.Series(True, index=queries.index)
    columns = [queries[name].fillna("").astype(str) for name in ("title", "text") if name in queries]
    for word in words.split():
        found = pd.Series(False, index=queries.index)
        for column in columns:
            found |= column.str.contains(word, case=False, regex=False)
        keep &= found
    return keep


def found(table: pd.DataFrame, wanted: str, current: int) -> int | None:
    """Position of the row with id `wanted`, else of the next one after `current` whose text holds the words."""
    position = position_by_id(table, wanted)
    if position is not None or not wanted or "text" not in table:
        return position
    hits = holding(table, wanted).to_numpy().nonzero()[0]
    # From the next one on, and round: searching again goes on.
    return int(hits[np.searchsorted(hits, current, side="right") % len(hits)]) if len(hits) else None


def another(queries: pd.DataFrame, position: int) -> int:
    """The prediction to set beside that at `position`: the most confident other mistake, else the next one.

    Without classes it is the other one with the largest loss.
    """
    if not classified(queries):
        known = np.nan_to_num(losses(queries), nan=np.finfo(np.float64).min)
        known[position] = -np.inf
        return int(known.argmax())
    wrong = (queries["prediction"] != queries["label"]).to_numpy().copy()
    wrong[position] = False
    if wrong.any():
        return int(queries["confidence"].where(wrong, -1.0).to_numpy().argmax())
    return (position + 1) % len(queries)


def cell_text(cell: tuple[str, str], classes: list[str]) -> str:
    """A cell for the URL, by place of its classes, so that any class name fits in."""
    return f"{classes.index(cell[0])}-{classes.index(cell[1])}"


def parse_cell(text: str, classes: list[str]) -> tuple[str, str] | None:
    """The cell (true, predicted) that the URL names, or None if it names none."""
    row, _, column = text.partition("-")
    if not (row.isdecimal() and column.isdecimal() and int(row) < len(classes) and int(column) < len(classes)):
        return None
    return classes[int(row)], classes[int(column)]


def beside(positions: list[int], current: int, step: int) -> int | None:
    """The next (step 1) or previous (step -1) query of a list; the first one if the current is not in it."""
    if not positions:
        return None
    if current not in positions:
        return positions[0]
    place = positions.index(current) + step
    return positions[place] if 0 <= place < len(positions) else None


def votes_on(run: Run, stage: str, row: int) -> dict[str, str]:
    """Rule -> the class that it votes for, of the example at `row`; empty where no rules made the labels."""
    votes = run.votes(stage)
    if votes is None:
        return {}
    own = votes[votes["example"] == row]
    return dict(zip(own["rule"], own["vote"], strict=True))
