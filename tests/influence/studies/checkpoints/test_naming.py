"""Outputs that nobody named are named by what the finetuned model says of its own texts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from influence.errors import StudyError
from influence.studies.checkpoints.texts import naming
from influence.studies.checkpoints.texts.labels import Head
from influence.studies.checkpoints.texts.rows import Item

LABELS = ["sea", "wood", "sky"] * 20


def named(monkeypatch, told, labels=LABELS, outputs=("LABEL_0", "LABEL_1", "LABEL_2")):
    monkeypatch.setattr(naming, "_told", lambda model, items: told)
    items = [Item(row, f"f.csv, line {row + 2}", "text", label) for row, label in enumerate(labels)]
    return naming.names_of_outputs(SimpleNamespace(head=Head("classification", outputs)), items)


def test_names_go_to_the_outputs_that_their_texts_get(monkeypatch):
    told = [{"sea": 1, "wood": 0, "sky": 2}[label] for label in LABELS]
    assert named(monkeypatch, told)[0] == ["wood", "sea", "sky"]
    wrong = [told[(i + 1) % len(told)] if i % 5 == 0 else each for i, each in enumerate(told)]
    names, (note,) = named(monkeypatch, wrong)
    assert names == ["wood", "sea", "sky"]
    assert "0 is 'wood', 1 is 'sea' and 2 is 'sky': so 48 of 60 are right" in note


def test_an_output_without_texts_stays_nameless(monkeypatch):
    told = [{"sea": 3, "wood": 0, "sky": 2}[label] for label in LABELS]
    outputs = ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert named(monkeypatch, told, outputs=outputs)[0] == ["wood", "LABEL_1", "sky", "sea"]


@pytest.mark.parametrize("told", [[0] * 60, [i % 4 % 3 for i in range(60)]], ids=["always one", "any"])
def test_a_model_that_does_not_know_the_labels_names_nothing(monkeypatch, told):
    with pytest.raises(StudyError, match=r"cannot be told.*at best \d+ of 60.*id2label"):
        named(monkeypatch, told)


def test_more_labels_than_outputs(monkeypatch):
    with pytest.raises(StudyError, match=r"f.csv: there are 3 labels \(sea, sky.*has 2 outputs"):
        named(monkeypatch, [], outputs=("LABEL_0", "LABEL_1"))


@pytest.mark.parametrize(
    ("labels", "outputs"), [(["0", "1", "2"] * 20, ("LABEL_0", "LABEL_1", "LABEL_2")), (LABELS, ("sea", "wood", "sky"))]
)
def test_nothing_is_to_be_named(monkeypatch, labels, outputs):
    assert named(monkeypatch, [], labels, outputs) == ([], [])
