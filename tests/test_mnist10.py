"""dattri's MNIST-10 benchmark: agreement with ground truths, and trainings that are kept."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from mnist import truth
from mnist.training import NETWORKS, digits
from mnist.truth import Truth, lds, leave_one_out

from influence.validation.pieces import Pieces

ONE_EPOCH = dataclasses.replace(NETWORKS["lr"], epochs=1)


def test_scores_that_add_up_to_the_losses_agree_wholly():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, 20))
    kept = [rng.choice(20, 10, replace=False) for _ in range(8)]
    losses = 2 - np.stack([scores[:, rows].sum(1) for rows in kept])  # what helps and is kept makes the loss smaller
    assert lds(scores, kept, losses) == pytest.approx(1)
    assert lds(-scores, kept, losses) == pytest.approx(-1)
    alone = np.array([2, 5, 7, 11])
    assert leave_one_out(scores, alone, 2 + scores[:, alone].T) == pytest.approx(1)


def test_damping_is_one_over_the_length_of_the_training():
    assert NETWORKS["lr"].damping(640) == pytest.approx(1 / (0.01 * 200))
    assert NETWORKS["mlp"].damping(640) == pytest.approx(1 / (0.1 * 500))


def test_truths_differ_in_their_seeds_and_are_kept(tmp_path, monkeypatch):
    data, done = digits(40, 6), []
    halves = Truth(ONE_EPOCH, data, Pieces(tmp_path), lambda: done.append(1)).halves(2)
    assert halves.first.shape == halves.second.shape == halves.same.shape == (2, 6)
    assert not np.allclose(halves.first, halves.second)
    assert [len(set(rows)) for rows in halves.kept] == [20, 20]
    monkeypatch.delattr(truth, "trained")  # nothing is trained again
    again = Truth(ONE_EPOCH, data, Pieces(tmp_path), lambda: done.append(1)).halves(2)
    np.testing.assert_array_equal(again.second, halves.second)
    assert len(done) == 12
