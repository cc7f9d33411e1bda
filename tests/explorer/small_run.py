"""A small run, written as the backend would write one: what the explorer's tests look at."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import zarr
from PIL import Image

from influence.run.draft import Draft
from influence.run.files import checksum
from influence.run.reading import Run
from influence.run.records import (
    Manifest,
    MapRecord,
    ParameterNames,
    ScoreRecord,
    StageRecord,
    Training,
    json_of,
    manifest_of,
)

PRETRAIN, FINETUNE, QUERIES = 60, 20, 40
MISTAKE = 1007
"""Id of the query that is wrong with the highest confidence."""
CONTEXT, SPLIT = 40, 20
"""Of a run of texts: tokens that the model reads, and examples of each sign and query whose scores are split."""
GROUPS = [f"noun.group{i:02d}" for i in range(14)]
"""Labels of its pretraining texts, which have no classes."""
MAP = MapRecord("pretrain", "UMAP", "embeddings")
WORDS = ("river", "delta", "meadow", "harbour", "lantern", "granite", "orchard", "compass")


def write_run(
    root: Path,
    name: str = "small",
    *,
    text: bool = False,
    voted: bool = False,
    mapped: bool = True,
    embedded: bool = True,
    hostile: str = "",
    seed: int = 0,
    scored: int | None = None,
    methods: Sequence[str] = ("exact",),
    pending: Sequence[str] = (),
) -> Run:
    """Write a finished run of made-up numbers; `hostile` becomes a label (and a text) that must stay text.

    Parts named in `pending` are still to be computed; `add_map` adds the map.

    Runs of one `seed` have the same examples and queries; with another number in `scored` their scores differ.

    A run of texts looks like that of a language model: its first stage has no classes, texts have tokens, titles and
    sources, and the strongest scores are split over the tokens. Of one that is `voted` on, two rules made the labels of
    the first stage, or of a class that is `hostile` rules of such names.
    """
    rng = np.random.default_rng(seed)
    old, new = ["0", "1", hostile or "2"], ["7", "8", hostile or "9"]
    pretrain = _examples(rng, PRETRAIN, old, 0, text, hostile)
    finetune = _examples(rng, FINETUNE, new, 500, text, hostile)
    for table in (pretrain, finetune):
        if table is finetune or not text:
            table["self_influence"] = rng.exponential(0.01, len(table)).astype("float32")
        table["gradient_norm"] = rng.uniform(0.1, 2, len(table)).astype("float32")
    if text:
        pretrain = _of_a_language_model(pretrain, hostile)
    queries = _queries(rng, new, text, hostile)
    draft = Draft(root, name, {"seed": seed})
    mapped = mapped and "map" not in pending
    if mapped:
        _write_places(draft, rng)
    stages = {"pretrain": pretrain, "finetune": finetune}
    if mapped and embedded:
        for table, count in (("examples", PRETRAIN), ("queries", QUERIES)):
            draft.write_array(f"embedding/{table}", rng.normal(size=(count, 8)).astype("float32"))
    draft.write_table("queries", queries)
    for stage, table in stages.items():
        draft.write_table(f"examples/{stage}", table)
        draft.write_model(stage, {"weight": torch.zeros(2)})
    scorer = rng if scored is None else np.random.default_rng(scored)
    records = [
        _scored(draft, scorer, stage, len(table), method) for stage, table in stages.items() for method in methods
    ]
    if text:
        tokens, scores = _tokens(pretrain["text"]), zarr.open_array(draft.path(records[0].file), mode="r")
        draft.write_table("tokens/pretrain", tokens)
        draft.write_table("tokens/queries", _tokens(queries["text"]))
        draft.write_shares("pretrain", "exact", _shares(rng, scores[:], tokens))
    if voted:
        draft.write_table("votes/pretrain", votes(pretrain, hostile))
    draft.mark("everything")
    shares = {"pretrain-exact": SPLIT} if text else {}
    return draft.finish(_manifest([] if text else old, new, records, mapped, shares), pending)


def votes(table: pd.DataFrame, hostile: str = "") -> pd.DataFrame:
    """One rule votes for the label of every example, another for "0" on every third."""
    thirds = table["label"].index[::3]
    rules = [f"{hostile}always"] * len(table) + [f"{hostile}thirds, -as-"] * len(thirds)
    found = {"example": [*range(len(table)), *thirds], "rule": rules, "vote": [*table["label"], *["0"] * len(thirds)]}
    return pd.DataFrame(found).sort_values("example", kind="stable", ignore_index=True)


def add_map(root: Path, name: str = "small", seed: int = 0) -> Run:
    """Put the pending map into a run, as the process that computes it would."""
    draft = Draft(root, name, {"seed": seed})
    _write_places(draft, np.random.default_rng(seed))
    return draft.add("map", {"map": MAP})


def _write_places(draft: Draft, rng: np.random.Generator) -> None:
    for table, count in (("pretrain", PRETRAIN), ("queries", QUERIES)):
        places = rng.normal(size=(2, count)).astype("float32")
        draft.write_table(f"map/{table}", pd.DataFrame({"x": places[0], "y": places[1]}))


def restated(run: Run, **fields: Any) -> Run:
    """The run with other fields in its manifest, on the disk too, where they have their checksum."""
    told = json_of(dataclasses.replace(run.manifest, **fields))
    (run.path / "run.json").write_text(json.dumps(told))
    run.manifest = manifest_of(told, run.path)
    return run


def relisted(run: Run) -> Run:
    """The run with the checksums of its files as they now are: they tell damage, not who wrote them."""
    return restated(run, files={name: checksum(run.path / name) for name in run.manifest.files})


def restaged(run: Run, place: int, **fields: Any) -> Run:
    """The run with other fields in the record of its stage number `place`."""
    stages = list(run.manifest.stages)
    stages[place] = dataclasses.replace(stages[place], **fields)
    return restated(run, stages=tuple(stages))


def _scored(draft: Draft, rng: np.random.Generator, stage: str, count: int, method: str) -> ScoreRecord:
    file, scores = draft.create_scores(stage, method, (QUERIES, count))
    scores[:] = rng.normal(scale=1e-3, size=(QUERIES, count)).astype("float32")
    report = {"curvature": "ggn", "damping": 0.001, "seconds": 0.1}
    return ScoreRecord(stage, method, file, report)


def _of_a_language_model(table: pd.DataFrame, hostile: str) -> pd.DataFrame:
    """The first stage's texts: groups and no predictions; one without a group, some longer than the model reads."""
    groups = [hostile if hostile and i % 3 == 2 else GROUPS[i % len(GROUPS)] for i in range(len(table))]
    groups[5] = ""
    texts = [text + " flows on" * (60 if i % 10 == 3 else 0) for i, text in enumerate(table["text"])]
    kept = table.drop(columns=["prediction", "confidence", "label_probability"])
    sources = [("book", hostile or "news", "web")[i % 3] for i in range(len(table))]
    titles = [f"{hostile}head {i}" if i % 4 else "" for i in range(len(table))]
    return kept.assign(label=groups, text=texts, title=titles, source=sources)


