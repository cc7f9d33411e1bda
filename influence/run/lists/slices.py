"""Slices of the queries: all, all wrong, a true class, a cell of the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import numpy as np
import pandas as pd


class SliceKind(StrEnum):
    """What the name of a slice begins with; a class or a cell is followed by places in the `confusion` matrix."""

    ALL = "all"
    WRONG = "wrong"
    CLASS = "class"
    CELL = "cell"
    QUERY = "query"


def classified(table: pd.DataFrame) -> bool:
    """Whether a model said a class of each row: of a stage without classes (a language model, say) none did."""
    return {"prediction", "confidence"} <= set(table.columns)


def class_order(classes: Iterable[object]) -> list[str]:
    """Classes by number where they are numbers, else by name."""
    return sorted(map(str, classes), key=lambda name: (0, float(name), name) if name.isdecimal() else (1, 0.0, name))


def confusion(queries: pd.DataFrame) -> pd.DataFrame:
    """Counts, a row a true class and a column a predicted class, over every class that occurs; none without classes."""
    if not classified(queries):
        return pd.DataFrame()
    classes = class_order(pd.concat([queries["label"], queries["prediction"]]).unique())
    table = pd.crosstab(queries["label"], queries["prediction"])
    return table.reindex(index=classes, columns=classes, fill_value=0)


def slice_names(table: pd.DataFrame) -> list[str]:
    """The slices of a run's queries by name, those with the most mistakes of one kind first among the cells.

    Classes are named by their place in the `confusion` matrix. Only slices that hold a query are listed.
    """
    if not classified(table):
        return [SliceKind.ALL]
    counts = confusion(table).to_numpy()
    wrong = (table["prediction"] != table["label"]).any()
    found: list[str] = [SliceKind.ALL, SliceKind.WRONG] if wrong else [SliceKind.ALL]
    found += [f"{SliceKind.CLASS}-{place}" for place in np.flatnonzero(counts.sum(axis=1))]
    cells = [(int(true), int(said)) for true, said in np.argwhere(counts) if true != said]
    return found + [f"{SliceKind.CELL}-{true}-{said}" for true, said in sorted(cells, key=lambda cell: -counts[cell])]


def slice_rows(table: pd.DataFrame, name: str, query: int) -> np.ndarray:
    """Rows of the queries in slice `name`, ascending; `query` is the row of the chosen prediction."""
    kind, *places = name.split("-")
    if kind == SliceKind.QUERY:
        return np.array([query])
    if kind == SliceKind.ALL:
        return np.arange(len(table))
    if kind == SliceKind.WRONG:
        return np.flatnonzero((table["prediction"] != table["label"]).to_numpy())
    classes = confusion(table).index.tolist()
    keep = (table["label"] == classes[int(places[0])]).to_numpy()
    if kind == SliceKind.CELL:
        keep = keep & (table["prediction"] == classes[int(places[1])]).to_numpy()
    return np.flatnonzero(keep)
