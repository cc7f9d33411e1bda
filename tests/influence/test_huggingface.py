"""Stages from what a training with transformers had, against the models' own losses."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pytest
import tiny_checkpoints as tiny
import torch

from influence import attribute
from influence.errors import StudyError
from influence.huggingface import exhibit, stage

ROWS = [{"text": text, "label": ["pet", "tool"].index(topic)} for text, topic in tiny.sentences(12, 1)]


class Dataset:
    """What of `datasets.Dataset` is used: rows as dicts, and features with names of classes."""

    class _Classes:
        names = ("pet", "tool")

    features: ClassVar = {"label": _Classes()}

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, position):
        return ROWS[position]

    def __iter__(self):
        return iter(ROWS)


@pytest.fixture(scope="module")
def classifier():
    words = tiny.words_tokenizer()
    return tiny.bert("BertForSequenceClassification", words, num_labels=2), words


def losses(made):
    batch = made.collate([made.data[i] for i in range(len(made.data))])
    return made.loss(made.forward(made.model, batch), batch)


def test_data_of_every_form_gives_the_same_losses(classifier):
    model, words = classifier
    texts, labels = [row["text"] for row in ROWS], [row["label"] for row in ROWS]
    encoded = words(texts)
    tokenized = [{**{key: encoded[key][i] for key in encoded}, "label": labels[i]} for i in range(len(ROWS))]
    padded = words(texts, padding="max_length", max_length=12)
    padded["labels"] = labels
    forms = [
        stage("a", model, Dataset(), words),
        stage("a", model, ROWS, words),
        stage("a", model, pd.DataFrame(ROWS), words),
        stage("a", model, {"sentence": texts, "label": labels}, words, columns={"text": "sentence"}),
        stage("a", model, tokenized, words),
        stage("a", model, padded, words),
        stage("a", model, tokenized, words, collate=tiny.transformers.DataCollatorWithPadding(words)),
    ]
    batch = words(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        own = torch.nn.functional.cross_entropy(model(**batch).logits, torch.tensor(labels), reduction="none")
        for made in forms:
            torch.testing.assert_close(losses(made), own, rtol=1e-4, atol=1e-5)
    assert forms[0].data.table["label"].tolist() == [["pet", "tool"][label] for label in labels]


def test_two_stages_and_queries_are_a_study(classifier):
    tuned, words = classifier
    before = tiny.bert("BertForMaskedLM", words)
    before.bert.load_state_dict(tuned.bert.state_dict(), strict=False)
    pretrain = stage("pretrain", before, [{"text": text} for text, _ in tiny.sentences(16, 2)], words, l2=0.1)
    finetune = stage("finetune", tuned, ROWS, words, after=pretrain, l2=0.1)
    assert "bert.embeddings.word_embeddings.weight" in finetune.frozen
    assert "classifier.weight" not in finetune.frozen
    shown = exhibit("topics", [pretrain, finetune], ROWS[:3])
    scores = attribute(shown.study, method="identity", progress=False)
    assert scores.values.shape == (3, 16)
    assert (scores.values != 0).any()
    assert shown.tokens["queries"]["starts"][0][0] == 0
    assert shown.form == "text"


def test_what_does_not_fit_is_named(classifier):
    model, words = classifier
    with pytest.raises(StudyError, match="an example has 'sentence', and neither 'text' nor 'input_ids'"):
        stage("a", model, [{"sentence": "a cat"}], words)
    with pytest.raises(StudyError, match="and no labels"):
        stage("a", model, words(["a cat"]), words)
    with pytest.raises(StudyError, match="expected dicts"):
        stage("a", model, ["a cat"], words)
    with pytest.raises(StudyError, match="example 0: the label is '7', which the model's head has not"):
        stage("a", model, [{"text": "a cat", "label": 7}], words)
