"""Tables of a run of texts: tokens, shares and the texts themselves."""

from __future__ import annotations

import pyarrow as pa

from odd_files.changes import NUMBERS, ODD_TEXTS, OLD, QUERIES, Change, column, endless_list, every, not_utf8, whole

OF_TEXTS: dict[str, Change] = {
    **{
        f"starts are {word}": column(
            "tokens/pretrain.parquet",
            "starts",
            lambda t, n=number: pa.array([[n] * len(row) for row in t["starts"].to_pylist()]),
        )
        for word, number in (("below nothing", -5), ("beyond", 10**6), ("of 62 bits", 2**62))
    },
    **{
        f"shares are {word}": column(
            "shares/pretrain-exact.parquet", "shares", every([value] * 9, pa.list_(pa.float32()))
        )
        for word, value in NUMBERS.items()
    },
    **{f"text is {word}": column(OLD, "text", every(text)) for word, text in ODD_TEXTS.items()},
    "text is no UTF-8": column(OLD, "text", not_utf8),
    "text is nothing": column(QUERIES, "text", every(None, pa.string())),
    "tokens of other rows": whole("tokens/pretrain.parquet", lambda t: t.slice(1)),
    "tokens of nothing": column("tokens/queries.parquet", "ends", every([None, 3])),
    "tokens without a length": column("tokens/queries.parquet", "ends", every([])),
    "shares of a query that is none": column("shares/pretrain-exact.parquet", "query", every(40)),
    "shares of an example that is none": column("shares/pretrain-exact.parquet", "example", every(-1)),
    "shares of the same example": column("shares/pretrain-exact.parquet", "example", every(0)),
    "shares as texts": column("shares/pretrain-exact.parquet", "shares", every(["a"])),
    "shares turned round": whole("shares/pretrain-exact.parquet", lambda t: t.take(list(range(len(t)))[::-1])),
    "shares without end": whole(
        "shares/pretrain-exact.parquet",
        lambda t: pa.table(
            {
                "query": pa.array([0], pa.int32()),
                "example": pa.array([0], pa.int32()),
                "shares": endless_list(90_000_000),
            }
        ),
    ),
}
