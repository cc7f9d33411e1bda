"""Alterations as tables: the examples as they would be, and what was changed of which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from influence.errors import printable
from influence.live.alterations import (
    ADD,
    LEAVE_OUT,
    NONE,
    RELABEL,
    STRIKE,
    SWITCH_OFF,
    TAKE_BACK,
    UPWEIGHT,
    Alteration,
)
from influence.live.edits import row_of_id, text_without
from influence.live.pool import added_table
from influence.run.reading import Run
from influence.studies.images.picture_files import png, read_picture


def altered_tables(run: Run, alterations: Sequence[Alteration]) -> dict[str, pd.DataFrame]:
    """Name of a file -> table: each altered stage's examples that remain, and what was changed of which.

    Examples keep their ids, and added ones get the next. Labels and texts are the new ones, `weight` is 1 but where it
    was changed, and pictures are as they were: `changes` says which part was blank. Where votes are taken back, those
    that are left are a table too; the label is then what most of them say, or as it was among equals.
    """
    found = {}
    for stage in dict.fromkeys(each.stage for each in alterations):
        table = run.examples(stage).drop(columns=["self_influence", "gradient_norm"], errors="ignore").copy()
        of_stage = [each for each in alterations if each.stage == stage]
        altered: dict[int, list[Alteration]] = {}
        for each in of_stage:
            if each.kind not in (ADD, SWITCH_OFF):
                altered.setdefault(row_of_id(run, stage, each.id), []).append(each)
        table["weight"] = 1.0
        changes: list[dict[str, Any]] = []
        for row, of in altered.items():
            first, place = of[0], table.index[row]
            words = ", ".join(map(str, of))
            changes.append({"id": first.id, "change": words, "label before": table["label"].iloc[row]})
            if first.kind == RELABEL:
                table.loc[place, "label"] = str(first.value)
            if first.kind == UPWEIGHT:
                table.loc[place, "weight"] = 1.0 + first.value
            if first.kind == STRIKE:
                table.loc[place, "text"] = text_without(run, row, of)
        out = [row for row, (first, *_) in altered.items() if first.kind == LEAVE_OUT]
        votes, taken = run.votes(stage), _taken_back(run, stage, of_stage)
        if votes is not None and taken.any():
            left = votes[~taken]
            for row in sorted(set(votes["example"][taken])):
                label = _label_by(left["vote"][left["example"] == row], table["label"].iloc[row])
                table.loc[table.index[row], "label"] = label
                out += [row] * (label is None)
            changes += [{"id": NONE, "change": str(e), "label before": None} for e in of_stage if e.kind == SWITCH_OFF]
            found[f"{stage}-votes"] = left.assign(id=table["id"].to_numpy()[left["example"]])[["id", "rule", "vote"]]
        more = _added(run, stage, [each for each in of_stage if each.kind == ADD])
        changes += [{"id": name, "change": ADD, "label before": None} for name in more.get("id", ())]
        rest = table.drop(index=table.index[out])
        found[stage] = pd.concat([rest, *([more] if len(more) else [])], ignore_index=True)
        found[f"{stage}-changes"] = pd.DataFrame(changes)
    return found


def _taken_back(run: Run, stage: str, alterations: Sequence[Alteration]) -> np.ndarray:
    """Which of a stage's votes are taken back, a bool a row of `Run.votes`; none where it has no votes."""
    votes = run.votes(stage)
    if votes is None:
        return np.zeros(0, dtype=bool)
    off = {each.value for each in alterations if each.kind == SWITCH_OFF}
    back = {(row_of_id(run, stage, each.id), each.value) for each in alterations if each.kind == TAKE_BACK}
    return np.array(
        [rule in off or (row, rule) in back for row, rule in zip(votes["example"], votes["rule"], strict=True)]
    )


def _label_by(votes: pd.Series, before: Any) -> Any:
    """The class that most of an example's votes are for; among equals its own label, else the first; None: no vote."""
    counts = votes.value_counts()
    most = sorted(counts.index[counts == counts.max()])
    return before if before in most else next(iter(most), None)


def _added(run: Run, stage: str, additions: Sequence[Alteration]) -> pd.DataFrame:
    """The examples that are added to a stage, as its table has them."""
    if not additions:
        return pd.DataFrame()
    more = pd.concat([added_table(run, each) for each in additions], ignore_index=True)
    for place, file in more.get("file", pd.Series(dtype=object)).dropna().items():
        more.loc[place, "image"], more.loc[place, "source"] = png(read_picture(file)), printable(file)
    first = int(run.examples(stage)["id"].max()) + 1
    more["id"], more["weight"] = range(first, first + len(more)), 1.0
    return more[[name for name in more if name in (*run.examples(stage), "weight")]]
