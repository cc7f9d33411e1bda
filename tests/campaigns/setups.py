"""What people really have, compared with truth: prints a table, a line a setup. `make campaigns` runs it.

    python tests/campaigns/setups.py [WORD ...]    # only rows whose kind or name holds one of the words
    python tests/campaigns/setups.py > TABLES      # what `docs/compared.md` ends with; faults go to the standard error

It ends with 1 if a row is wrong without a warning, or fails by an error that nobody foresaw.
"""

from __future__ import annotations

import os
import sys
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from comparison import ESTIMATED, Measured, Row, compare
from families import ROWS
from rich.console import Console

HEAD = "| setup | solved | estimates | `ekfac` | epochs | rules | what is said |\n|---|---|---|---|---|---|---|"


def line(found: Measured) -> str:
    """A row of the table in Markdown."""
    solved = [found.errors[method] for method in found.errors if method not in ESTIMATED]
    estimates = [found.errors[method] for method in found.errors if method in ESTIMATED]
    said = [*(f"**fault** {fault}" for fault in found.faults), *sorted(found.told | found.sizes), *sorted(found.notes)]
    cells = [
        found.row.name,
        f"{max(solved):.0e}" if solved else "",
        f"{max(estimates):.0e}" if estimates else "",
        f"{found.ratio:.2g} x, r {found.rank:.2f}" if found.ratio == found.ratio else "",
        ", ".join(f"{value:.0f}" for value in found.epochs.values()),
        f"{len(found.slow)} without" if found.slow else "all",
        "; ".join(said),
    ]
    return "| " + " | ".join(map(escaped, cells)) + " |"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def chosen(words: list[str]) -> list[Row]:
    return [row for row in ROWS if not words or any(word.lower() in str(row).lower() for word in words)]


def measured(row: Row) -> Measured:
    """A row's comparison; where the independent side fails, that is its fault."""
    try:
        return compare(row, timed=True)
    except Exception as error:
        return Measured(row, faults=[f"cannot be compared: {type(error).__name__}: {error}"])


def main() -> int:
    warnings.simplefilter("ignore")
    page, log = Console(soft_wrap=True, markup=False, highlight=False), Console(stderr=True, highlight=False)
    faults, kind = 0, ""
    for row in chosen(sys.argv[1:]):
        if row.kind != kind:
            kind = row.kind
            page.print(f"\n## {kind}\n\n{HEAD}")
        found = measured(row)
        page.print(line(found))
        for fault in found.faults:
            log.print(f"{row}: {fault}", style="red", markup=False)
        faults += bool(found.faults)
    log.print(f"{faults} rows are wrong without a warning, are warned about though right, or fail unforeseen.")
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
