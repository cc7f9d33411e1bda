"""Checks of a small run: what they find, that they resume, and what cannot be."""

from __future__ import annotations

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import FINETUNE, PRETRAIN, QUERIES
from tiny_runs import TinyBuilt

from influence.curvature.exact import Exact
from influence.errors import CurvatureError, RunError, StudyError, TrainingError
from influence.run.reading import Run
from influence.studies.built_in import STUDIES
from influence.training.retraining import Retrainer
from influence.validation import CHECKS, validate
from influence.validation.bench import Bench, bench_of
from influence.validation.checks import leave_one_out, planted, removal, sanity, stability, strongest, subsets
from influence.validation.checks.planted import Relabelled

ALL = [*CHECKS]


@pytest.fixture(scope="module")
def finished(tiny_folders):
    return tiny_folders[1]


@pytest.fixture(scope="module", autouse=True)
def _few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "tiny", TinyBuilt)
        patch.setattr(subsets, "SUBSETS_PER_SHARE", 8)
        patch.setattr(subsets, "STARTS_PER_SUBSET", 2)
        patch.setattr(removal, "RANDOM_STARTS", 2)
        patch.setattr(planted, "PLANTINGS", 1)
        patch.setattr(stability, "OTHER_SEEDS", (1,))
        patch.setattr(leave_one_out, "EXAMPLES_LEFT_OUT", 12)
        patch.setattr(strongest, "QUERIES", 4)
        yield


