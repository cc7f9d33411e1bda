"""Parts of run.json: the records of the stages, and the settings that a run depends on."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from influence.derivatives import Objective
from influence.engine.actor import processor
from influence.engine.pieces import Engine
from influence.run.records import ParameterNames, StageRecord, Training
from influence.version import VERSION

PACKAGES = ("torch", "numpy", "pandas", "umap-learn", "zarr")


def stage_record(
    objective: Objective,
    classes: Sequence[str],
    table: pd.DataFrame,
    queries: pd.DataFrame | None,
    training: dict[str, Any],
    smallest: float | None,
) -> StageRecord:
    """What the manifest says of one stage; `queries` are those of the last one."""
    stage, groups = objective.stage, objective.groups
    return StageRecord(
        name=stage.name,
        examples=len(stage.data),
        classes=tuple(classes),
        parameters=ParameterNames(tuple(groups.frozen), tuple(groups.held), tuple(groups.new), tuple(groups.constant)),
        l2=stage.l2,
        proximity=stage.proximity,
        loss=float(table.loss.mean()),
        accuracy=_accuracy(table, classes),
        test_accuracy=None if queries is None else _accuracy(queries, classes),
        training=Training(**training),
        smallest_curvature=smallest,
    )


def _accuracy(table: pd.DataFrame, classes: Sequence[str]) -> float | None:
    """Share of right predictions; None for what is no classifier."""
    return float((table["prediction"] == table["label"]).mean()) if classes else None


def versions(device: torch.device, engine: Engine | None = None) -> dict[str, Any]:
    """Package versions and what else a repeated run depends on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    found = {
        "upstream-explorer": VERSION,
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "device": f"{device} ({name})" if name else str(device),
        "processor": processor(),
    }
    if engine and engine.processors:  # else this process computed all of it
        found["workers"] = f"{engine.workers} ({', '.join(sorted(engine.processors))})"
    return found


def unlike_processors(engine: Engine | None) -> list[str]:
    """A note if workers computed on processors that round differently."""
    kinds = {processor(), *engine.processors} if engine else set()
    if len(kinds) < 2:
        return []
    return [
        f"Computed by processors of {len(kinds)} kinds ({', '.join(sorted(kinds))}), which round differently: another "
        "computation of this run agrees to about a millionth of each value, not to the last digit."
    ]
