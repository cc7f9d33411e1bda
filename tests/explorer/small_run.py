"""A small run, written as the backend would write one: what the explorer's tests look at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from influence.run import Draft, Run

PRETRAIN, FINETUNE, QUERIES = 60, 20, 40
MISTAKE = 1007
"""Id of the query that is wrong with the highest confidence."""


def write_run(
    root: Path, name: str = "small", *, text: bool = False, mapped: bool = True, hostile: str = "", seed: int = 0
) -> Run:
    """Write a finished run of made-up numbers; `hostile` becomes a label (and a text) that must stay text."""
    rng = np.random.default_rng(seed)
    old, new = ["0", "1", hostile or "2"], ["7", "8", hostile or "9"]
    pretrain = _examples(rng, PRETRAIN, old, 0, text, hostile)
    finetune = _examples(rng, FINETUNE, new, 500, text, hostile)
    for table in (pretrain, finetune):
        table["self_influence"] = rng.exponential(0.01, len(table)).astype("float32")
        table["gradient_norm"] = rng.uniform(0.1, 2, len(table)).astype("float32")
    queries = _queries(rng, new, text, hostile)
    if mapped:
        for table in (pretrain, queries):
            table["x"], table["y"] = rng.normal(size=(2, len(table))).astype("float32")
    draft = Draft(root, name, {"seed": seed})
    draft.write_table("examples/pretrain", pretrain)
    draft.write_table("examples/finetune", finetune)
    draft.write_table("queries", queries)
    for stage in ("pretrain", "finetune"):
        draft.write_model(stage, {"weight": torch.zeros(2)})
    records = []
    for stage, method, count in (("pretrain", "exact", PRETRAIN), ("finetune", "exact", FINETUNE)):
        file, scores = draft.create_scores(stage, method, (QUERIES, count))
        scores[:] = rng.normal(scale=1e-3, size=(QUERIES, count)).astype("float32")
        report = {"curvature": "ggn", "damping": 0.001, "seconds": 0.1}
        records.append({"stage": stage, "method": method, "file": file, "report": report})
    draft.mark("everything")
    return draft.finish(_manifest(old, new, records, mapped))


def _png(rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (28, 28), dtype="uint8")).save(out, "PNG")
    return out.getvalue()


def _examples(
    rng: np.random.Generator, count: int, classes: list[str], first: int, text: bool, hostile: str
) -> pd.DataFrame:
    labels = [classes[i % len(classes)] for i in range(count)]
    table = pd.DataFrame(
        {
            "id": np.arange(first, first + count, dtype="int64"),
            "label": labels,
            "prediction": labels,
            "confidence": rng.uniform(0.7, 0.95, count).astype("float32"),
            "label_probability": np.float32(0.9),
            "loss": rng.exponential(0.2, count).astype("float32"),
        }
    )
    if text:
        return table.assign(text=[f"{hostile} sentence number {i} about rivers" for i in range(first, first + count)])
    return table.assign(image=[_png(rng) for _ in range(count)])


def _queries(rng: np.random.Generator, classes: list[str], text: bool, hostile: str) -> pd.DataFrame:
    table = _examples(rng, QUERIES, classes, 1000, text, hostile)
    # Every fifth is wrong, not very sure; one is wrong and almost sure; every seventh is barely right.
    table.loc[::7, "confidence"] = np.float32(0.5)
    table.loc[::5, "prediction"] = [classes[(i + 1) % 3] for i in range(0, QUERIES, 5)]
    table.loc[::5, "confidence"] = np.float32(0.6)
    at = MISTAKE - 1000
    table.loc[at, "prediction"] = classes[(at + 1) % 3]
    table.loc[at, "confidence"] = np.float32(0.97)
    probabilities = []
    for said, sure in zip(table["prediction"], table["confidence"], strict=True):
        row = np.full(len(classes), (1 - sure) / (len(classes) - 1), dtype="float32")
        row[classes.index(said)] = sure
        probabilities.append(row)
    return table.assign(probabilities=probabilities)


def _manifest(old: list[str], new: list[str], records: list[dict], mapped: bool) -> dict:
    def stage(name: str, count: int, classes: list[str]) -> dict:
        groups = {"frozen": [], "proximity": [], "new": ["weight"], "constant": []}
        training = {"gradient_norm": 1e-6, "iterations": 10, "converged": True, "seconds": 0.1}
        return {
            "name": name, "examples": count, "classes": classes, "parameters": groups, "l2": 0.01, "proximity": 0.0,
            "loss": 0.1, "accuracy": 0.95, "test_accuracy": None, "training": training, "smallest_curvature": 0.01,
        }  # fmt: skip

    return {
        "study": "small", "variant": "frozen", "title": "A small run", "summary": "Made for tests.",
        "created": "2026-11-23T18:00:00Z", "seed": 0, "measure": "loss of the true class",
        "stages": [stage("pretrain", PRETRAIN, old), stage("finetune", FINETUNE, new)],
        "scores": records, "default_method": "exact",
        "map": {"stage": "pretrain", "algorithm": "UMAP", "of": "embeddings"} if mapped else {},
        "timings": {"score": 0.1}, "peak_memory": 10**8, "versions": {"python": "3.11"},
        "warnings": ["One direction has nearly zero curvature."],
    }  # fmt: skip
