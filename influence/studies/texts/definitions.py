"""Dictionary definitions: a language model pretrained on those of all topics, finetuned to tell eight topics apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from influence.studies.cards import DEFINITIONS
from influence.studies.shipped import shipped_file
from influence.studies.texts.corpus import Corpus
from influence.studies.texts.options import TextOptions
from influence.studies.texts.study import TextStudy

TOPICS = (
    "noun.animal",
    "noun.artifact",
    "noun.body",
    "noun.food",
    "noun.location",
    "noun.person",
    "noun.plant",
    "noun.substance",
)
FINETUNE_PER_TOPIC, QUERIES_PER_TOPIC = 100, 100
"""Definitions of each topic to finetune on, and to explain."""
KINDS = {"noun": "nouns", "verb": "verbs", "adj": "adjectives", "adv": "adverbs"}


class Definitions(TextStudy):
    """`definitions`: WordNet's, of all topics to pretrain on, 800 of eight topics to finetune on, 800 to explain.

    Args:
        seed: draws which definitions are which, and of everything else that is random.
        queries: at most so many of those to explain; 0 for all.
        sentence_model: as of `TextOptions`.
    """

    card = DEFINITIONS
    usual = "frozen"
    """The variant that is computed by default: both take twice as long."""

    def __init__(self, seed: int = 0, queries: int = 0, sentence_model: Path | None = None):
        super().__init__(self.card.name, "Definitions", corpora(seed), options(seed, queries, sentence_model))


def options(seed: int, queries: int = 0, sentence_model: Path | None = None) -> TextOptions:
    """The options of the model."""
    return TextOptions(fading=0.9, seed=seed, queries=queries, sentence_model=sentence_model)


def corpora(seed: int) -> dict[str, Corpus]:
    """The definitions of each part, drawn by the seed."""
    table = pd.read_parquet(shipped_file("definitions/definitions.parquet"))
    return {name: _corpus(table.iloc[rows]) for name, rows in _rows_by_part(table["label"], seed).items()}


def _rows_by_part(labels: pd.Series, seed: int) -> dict[str, np.ndarray]:
    """Rows of each part, in the order of the file. The file holds no text twice, nor nearly (`data/definitions`)."""
    rng = np.random.default_rng(seed)
    finetune, queries = [], []
    for topic in TOPICS:
        rows = rng.permutation(np.flatnonzero(labels == topic))
        finetune.append(rows[:FINETUNE_PER_TOPIC])
        queries.append(rows[FINETUNE_PER_TOPIC : FINETUNE_PER_TOPIC + QUERIES_PER_TOPIC])
    rest = np.setdiff1d(np.arange(len(labels)), np.concatenate([*finetune, *queries]))
    return {
        "pretrain": rest,
        "finetune": np.sort(np.concatenate(finetune)),
        "queries": np.sort(np.concatenate(queries)),
    }


def _corpus(table: pd.DataFrame) -> Corpus:
    kinds = table["label"].str.partition(".")[0].map(KINDS)
    return Corpus(
        texts=table["text"].tolist(),
        labels=table["label"].str.removeprefix("noun.").tolist(),
        ids=table["id"].tolist(),
        titles=table["word"].tolist(),
        sources=kinds.tolist(),
    )
