"""Tables of checks."""

from __future__ import annotations

import pyarrow as pa

from odd_files.changes import NUMBERS, Change, column, every, whole

FOUND: dict[str, Change] = {
    **{
        f"{name} of {check} is {word}": column(check, name, every(value, pa.float32()))
        for word, value in NUMBERS.items()
        for check, name in (
            ("summary", "value"),
            ("leave-one-out", "measured"),
            ("subsets", "predicted"),
            ("removal", "share"),
            ("stability", "overlap"),
            ("planted", "found"),
            ("noise", "measured"),
        )
    },
    **{
        f"{name} of {check} is odd": column(check, name, every("<b>\0"))
        for check, name in (
            ("summary", "what"),
            ("leave-one-out", "start"),
            ("removal", "kind"),
            ("stability", "changed"),
            ("planted", "finder"),
            ("sanity", "scores"),
        )
    },
    "counts below nothing": column("summary", "count", every(-5)),
    "k of nothing": column("stability", "k", every(0)),
    "k without end": column("stability", "k", every(2**62)),
    "queries beyond the table": column("stability", "query", every(40)),
    "examples beyond the table": column("leave-one-out", "example", every(60)),
    "a stage that is none": column("subsets", "stage", every("other")),
    "no row of a summary": whole("summary", lambda t: t.slice(0, 0)),
    "no row of left-out singly": whole("leave-one-out", lambda t: t.slice(0, 0)),
    "rows of a check by the thousand": whole("noise", lambda t: pa.concat_tables([t] * 300)),
}
