"""Simpler scores: BM25 against its formula, word by word; gradient cosines against gradients."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from influence.run import BM25, COSINE, baselines
from influence.run.nearness.bm25 import Bm25

TEXTS = ["A cat sat.", "The cat, the CAT and the dog", "no one", "", "dog dog dog dog"]


def by_formula(query: str, texts: list[list[str]]) -> list[float]:
    mean = sum(map(len, texts)) / len(texts)
    found = []
    for text in texts:
        total = 0.0
        for word in query.split():
            count, holding = text.count(word), sum(word in other for other in texts)
            rarity = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
            total += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(text) / mean))
        found.append(total)
    return found


@pytest.mark.parametrize("query", ["cat", "the dog the", "cat dog no", "unheard", ""])
def test_bm25_is_its_formula(query):
    plain = [text.lower().replace(",", "").replace(".", "").split() for text in TEXTS]
    np.testing.assert_allclose(Bm25(TEXTS).scores(query), by_formula(query, plain), rtol=1e-6)


def test_bm25_of_no_words_at_all():
    assert Bm25([]).scores("cat").shape == (0,)
    assert Bm25(["", "..."]).scores("cat").tolist() == [0, 0]


class Stored(SimpleNamespace):
    """What baselines read of a run."""

    def kept(self, stage, method):
        return None

    def methods(self, stage):
        return ["ekfac", "identity"]

    def examples(self, stage):
        return self.table

    def queries(self):
        return self.asked

    def scores(self, stage, method):
        assert method == "identity"
        return self.products

    def embedding(self):
        return None


def test_gradient_cosines_order_as_gradients_do():
    rng = np.random.default_rng(0)
    gradients, query = rng.normal(size=(7, 4)) * np.arange(7)[:, None], rng.normal(size=4)
    norms = np.linalg.norm(gradients, axis=1)
    table = pd.DataFrame({"gradient_norm": norms.astype(np.float32)})
    products = (gradients @ query)[None].astype(np.float32)
    run = Stored(table=table, asked=pd.DataFrame({"id": [0]}), products=products)
    run.manifest = SimpleNamespace(map=SimpleNamespace(stage=""))
    made = baselines(run, "pretrain")
    assert list(made) == [COSINE]
    found = made[COSINE]()(0)
    assert found[0] == 0  # an example without a gradient
    cosines = gradients[1:] @ query / norms[1:]
    np.testing.assert_allclose(found[1:] / np.linalg.norm(query), cosines / np.linalg.norm(query), rtol=1e-5)


def test_texts_have_bm25_and_a_missing_text_shares_no_word():
    table = pd.DataFrame({"text": ["a cat", None]})
    run = Stored(table=table, asked=pd.DataFrame({"text": ["cat"]}))
    run.manifest = SimpleNamespace(map=SimpleNamespace(stage=""))
    made = baselines(run, "pretrain")
    assert list(made) == [BM25]
    scores = made[BM25]()(0)
    assert scores[0] > scores[1] == 0
