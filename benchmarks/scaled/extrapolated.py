"""What a pretraining corpus would take, by arithmetic: nothing here is measured but what is passed in."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from influence.derivatives.batches import LARGE_SPAN
from influence.precompute.pieces.keeping import kept_bytes

SEQUENCES, TOKENS, QUERIES, PARAMETERS, STRONGEST = 10**9, 512, 1000, 10**9, 1000
GPU, DOLLARS, MEMORY = 4e14, 3.0, 100e9
"""Of a large GPU: operations a second that it reaches, its price an hour, its bytes for query vectors."""
JOURNAL_BYTES = 150
"""Of a piece in the journal."""


def extrapolated(driver: float, console: Console) -> None:
    """Print time, money and disk of a billion sequences.

    Args:
        driver: seconds that the driver takes for a piece.
        console: to print to.
    """
    tokens = SEQUENCES * TOKENS
    gradients = 6.0 * PARAMETERS * tokens + 2.0 * PARAMETERS * tokens  # forward and backward, and multiplied out
    dots = 2.0 * PARAMETERS * QUERIES * SEQUENCES
    vectors = 4.0 * QUERIES * PARAMETERS
    passes = max(1.0, vectors / MEMORY)
    pieces = SEQUENCES / LARGE_SPAN
    table = Table(
        "step", "amount", title=f"{SEQUENCES:.0e} sequences of {TOKENS} tokens, {QUERIES:,} queries, 1e9 parameters"
    )
    for step, work in (
        ("curvature, one pass", gradients),
        ("scores, all queries in one pass", gradients + dots),
        (f"scores, {passes:.0f} passes of the queries that fit", passes * gradients + dots),
    ):
        hours = work / GPU / 3600
        table.add_row(step, f"{hours:,.0f} GPU hours, {hours * DOLLARS:,.0f} dollars")
    table.add_row("query vectors", f"{vectors / 1e12:.1f} TB")
    table.add_row(f"a run of the {STRONGEST:,} strongest", f"{kept_bytes(QUERIES, SEQUENCES, STRONGEST) / 1e9:,.0f} GB")
    table.add_row("all scores", f"{4 * SEQUENCES * QUERIES / 1e12:.1f} TB")
    table.add_row("the driver, for its pieces", f"{pieces:,.0f} pieces, {pieces * driver / 3600:.1f} h")
    table.add_row("the journal, a line a piece", f"{pieces * JOURNAL_BYTES / 1e6:,.0f} MB")
    console.print(table)
