"""Scores and tables as other tools and people leave them, written by hand in the forms that those tools document."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

QUERIES, EXAMPLES = 3, 70
SCORES = np.random.default_rng(0).normal(size=(QUERIES, EXAMPLES)).astype(np.float32)
QUERY_IDS, EXAMPLE_IDS = [5, 3, 9], list(range(1000, 1000 + EXAMPLES))


def write_tables(folder: Path) -> tuple[Path, Path]:
    """(examples as JSON lines, queries as CSV), in the order of `SCORES`."""
    examples, queries = folder / "examples.jsonl", folder / "queries.csv"
    lines = [{"id": i, "text": f"example {i}", "label": "ab"[i % 2], "source": "s"} for i in EXAMPLE_IDS]
    examples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    pd.DataFrame({"id": QUERY_IDS, "text": [f"query, {i}" for i in QUERY_IDS], "label": list("aba")}).to_csv(
        queries, index=False
    )
    return examples, queries


def numpy(folder: Path) -> Path:
    np.save(folder / "own.npy", SCORES.astype(np.float64))
    return folder / "own.npy"


def one_row_an_example(folder: Path) -> Path:
    np.save(folder / "turned.npy", np.asfortranarray(SCORES.T))
    return folder / "turned.npy"


def trak(folder: Path) -> Path:
    file = folder / "test.mmap"
    np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(EXAMPLES, QUERIES))[:] = SCORES.T
    return file


def kronfluence(folder: Path) -> Path:
    file = folder / "scores_ekfac" / "pairwise_scores.safetensors"
    file.parent.mkdir()
    save_file({"all_modules": torch.tensor(SCORES)}, file)
    return file.parent


def kronfluence_modules(folder: Path) -> Path:
    file = folder / "pairwise_scores.safetensors"
    save_file({"fc1": torch.tensor(SCORES) / 4, "fc2": torch.tensor(SCORES) * 0.75}, file)
    return file


def one_tensor(folder: Path) -> Path:
    file = folder / "half.safetensors"
    save_file({"scores": torch.tensor(SCORES).bfloat16()}, file)
    return file


def dattri(folder: Path) -> Path:
    torch.save(torch.tensor(SCORES.T.copy()), folder / "dattri.pt")
    return folder / "dattri.pt"


def dattri_llm(folder: Path) -> Path:
    made = folder / "attributed"
    made.mkdir()
    torch.save(torch.tensor(SCORES.T.copy()), made / "scores.pt")
    (made / "metadata.json").write_text(json.dumps({"num_rows": EXAMPLES, "num_train": EXAMPLES, "row_steps": []}))
    return made


def bergson(folder: Path, kind: str = "float32", higher: str = "true") -> Path:
    """As its score writer lays it out: a record an example, in it a number and a mark for each query."""
    made = folder / f"bergson-{kind}-{higher}"
    made.mkdir()
    size = {"float32": 4, "float64": 8, "bfloat16": 2}[kind]
    pair = 1 << size.bit_length()
    names = [name for i in range(QUERIES) for name in (f"score_{i}", f"written_{i}")]
    offsets = [place for i in range(QUERIES) for place in (i * pair, i * pair + size)]
    record = -(-QUERIES * pair // 8) * 8
    told = {"names": names, "formats": [kind, "bool"] * QUERIES, "offsets": offsets, "itemsize": record}
    raw = np.zeros((EXAMPLES, record), np.uint8)
    for i in range(QUERIES):
        as_bytes = torch.tensor(SCORES[i]).to(getattr(torch, kind)).view(torch.uint8).reshape(EXAMPLES, size).numpy()
        raw[:, i * pair : i * pair + size] = as_bytes
        raw[:, i * pair + size] = 1
    raw.tofile(made / "scores.bin")
    (made / "info.json").write_text(json.dumps({"num_items": EXAMPLES, "num_scores": QUERIES, "dtype": told}))
    if higher:
        (made / "config.yaml").write_text(f"steps:\n  - Score:\n      score_cfg:\n        higher_is_better: {higher}\n")
    return made


def parquet_columns(folder: Path) -> Path:
    table = pd.DataFrame(SCORES.T, columns=[f"q{i}" for i in QUERY_IDS])
    table.insert(0, "id", EXAMPLE_IDS)
    table.to_parquet(folder / "columns.parquet")
    return folder / "columns.parquet"


def parquet_lists(folder: Path) -> Path:
    pq.write_table(pa.table({"scores": [row.tolist() for row in SCORES]}), folder / "lists.parquet")
    return folder / "lists.parquet"


def pairs() -> list[dict[str, object]]:
    found = [
        {"query": query, "example": example, "score": float(SCORES[i, j])}
        for i, query in enumerate(QUERY_IDS)
        for j, example in enumerate(EXAMPLE_IDS)
    ]
    return found[::-1]


def parquet_pairs(folder: Path) -> Path:
    pd.DataFrame(pairs()).to_parquet(folder / "pairs.parquet")
    return folder / "pairs.parquet"


def json_pairs(folder: Path) -> Path:
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs()))
    return folder / "pairs.jsonl"


def json_rows(folder: Path) -> Path:
    rows = [{"id": i, "scores": row.tolist()} for i, row in zip(QUERY_IDS, SCORES, strict=True)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return folder / "rows.jsonl"


def json_lists(folder: Path) -> Path:
    (folder / "lists.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SCORES.T.tolist()))
    return folder / "lists.jsonl"


FORMS = [
    numpy, one_row_an_example, trak, kronfluence, kronfluence_modules, one_tensor, dattri, dattri_llm, bergson,
    parquet_columns, parquet_lists, parquet_pairs, json_pairs, json_rows, json_lists,
]  # fmt: skip