@pytest.fixture(scope="module")
def checked(finished, tmp_path_factory):
    """The run with all checks, computed once."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("checked") / "updated")
    return validate(Run.open(folder), budget=600, progress=False)


@pytest.fixture
def run(finished, tmp_path):
    return Run.open(shutil.copytree(finished, tmp_path / "updated"))


def test_a_check_whose_training_fails_leaves_the_others(run, monkeypatch):
    def fail(bench: Bench) -> pd.DataFrame:
        raise TrainingError("it stopped short")

    monkeypatch.setitem(CHECKS, "noise", dataclasses.replace(CHECKS["noise"], measure=fail))
    again = validate(run, checks=["noise", "leave-one-out"], budget=60, progress=False)
    assert again.validation("noise") is None
    assert len(again.validation("leave-one-out"))


def test_every_check_is_in_the_run_and_verified(checked):
    run = Run.open(checked.path)
    assert run.validations == sorted([*ALL, "summary"])
    summary = run.validation("summary")
    assert set(summary["check"]) == set(ALL)
    assert summary["words"].str.endswith(".").all()
    bounded = summary.dropna()
    assert len(bounded)
    assert ((bounded["low"] <= bounded["value"] + 1e-6) & (bounded["value"] <= bounded["high"] + 1e-6)).all()


def test_what_was_measured_is_what_retraining_gives(checked):
    table, retrainer = checked.validation("leave-one-out"), bench_of(checked, "pretrain").retrainer
    assert set(table["start"]) == {"solution", "scratch"}
    assert set(table["kind"]) == {"helpful", "harmful", "random"}
    scores = np.asarray(checked.scores()[:])
    np.testing.assert_array_equal(table["predicted"], scores[table["query"], table["example"]])
    example = int(table["example"].iloc[0])
    change = retrainer.losses_without("pretrain", [example]) - retrainer.losses_without("pretrain", [])
    rows = table[(table["example"] == example) & (table["start"] == "solution")]
    np.testing.assert_allclose(rows["measured"], change.numpy(), atol=1e-6)
    assert len(rows) == QUERIES


def test_subsets_add_up_scores_of_what_they_lack(checked):
    table = checked.validation("subsets")
    one = table[(table["kept"] == np.float32(0.5)) & (table["subset"] == 0) & (table["start"] == "solution")]
    assert len(one) == QUERIES
    counts = {round(float(k), 1): (1 - float(k)) * PRETRAIN for k in table["kept"].unique()}
    assert counts == {0.5: pytest.approx(PRETRAIN / 2), 0.9: pytest.approx(PRETRAIN / 10, rel=1e-5)}
    assert set(table[table["start"] == "scratch"]["seed"]) == {0, 1}


def test_scores_predict_better_than_those_of_models_that_learned_nothing(checked):
    table = checked.validation("sanity")
    assert list(table["against"].unique()) == ["subsets with 50% kept", "leave-one-out"]
    halves = table[table["against"] == "subsets with 50% kept"].groupby("scores")["rank_correlation"].mean()
    assert halves["the run's own"] > max(halves["untrained model"], halves["shuffled labels"])
    singles = table[table["against"] == "leave-one-out"].groupby("scores")["rank_correlation"].mean()
    assert singles["the run's own"] > max(singles["gradient cosine"], singles["embedding neighbours"])


def test_a_query_gets_worse_without_its_own_strongest(checked):
    table, retrainer = checked.validation("strongest"), bench_of(checked, "pretrain").retrainer
    assert {"the run's own", "gradient cosine", "embedding neighbours"} == set(table["scores"])
    own = table[(table["scores"] == "the run's own") & (table["start"] == "solution")].iloc[0]
    scores = np.asarray(checked.scores()[:])[own["query"]]
    change = retrainer.losses_without("pretrain", [int(scores.argmax())]) - retrainer.losses_without("pretrain", [])
    assert own["left_out"] == 1  # of 40, at least one
    assert own["measured"] == pytest.approx(float(change[own["query"]]), abs=1e-6)
    assert own["predicted"] == pytest.approx(scores.max())
    rise = (table["measured"] - table["random"]).groupby(table["scores"]).mean()
    assert rise["the run's own"] == rise.max() > 0


def test_curves_begin_at_nothing_and_end_with_all(checked):
    table = checked.validation("planted")
    assert set(table["finder"]) == {"harm", "self-influence", "loss", "neighbours", "random"}
    ends = table.groupby(["share", "seed", "finder"])["found"].agg(["first", "last"])
    assert (ends["first"] == 0).all()
    assert (ends["last"] == 1).all()


def test_noise_from_the_solution_is_as_small_as_the_nudge(checked):
    table = checked.validation("noise")
    nudged = table[(table["changed"] == "weight by 1e-6") & (table["start"] == "solution")]["measured"].abs()
    assert nudged.max() < 1e-5
    assert set(table[table["changed"] == "seed"]["seed"]) == {1, 2, 3, 4, 5}


def test_shares_of_lists_that_stay(checked):
    table = checked.validation("stability")
    assert table["overlap"].between(0, 1).all()
    assert {"damping", "training seed", "finetuning seed"} <= set(table["changed"])
    assert (table.groupby(["changed", "value"])["query"].count() == QUERIES).all()


def test_labels_that_are_all_alike_are_not_shuffled(run, monkeypatch):
    bench = bench_of(run, "pretrain")
    assert "shuffled labels" in dict(sanity._scores(bench))
    monkeypatch.setattr(sanity, "labels_of", lambda stage: np.zeros(len(stage.data), int))
    assert "shuffled labels" not in dict(sanity._scores(bench))


def test_nothing_is_computed_twice(checked, monkeypatch):
    def never(*_, **__):
        raise AssertionError("retrained again")

    monkeypatch.setattr(Retrainer, "retrain", never)
    before = checked.manifest.validation
    again = validate(checked, budget=600, progress=False)
    assert again.manifest.validation == before


def test_a_killed_check_goes_on_where_it_was(run, monkeypatch):
    retrain, done = Retrainer.retrain, []

    def killed(self, *args, **kwargs):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(1)
        return retrain(self, *args, **kwargs)

    monkeypatch.setattr(Retrainer, "retrain", killed)
    with pytest.raises(KeyboardInterrupt):
        validate(run, checks=["leave-one-out"], budget=600, progress=False)
    assert Run.open(run.path).validations == []
    counted = []
    monkeypatch.setattr(Retrainer, "retrain", lambda self, *a, **k: counted.append(1) or retrain(self, *a, **k))
    found = validate(run, checks=["leave-one-out"], budget=600, progress=False).validation("leave-one-out")
    pairs = found.groupby(["start", "example"]).ngroups
    assert len(done) + len(counted) == pairs + 2  # and the base of either way


def test_a_retraining_that_fails_is_not_tried_again(run, monkeypatch):
    retrain, tried = Retrainer.retrain, []

    def failing(self, weights=None, **options):
        if weights:
            tried.append((weights["pretrain"].numpy().tobytes(), options["start"]))
            raise TrainingError("stopped short")
        return retrain(self, weights, **options)

    monkeypatch.setattr(Retrainer, "retrain", failing)
    validate(run, checks=["leave-one-out", "noise"], budget=60, progress=False)
    assert len(tried) == len(set(tried)) > 1


def test_a_budget_bounds_what_is_begun(run):
    with pytest.raises(RunError, match="ends before the first retraining"):
        validate(run, budget=1e-9, progress=False)
    assert Run.open(run.path).validations == []


def test_time_is_kept_for_another_way_of_training_only_if_it_could_be_paid(run):
    bench = bench_of(run, "pretrain")
    with bench.within(100):
        bench.costs["scratch"] = 1.0
        assert bench.time_for("solution", 0.6) == pytest.approx(60, abs=1)
        bench.costs["scratch"] = 30.0
        assert bench.time_for("solution", 0.6) == pytest.approx(100, abs=1)
        assert bench.time_for("scratch", 0.6) == pytest.approx(100, abs=1)


def test_costs_are_means(run, monkeypatch):
    bench = bench_of(run, "pretrain")
    times = iter([0.0, 0.0, 1.0, 1.0, 1.0, 4.0])  # what is left, begun, ended
    monkeypatch.setattr("influence.validation.bench.time.monotonic", lambda: next(times))
    for name in ("a", "b"):
        bench.piece("solution", {"name": name}, lambda: pd.DataFrame({"x": [1]}))
    assert bench.costs == {"solution": 2.0}


def test_other_stages_examples(run):
    table = validate(run, checks=["leave-one-out"], stage="finetune", budget=600, progress=False)
    assert set(table.validation("leave-one-out")["stage"]) == {"finetune"}
    assert table.validation("leave-one-out")["example"].max() < FINETUNE


def test_bad_input_is_named(run):
    with pytest.raises(RunError, match=r"no check 'luck'; choose of leave-one-out, subsets"):
        validate(run, checks=["luck"], progress=False)
    with pytest.raises(RunError, match="The budget is 0 seconds, expected more than 0"):
        validate(run, budget=0, progress=False)
    with pytest.raises(RunError, match="no stage 'x'"):
        validate(run, stage="x", progress=False)
    with pytest.raises(StudyError, match=r"nowhere\.py"):
        validate(run, function="nowhere.py:f", progress=False)


def test_labels_are_replaced_and_nothing_else():
    data = torch.utils.data.TensorDataset(torch.arange(3.0), torch.tensor([0, 1, 2]), torch.tensor([7, 8, 9]))
    other = Relabelled(data, np.array([2, 1, 0]))
    assert [[int(part) for part in other[i]] for i in range(len(other))] == [[0, 2, 7], [1, 1, 8], [2, 0, 9]]


def test_warnings_of_the_scores_that_a_check_compares_with_are_told(run, monkeypatch, capsys):
    fit = Exact.fit

    def warning(self):
        self.objective.remarks.warn(f"{self.objective.stage.name}: far off")
        fit(self)

    monkeypatch.setattr(Exact, "fit", warning)
    validate(run, checks=["stability"], budget=600)
    said = capsys.readouterr().err
    assert said.count("stability, of the scores that it compares with: pretrain: far off") == 1


def test_a_choice_under_which_nothing_can_be_solved_has_no_rows():
    def scores():
        raise CurvatureError("the curvature is indefinite")

    bench = SimpleNamespace(scores=np.arange(24.0).reshape(3, 8))
    assert len(stability._compared(bench, "damping", "0.1", lambda: bench.scores)) == 3
    assert stability._compared(bench, "damping", "0.001", scores).empty
