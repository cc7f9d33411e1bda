"""A run of several seeds: its scores are means over trainings, and it keeps their spread."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from tiny import tiny_exhibit
from tiny_runs import assert_equal_runs, compute

from influence import Run
from influence.errors import StudyError
from influence.precompute.seeds.trainings import Trainings
from influence.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("quick_map")
RECIPES = {name: Recipe(30, 10, 0.1) for name in ("pretrain", "finetune")}
"""Steps that end where they began from and by their order: no minimum that all seeds share."""


def exhibit(**changes):
    return tiny_exhibit(method="exact", curvature="ggn", epochs=1, recipes=RECIPES, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "influence.precompute.steps.map_of",
            lambda a, b, s: (a[:, :2].astype("f4"), b[:, :2].astype("f4"), "two coordinates"),
        )
        return compute(tmp_path_factory.mktemp("seeds"), [exhibit(seeds=3)], ["three"])[0]


def test_scores_are_means_and_their_spread_is_kept(run, tmp_path):
    alone = compute(tmp_path, [exhibit()], ["one"])[0]
    for stage in run.stages:
        assert (run.trainings(stage, "exact"), alone.trainings(stage, "exact")) == (3, 1)
        assert alone.spread(stage, "exact") is None
        first = zarr.open_array(run.path / f"scores/{stage}-exact.zarr", mode="r")[:]
        np.testing.assert_array_equal(first, alone.scores(stage)[:])  # the first training is the usual one
        spread, mean = run.spread(stage, "exact")[:], run.scores(stage)[:]
        assert spread.shape == mean.shape
        assert np.isfinite(spread).all()
        assert spread.max() > 1e-3 * np.abs(mean).max()
        # Of three numbers none is further from their mean than 2 / sqrt(3) times their standard deviation.
        assert (np.abs(first - mean) <= 1.16 * spread + 1e-7).all()
        assert np.abs(first - mean).max() > 0
    for name, tensor in alone.models()["pretrain"].items():
        np.testing.assert_array_equal(tensor.numpy(), run.models()["pretrain"][name].numpy())
    assert any("means over 3 trainings" in note for note in run.manifest.notes)
    assert not any("trainings from" in note for note in alone.manifest.notes)
    assert not Run.open(run.path).pending


def test_another_method_is_of_one_training(run):
    assert run.trainings("pretrain", "identity") == 1
    assert run.spread("pretrain", "identity") is None


def test_one_that_was_killed_in_a_training_ends_at_the_same_scores(run, tmp_path, monkeypatch):
    usual = Trainings._average

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainings, "_average", killed)
    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path, [exhibit(seeds=3)], ["three"])
    monkeypatch.setattr(Trainings, "_average", usual)
    monkeypatch.setattr(Trainings, "_add", killed)  # none is trained again
    assert_equal_runs(compute(tmp_path, [exhibit(seeds=3)], ["three"])[0], run)


def test_runs_of_one_pretraining_begin_at_its_start_and_not_at_its_end(tmp_path):
    first = exhibit(seeds=2)
    second = tiny_exhibit(
        "updated", first.study.stages[0], method="exact", curvature="ggn", epochs=1, recipes=RECIPES, seeds=2
    )
    shared = compute(tmp_path, [first, second], ["frozen", "updated"])[1]
    alone = compute(tmp_path / "alone", [exhibit(seeds=2)], ["frozen"])[0]
    again = zarr.open_array(shared.path / "scores/pretrain-exact-mean.zarr", mode="r")[:]
    assert np.isfinite(again).all()
    np.testing.assert_array_equal(alone.scores("pretrain")[:], Run.open(tmp_path / "frozen").scores("pretrain")[:])


@pytest.mark.parametrize("changes", [{"train": False}, {"asked": {"options": {"weights": "/some.safetensors"}}}])
def test_models_that_come_trained_are_refused(tmp_path, changes):
    with pytest.raises(StudyError, match="--seeds is 2, but the models of study 'tiny' come trained"):
        compute(tmp_path, [exhibit(seeds=2, **changes)], ["none"])
    assert not list(tmp_path.iterdir())


def test_trainings_are_a_setting_of_the_run():
    assert exhibit().all_settings.keys() | {"seeds"} == exhibit(seeds=2).all_settings.keys()
