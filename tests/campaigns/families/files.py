"""Texts and pictures as they lie on a disk: a head on the study that `upstream precompute` makes of them.

The independent side gets the texts and pixels that were written, not what was read.
"""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from comparison import DIRECT, Row, Setup
from PIL import Image
from tokenizers import Tokenizer

from influence.studies import exhibits_for

KIND = "Files"
TOPICS = {
    "tea": ["Tea, with milk.", "a cup of tea", "hot tea; two sugars", "green tea", "black tea with a lemon"],
    "rain": ["It rains", "rain all day", 'he said "rain"', "a cloud, then rain", "no rain today, and no wind"],
}
ROWS_OF_TEXT = [(topic[i], label) for i in range(5) for label, topic in TOPICS.items()]
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIDE = 8


def as_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def as_json_lines(path, rows):
    path.write_text("".join(json.dumps({"label": label, "text": text}) + "\n" for text, label in rows), "utf-8")


def as_parquet(path, rows):
    pd.DataFrame(rows, columns=["text", "label"]).to_parquet(path)


def texts(suffix, write):
    """A classifier's head on texts of one file; the same file three times: to pretrain, to finetune, and to ask of."""

    def make():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"texts.{suffix}")
            write(path, ROWS_OF_TEXT)
            options = {"vocabulary": 40, "context": 6, "finetuning": "frozen"}
            exhibit = exhibits_for(None, None, [path] * 3, 0, options, {})[0]
        words, classes = Tokenizer.from_str(exhibit.tokenizer), sorted(TOPICS)
        read = [(torch.tensor(words.encode(text).ids[:6]), classes.index(label)) for text, label in ROWS_OF_TEXT]
        return head_of(exhibit, sorted(read, key=lambda example: len(example[0])))  # a study begins with short texts

    return make


def pictures():
    """A head on folders of pictures, one a class."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, SIDE, SIDE, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for i, picture in enumerate(pixels):
            place = Path(folder, ("cat", "dog")[i % 2])
            place.mkdir(exist_ok=True)
            Image.fromarray(picture).save(place / f"{i}.png")
        exhibit = exhibits_for(None, [Path(folder)] * 3, None, 0, {"size": SIDE, "finetuning": "frozen"}, {})[0]
        data = list(exhibit.study.stages[1].data)  # pictures are read when they are asked for
    scaled = torch.from_numpy((pixels / 255 - MEAN) / DEVIATION).permute(0, 3, 1, 2).float()
    order = [*range(0, 10, 2), *range(1, 10, 2)]
    return head_of(exhibit, [(scaled[i], i % 2) for i in order], data)


def head_of(exhibit, examples, data=None):
    stage = exhibit.study.stages[1]
    with torch.no_grad():
        for name, parameter in stage.model.named_parameters():
            if name not in stage.frozen:
                parameter.normal_(std=0.3)
    return Setup(
        stage.model,
        stage.loss,
        examples,
        examples[:3],
        collate=stage.collate,
        frozen=stage.frozen,
        data=data or stage.data,
        methods=DIRECT,
    )


FILES = {
    "CSV, a head on its texts": texts("csv", as_csv),
    "JSON lines, a head on its texts": texts("jsonl", as_json_lines),
    "Parquet, a head on its texts": texts("parquet", as_parquet),
    "class folders, a head on their pictures": pictures,
}
QUICK = {"CSV, a head on its texts", "class folders, a head on their pictures"}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in FILES.items()]
