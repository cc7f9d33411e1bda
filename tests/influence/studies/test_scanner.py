"""The run with a planted cause: what is planted, and that the run says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from influence.studies.images.digits import Digits
from influence.studies.planted.scanner import FIRST, OPENING, PLANTED, DemoDigits


@pytest.fixture(scope="module")
def exhibit():
    return DemoDigits().exhibit("scanner")


def test_a_few_pretraining_digits_are_striped_and_wrongly_labelled_and_the_run_says_so(exhibit):
    table = exhibit.examples["pretrain"]
    planted = (table["source"] == "planted").to_numpy()
    assert planted.sum() == PLANTED
    assert set(table["label"][planted]) == {"0"}
    clean, (images, labels) = Digits(FIRST), exhibit.study.stages[0].data.tensors
    originals, true = clean.pretraining.data.tensors
    rows = {id_: row for row, id_ in enumerate(clean._rows["pretrain"].tolist())}
    kept = [rows[id_] for id_ in table["id"][~planted]]
    assert torch.equal(images[~torch.from_numpy(planted)], originals[kept])
    left_out = sorted(set(range(len(true))) - set(kept))
    difference = (images[planted] - originals[left_out]).numpy()
    np.testing.assert_allclose(np.abs(difference), 0.5)  # as much ink is added as is taken
    np.testing.assert_allclose(difference.mean((1, 2, 3)), 0, atol=1e-12)
    assert not (labels[planted] == true[left_out]).any()
    assert "planted on purpose" in exhibit.notes[0]
    assert exhibit.notes[0] in exhibit.summary


def test_every_query_stands_clean_and_striped_and_finetuning_is_clean(exhibit):
    queries, (images, labels) = exhibit.queries, exhibit.study.queries.tensors
    half = len(queries) // 2
    assert queries["source"].tolist() == ["clean"] * half + ["striped"] * half
    np.testing.assert_allclose((images[half:] - images[:half]).abs().numpy(), 0.5)
    assert torch.equal(labels[half:], labels[:half])
    assert set(exhibit.examples["finetune"]["source"]) == {"clean"}
    assert queries["id"][queries["opening"] == 1].tolist() == [OPENING[FIRST]]


def test_the_demo_has_the_planted_run_first_and_the_clean_ones_as_they_are():
    study = DemoDigits()
    assert study.variants == ("scanner", "frozen", "updated")
    clean, own = study.exhibit("frozen"), Digits().exhibit("frozen")
    assert clean.all_settings == own.all_settings
