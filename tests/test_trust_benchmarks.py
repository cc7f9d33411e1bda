"""What the trust benchmarks compute themselves: figures in words, methods of others, training again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from causes.pictures import PlantedDigits
from causes.sentences import LONG, WORD, corpora
from trust import experiments, peers
from trust.again import Again
from trust.settings import Size, digits, texts
from trust.tables import across, gap, reached

from influence.training.recording import retrain

SIZE = Size(pretrain=40, finetune=30, queries=12, steps=20, batch=10)


@pytest.fixture(scope="module")
def again():
    return Again(digits("updated", SIZE, 0))


def test_figures_over_seeds_in_words():
    values = pd.Series([0.5, 0.7])
    assert across(values) == "0.60 (0.50 to 0.70)"
    assert across(values[:1], ".1f") == "0.5"
    assert [reached(values, goal) for goal in (0.6, 0.61, None)] == ["yes", "no", ""]


def test_a_gap_has_the_interval_of_students_t():
    low, words = gap(pd.Series([1.0, 2.0, 3.0]), pd.Series([0.0, 0.0, 0.0]))
    assert low == pytest.approx(2 - 4.302653 / np.sqrt(3), abs=1e-4)
    assert words == "+2.00 ± 2.48"
    low, words = gap(pd.Series([1.0]), pd.Series([2.0]))
    assert np.isnan(low)
    assert words == "-1.00 (one seed: no error)"


def test_log_odds_are_those_of_the_true_class():
    outputs = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    p = outputs.softmax(1)[torch.arange(2), torch.tensor([1, 0])]
    torch.testing.assert_close(peers.log_odds(outputs, [outputs, torch.tensor([1, 0])]), (p / (1 - p)).log())


def test_gradient_products_are_of_the_shared_weights(again):
    found = peers.gradient_products(again.study)
    gradients = []
    for stage, data, row in zip(
        again.study.stages, (again.study.stages[0].data, again.study.queries), (3, 5), strict=True
    ):
        x, y = data.tensors
        loss = stage.loss(stage.model(x[row : row + 1]), [x, y[row : row + 1]]).sum()
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(stage.model.features.parameters()))])
        )
    assert found.shape == (12, 40)
    assert found[5, 3] == pytest.approx(float(gradients[0] @ gradients[1]) / 40, rel=1e-5)


def test_trak_is_finite_and_nearness_is_a_cosine(again):
    assert np.isfinite(peers.trak([again.study])).all()
    near = peers.neighbours(again.study, lambda model, batch: model.features(batch[0]))
    assert near.shape == (12, 40)
    assert (np.abs(near) <= 1 + 1e-6).all()


@pytest.mark.parametrize("start", ["scratch", "solution"])
def test_leaving_nothing_out_changes_nothing(again, start):
    weights = again.without([[], [4]])
    changes = again.from_scratch(weights) if start == "scratch" else again.from_solution(weights)
    assert np.abs(changes[0]).max() < 1e-7
    assert np.abs(changes[1]).max() > 1e-5


def test_from_scratch_is_the_recorded_training_repeated(again):
    weights = again.without([[4, 7]])
    model = again.study.stages[1].model
    alone = retrain(again.recordings, {"pretrain": weights[0]})[-1].parameters
    x, y = again.study.queries.tensors
    outputs = torch.func.functional_call(model, alone, (x,))
    expected = torch.nn.functional.cross_entropy(outputs, y, reduction="none").numpy() - again.losses
    np.testing.assert_allclose(again.from_scratch(weights)[0], expected, atol=1e-9)


def test_another_start_and_order_is_another_training(again):
    other = Again(again.setting.other(7))
    assert np.abs(other.losses - again.losses).max() > 1e-4
    assert not torch.equal(other.recordings[0].start["head.weight"], again.recordings[0].start["head.weight"])
    assert torch.equal(other.study.queries.tensors[0], again.study.queries.tensors[0])


def test_removal_is_chosen_by_one_half_and_judged_by_the_other():
    found = experiments.removal(digits("frozen", SIZE, 1), 1)
    assert set(found) == {f"{w} {n}" for w in ("accuracy", "loss") for n in ("nothing", "harmful", "helpful", "random")}
    assert all(0 <= value <= 1 for name, value in found.items() if name.startswith("accuracy"))


def test_texts_are_trained_to_the_one_minimum_and_again_from_there():
    again = Again(texts("frozen", SIZE, 0))
    assert not again.recordings
    weights = again.without([[3]])
    changes = again.retrainer.losses_with("pretrain", weights[0]).numpy() - again.losses
    np.testing.assert_allclose(again.from_scratch(weights)[0], changes, atol=1e-6)
    assert np.abs(changes).max() > 1e-3


@pytest.mark.parametrize("rotated", [True, False])
def test_planted_digits_are_turned_or_have_another_label(rotated):
    study = PlantedDigits(0, rotated=rotated, planted=5, queries=9)
    clean, changed = study._clean._digits, study._digits
    turned = np.flatnonzero((clean[0] != changed[0]).any((1, 2)))
    asked = study._rows["queries"]
    assert set(turned) == ({*study.planted, *asked[:3]} if rotated else set())
    assert np.flatnonzero(clean[1] != changed[1]).tolist() == ([] if rotated else study.planted.tolist())
    assert set(changed[1][study.planted]) <= set(range(4))


def test_planted_texts_call_the_first_kind_by_the_word():
    parts = corpora(LONG, 0, 3, (20, 10), 4)
    marked = [WORD in text for text in parts["pretrain"].texts]
    assert marked == [False] * 20 + [True] * 3
    assert set(parts["pretrain"].labels[20:]) == {"kitchen"}
    assert not any(WORD in text for text in parts["finetune"].texts)
    assert [WORD in text for text in parts["queries"].texts] == [True] * 30 + [False] * 4