def _tokens(texts: pd.Series) -> pd.DataFrame:
    """Words as tokens, as many as the model reads."""
    found = [list(re.finditer(r"\S+", text))[:CONTEXT] for text in texts]
    return pd.DataFrame(
        {
            "starts": [np.array([token.start() for token in row], dtype="int32") for row in found],
            "ends": [np.array([token.end() for token in row], dtype="int32") for row in found],
        }
    )


def _shares(rng: np.random.Generator, scores: np.ndarray, tokens: pd.DataFrame) -> pd.DataFrame:
    """The strongest scores, split at random so that the parts add up to them."""
    rows = []
    for query, row in enumerate(scores):
        order = np.argsort(row)
        for example in (*order[-SPLIT:][::-1], *order[:SPLIT]):
            parts = rng.normal(size=len(tokens["starts"][example])) * abs(row[example])
            parts += (row[example] - parts.sum()) / len(parts)
            rows.append((np.int32(query), np.int32(example), parts.astype("float32")))
    return pd.DataFrame(rows, columns=["query", "example", "shares"])


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
        numbers = range(first, first + count)
        texts = [f"{hostile} sentence number {i} about rivers and a {WORDS[i % len(WORDS)]}" for i in numbers]
        return table.assign(text=texts)
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


def _manifest(
    old: list[str], new: list[str], records: list[ScoreRecord], mapped: bool, shares: dict[str, int]
) -> Manifest:
    def stage(name: str, count: int, classes: list[str]) -> StageRecord:
        return StageRecord(
            name, count, tuple(classes), ParameterNames(new=("weight",)), l2=0.01, proximity=0.0, loss=0.1,
            accuracy=0.95 if classes else None, smallest_curvature=0.01,
            training=Training(gradient_norm=1e-6, iterations=10, converged=True, seconds=0.1),
        )  # fmt: skip

    return Manifest(
        study="small", variant="frozen", title="A small run", summary="Made for tests.",
        created="2026-11-23T18:00:00Z", seed=0, measure="loss of the true class",
        stages=(stage("pretrain", PRETRAIN, old), stage("finetune", FINETUNE, new)),
        scores=tuple(records), default_method="exact", shares=shares,
        map=MAP if mapped else MapRecord(),
        timings={"score": 0.1}, peak_memory=10**8, versions={"python": "3.11"},
        warnings=("One direction has nearly zero curvature.",),
    )  # fmt: skip
