"""One setting, measured in a process of its own: time in training epochs, memory, disk."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from influence import Stage, Study, attribute
from real.settings import SETTINGS, Setting, Size

MARK = Path("/proc/self/clear_refs")


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result in a process of its own, whose memory is nobody else's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def measured(name: str, size: Size, threads: int) -> dict[str, Any]:
    """Processor time of `attribute` with EK-FAC to the first stage, in epochs measured before and after it."""
    torch.set_num_threads(threads)
    study = SETTINGS[name].build(size)
    before = epoch(study, size)
    began, first = time.process_time(), forget_peak()
    scores = attribute(study, method="ekfac", progress=False)
    seconds = time.process_time() - began
    peak = largest_resident()
    base = min(before, epoch(study, size))
    return {
        "setting": name,
        "parameters": sum(p.numel() for p in study.stages[0].model.parameters()),
        "examples": [len(stage.data) for stage in study.stages],
        "queries": len(study.queries),
        "epoch_seconds": round(base, 2),
        "epochs": round(seconds / base, 2),
        "gigabytes": round(peak / 1e9, 2),
        "gigabytes_before": round(first / 1e9, 2),
        "warnings": len(scores.report["warnings"]),
        "notes": scores.report["notes"],
    }


def epoch(study: Study, size: Size) -> float:
    """Processor seconds of a plain forward and backward pass over the data of all stages."""
    return sum(pass_over(stage, size.batch) for stage in study.stages)


def pass_over(stage: Stage, batch_size: int) -> float:
    began, model = time.process_time(), stage.model
    assert stage.forward is not None
    asked = {p: p.requires_grad for p in model.parameters()}
    model.requires_grad_(True)
    for batch in DataLoader(stage.data, batch_size):
        stage.loss(stage.forward(model, batch), batch).mean().backward()
        model.zero_grad()
    spent = time.process_time() - began
    for parameter, before in asked.items():
        parameter.requires_grad_(before)
    return spent


def forget_peak() -> int:
    """Let the peak begin anew; bytes that are resident now."""
    with suppress(OSError):
        MARK.write_text("5", encoding="ascii")
    return resident("VmRSS")


def largest_resident() -> int:
    return resident("VmHWM")


def resident(what: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def as_line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


def shrunk(setting: Setting, share: float) -> Size:
    """The setting's size with a share of its examples: epochs and memory hardly depend on how many there are."""
    size = setting.size
    return dataclasses.replace(size, pretrain=int(size.pretrain * share), finetune=int(size.finetune * share))
