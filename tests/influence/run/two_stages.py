"""A run of two stages with more than a chunk of queries and examples, written; and run.json written anew."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import torch

from influence.run.draft import Draft
from influence.run.manifest import read_manifest
from influence.run.reading import Run
from influence.run.records import Manifest, MapRecord, ScoreRecord, StageRecord

SETTINGS = {"seed": 3, "grid": [1, 2]}
QUERIES, OLD, NEW = 70, 1500, 30  # more than a chunk of each
rng = np.random.default_rng(0)
VALUES = {
    ("pretrain", "exact"): rng.normal(size=(QUERIES, OLD)).astype("float32"),
    ("pretrain", "identity"): rng.normal(size=(QUERIES, OLD)).astype("float32"),
    ("finetune", "exact"): rng.normal(size=(QUERIES, NEW)).astype("float32"),
}


def write(root, name="r", settings=SETTINGS):
    draft = Draft(root, name, settings)
    with draft.locked():
        return finish(draft)


def finish(draft, pending=()):
    for stage, count in (("pretrain", OLD), ("finetune", NEW)):
        draft.write_table(f"examples/{stage}", pd.DataFrame({"id": np.arange(count), "label": "a"}))
        draft.write_model(stage, {"w": torch.arange(6.0).reshape(2, 3).T})
    draft.write_table("queries", pd.DataFrame({"id": np.arange(QUERIES), "label": "b"}))
    records = []
    for (stage, method), values in VALUES.items():
        file, array = draft.create_scores(stage, method, values.shape)
        array[:] = values
        records.insert(0, ScoreRecord(stage, method, file))
    return draft.finish(manifest(*records), pending)


def manifest(*scores):
    return Manifest(
        study="s", variant="", title="t", created="2026-11-23T18:00:00Z", default_method="exact",
        stages=(StageRecord("pretrain", OLD), StageRecord("finetune", NEW)), scores=scores, map=MapRecord(),
    )  # fmt: skip


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rewrite(folder, **changes):
    """run.json with other fields, and the checksum of those."""
    manifest = json.loads((folder / "run.json").read_text()) | changes
    del manifest["checksum"]
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "run.json").write_text(json.dumps(manifest | {"checksum": digest}))


def relisted(folder):
    """The run, with the files as they now are: checksums tell damage, not who wrote them."""
    names = json.loads((folder / "run.json").read_text())["files"]
    rewrite(folder, files={name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names})
    return Run(folder, read_manifest(folder))
