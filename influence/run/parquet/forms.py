"""Forms of a run's tables: their columns and kinds, as CONTRACT.md states them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

Fits = Callable[[pa.DataType], bool]


@dataclass(frozen=True)
class Kind:
    """What a column holds: the name for a message, whether an Arrow type is of it, whether entries may be empty."""

    name: str
    fits: Fits
    may_lack: bool = False


def _is_text(kind: pa.DataType) -> bool:
    if kinds.is_dictionary(kind):  # a categorical column of pandas
        return _is_text(kind.value_type)
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_null(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_floating(kind) or kinds.is_integer(kind))


def _list_of(entry: Kind) -> Kind:
    def fits(kind: pa.DataType) -> bool:
        return bool(kinds.is_list(kind) or kinds.is_large_list(kind)) and entry.fits(kind.value_type)

    return Kind(f"lists of {entry.name}", fits, entry.may_lack)


INTEGER, TEXT = Kind("integers", kinds.is_integer), Kind("text", _is_text, may_lack=True)
POSITIVE = Kind("integers above 0", kinds.is_integer)
NUMBER = Kind("numbers", _is_number, may_lack=True)
SHARE = Kind("numbers from 0 to 1", _is_number, may_lack=True)
BYTES = Kind("bytes", lambda kind: bool(kinds.is_binary(kind) or kinds.is_large_binary(kind)))
SHARES = _list_of(SHARE)
INTEGERS, NUMBERS = _list_of(INTEGER), _list_of(NUMBER)


@dataclass(frozen=True)
class Form:
    """The columns of one kind of table, by name.

    `needed`: those that must be there. `aligned`: lists that have one length in each row. `unique`: columns without a
    value twice.
    """

    columns: Mapping[str, Kind]
    needed: Iterable[str] = ()
    aligned: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    lengths: Mapping[str, str] = field(default_factory=dict)
    """Column of lists -> the table, `QUERIES` say, that has as many rows as each list has values."""


QUERIES, EXAMPLES = "queries", "examples"
_ITEMS = {
    "id": INTEGER, "label": TEXT, "prediction": TEXT, "confidence": SHARE, "label_probability": SHARE, "loss": NUMBER,
    "image": BYTES, "text": TEXT, "title": TEXT, "source": TEXT, "prompt_end": INTEGER,
}  # fmt: skip
BULKY = ("image", "text")
"""Columns of items that are large, of which a page shows few."""
_NAMED: dict[str, Kind] = {"stage": TEXT, "start": TEXT, "kind": TEXT, "changed": TEXT}


def _check(named: str, *others: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None, **options: Any) -> Form:
    columns = {name: _NAMED[name] for name in named.split()} | {k: v for other in others for k, v in other.items()}
    return Form(columns | dict(optional or {}), needed=tuple(columns), **options)


def _all(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


FORMS = {
    "examples": Form(_ITEMS | _all(NUMBER, "gradient_norm self_influence"), ("id", "label"), unique=("id",)),
    "queries": Form(_ITEMS | {"probabilities": SHARES, "opening": INTEGER}, ("id", "label"), unique=("id",)),
    "map": Form({"x": NUMBER, "y": NUMBER}, ("x", "y")),
    "tokens": Form(
        {"starts": INTEGERS, "ends": INTEGERS, "losses": NUMBERS},
        ("starts", "ends"),
        aligned=("starts", "ends", "losses"),
    ),
    "votes": Form({"example": INTEGER, "rule": TEXT, "vote": TEXT}, ("example", "rule", "vote")),
    "shares": Form({"query": INTEGER, "example": INTEGER, "shares": NUMBERS}, ("query", "example", "shares")),
    "sample": Form({"example": INTEGER}, ("example",), unique=("example",)),
    "groups": Form({"by": TEXT, "group": TEXT, "count": INTEGER}, ("by", "group", "count")),
    "kept": Form({"query": INTEGER, "example": INTEGER, "score": NUMBER}, ("query", "example", "score")),
    "totals": Form(
        {"width": NUMBER, "counts": INTEGERS, "helpful": NUMBERS, "harmful": NUMBERS},
        ("width", "counts", "helpful", "harmful"),
        aligned=("helpful", "harmful"),
    ),
    "leave-one-out": _check(
        "stage start kind", _all(INTEGER, "example chosen_for query"), _all(NUMBER, "predicted measured")
    ),
    "subsets": _check("stage start", _all(INTEGER, "subset seed query"), _all(NUMBER, "kept predicted measured")),
    "strongest": _check(
        "stage start", {"scores": TEXT}, _all(INTEGER, "query left_out"), _all(NUMBER, "predicted measured random")
    ),
    "removal": _check(
        "stage start kind",
        _all(INTEGER, "left_out seed"),
        _all(NUMBER, "share loss loss_before accuracy accuracy_before predicted"),
    ),
    "planted": _check("stage", {"finder": TEXT}, _all(INTEGER, "seed"), _all(NUMBER, "share checked found area")),
    "sanity": _check("", _all(TEXT, "scores against"), _all(INTEGER, "query"), _all(NUMBER, "rank_correlation")),
    "stability": _check(
        "stage changed",
        {"value": TEXT, "query": INTEGER, "k": POSITIVE, "overlap": SHARE, "rank_correlation": NUMBER},
    ),
    "noise": _check("changed start", _all(INTEGER, "seed query"), _all(NUMBER, "measured")),
    "left-out": _check(
        "stage start",
        _all(INTEGERS, "examples class_before class_after"),
        _all(NUMBERS, "predicted measured"),
        lengths=dict.fromkeys(("predicted", "measured", "class_before", "class_after"), QUERIES),
    ),
    "what-if": _check(
        "start",
        {"edits": TEXT},
        _all(INTEGERS, "class_before class_after"),
        _all(NUMBERS, "first together measured"),
        optional={"remarks": TEXT},
        lengths=dict.fromkeys(("first", "together", "measured", "class_before", "class_after"), QUERIES),
    ),
    "verified": _check(
        "stage",
        _all(NUMBER, "seconds drift"),
        {"query": INTEGER, "scores": NUMBERS, "examples": INTEGERS, "measured": NUMBERS},
        aligned=("examples", "measured"),
    ),
    "summary": _check("start", _all(TEXT, "check what words"), _all(NUMBER, "value low high"), _all(INTEGER, "count")),
}
"""Folder of a table, "queries", or a check's name -> its form."""
POINTERS = {"query": (QUERIES, 0), "chosen_for": (QUERIES, -1), "example": (EXAMPLES, 0), "examples": (EXAMPLES, 0)}
"""Column -> the table whose rows it numbers, and the least number that it may hold."""
