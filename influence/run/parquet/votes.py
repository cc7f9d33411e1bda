"""What makes a table of votes none that labels can come from."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def votes_problem(table: pd.DataFrame, classes: Sequence[str], count: int) -> str:
    """What is wrong with the votes on `count` examples; empty: nothing."""
    if not table["rule"].fillna("").astype(bool).all():
        return "it has a rule without a name"
    if not table["vote"].isin(list(classes)).all():
        return "it has a vote for a class that the stage does not have"
    if table.duplicated(["example", "rule"]).any():
        return "it has a rule that votes twice on an example"
    silent = count - table["example"].nunique()
    return f"it has no vote on {silent:,} of the examples" if silent else ""
