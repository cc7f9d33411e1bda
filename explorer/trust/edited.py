"""Edits of the training data that were really trained with, and the measured effects on a slice of the test set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explorer.trust import evidence, left_out
from explorer.trust.left_out import TABLE, Effect
from influence.live import LEAVE_OUT, Alteration, as_json
from influence.run import Run


def effects(run: Run, alterations: Sequence[Alteration], positions: np.ndarray) -> list[Effect]:
    """Effects of exactly these edits on the queries at `positions`, one for each start."""
    stages = {each.stage for each in alterations}
    if len(stages) == 1 and all(each.kind == LEAVE_OUT for each in alterations):
        # Checks leave examples out, too.
        (stage,) = stages
        rows = {int(name): row for row, name in enumerate(run.examples(stage)["id"])}
        return left_out.effects(run, stage, [rows[each.id] for each in alterations], positions)
    table, found = run.validation(TABLE), dict[str, Effect]()
    for row in () if table is None else table[table["edits"] == as_json(alterations)].to_dict("records"):
        if np.isfinite(row["measured"]).all():
            found[row["start"]] = left_out.trained(row).effect(run, positions)
    return [found[start] for start in (evidence.SOLUTION, evidence.SCRATCH) if start in found]
