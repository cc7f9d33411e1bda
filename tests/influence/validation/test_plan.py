"""What a budget will hold, told before it is spent."""

from __future__ import annotations

import dataclasses

import pytest

from influence.errors import RunError
from influence.progress import Progress
from influence.training.retraining import Retrainer
from influence.validation import CHECKS, suite, validate
from influence.validation.bench import Bench, bench_of
from influence.validation.checks import leave_one_out, subsets
from influence.validation.plan import PlannedBench, plan_of, sentences

SOLUTION, HALF, SCRATCH = "2% solution", "50% solution", "2% scratch"


@pytest.fixture
def bench(run):
    return bench_of(run, "pretrain")


@pytest.fixture
def never(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(Retrainer, "retrain", fail)


def test_a_rehearsal_counts_what_a_check_then_computes(bench, monkeypatch):
    monkeypatch.setattr(leave_one_out, "EXAMPLES_LEFT_OUT", 3)
    trial = PlannedBench(bench, set())
    CHECKS["leave-one-out"].measure(trial)
    assert trial.counts == {"solution": 4, "scratch": 4}  # and what nothing left out gives, either way
    CHECKS["leave-one-out"].measure(bench)
    assert bench.computed == trial.counts.total()
    again = PlannedBench(bench, set())
    CHECKS["leave-one-out"].measure(again)
    assert again.counts.total() == again.seconds == 0


@pytest.mark.usefixtures("never")
def test_what_tells_most_comes_first_and_what_does_not_fit_says_what_it_needs(bench):
    bench.costs = {"solution": 1.0, SOLUTION: 10.0, HALF: 30.0, SCRATCH: 1e3, "scratch": 1e3}
    checks = [CHECKS[name] for name in ("leave-one-out", "subsets", "noise")]
    plan = plan_of(bench, checks, 120)
    assert plan.least == {"leave-one-out": pytest.approx(1.2 * (1 + 7 * 10)), "noise": pytest.approx(1.2 * 10)}
    assert plan.missing == {"subsets": pytest.approx(1.2 * 8 * 30)}
    said = sentences(bench, CHECKS, plan, 120)
    # 85.2 + (120 - 85.2 - 12) * .3 / .35 = 104.7 seconds for the first, what it leaves for the other.
    assert said[0] == "leave-one-out: 11 retrainings from the solution, about 101 s."
    assert said[1] == "noise: 1 retraining from the solution, about 10 s."
    assert said[2] == "subsets: does not fit; it needs 4.8 min of its own."


@pytest.mark.usefixtures("never")
def test_enough_time_holds_every_check_and_the_dearer_way(bench):
    bench.costs = {"solution": 0.1, SOLUTION: 0.1, "scratch": 1.0}
    plan = plan_of(bench, list(CHECKS.values()), 3600)
    assert list(plan.least) == list(CHECKS)
    assert not plan.missing
    assert "from scratch" in sentences(bench, CHECKS, plan, 3600)[0]


@pytest.mark.usefixtures("never")
def test_a_budget_that_holds_no_check_names_the_smallest_that_does_before_anything_is_trained(run, monkeypatch):
    monkeypatch.setattr(Bench, "expected", lambda self, start: 100.0)
    with pytest.raises(RunError, match=r"fits a budget of 60 s. The smallest.*\(leave-one-out\).*--budget 960s"):
        validate(run, checks=["leave-one-out", "subsets"], budget=60, progress=False)


def test_what_is_there_already_fits_any_budget(run, monkeypatch):
    validate(run, checks=["noise"], budget=600, progress=False)
    monkeypatch.setattr(Retrainer, "retrain", None)
    again = validate(run, checks=["noise"], budget=1e-9, progress=False)
    assert len(again.validation("noise"))


def test_a_training_that_ends_at_no_minimum_is_judged_from_scratch(bench):
    assert bench.starts == ["solution", "scratch"]
    first = bench.run.manifest.stages[0]
    ended = dataclasses.replace(first.training, converged=False, seconds=7.0, by_steps=True)
    short = dataclasses.replace(first, training=ended)
    bench.run.manifest = dataclasses.replace(bench.run.manifest, stages=(short, *bench.run.manifest.stages[1:]))
    assert bench.starts == ["scratch", "solution"]
    assert bench.expected("solution") == 7.0


def test_costs_are_known_to_the_next_call(bench, run):
    bench.change_without([3], "solution")
    assert bench_of(run, "pretrain").costs == bench.costs
    assert set(bench.costs) == {"solution", SOLUTION}


def test_halves_come_first_then_tenths_until_both_give_a_rank_correlation():
    order = subsets._in_order([None, 1])
    few = subsets.MIN_SUBSETS
    assert {(kept, seed) for _, kept, seed in order[:few]} == {(0.5, None)}
    assert {(kept, seed) for _, kept, seed in order[few : 2 * few]} == {(0.9, None)}
    assert len(set(order)) == len(order) == subsets.SUBSETS_PER_SHARE * 4


@pytest.fixture
def slower(monkeypatch):
    """So many seconds that every retraining takes longer after the plan is told, of which it knows nothing."""
    real, retrain, told = Bench.now, Retrainer.retrain, []
    taken = {"each": 0.0, "all": 0.0, "now": False}
    monkeypatch.setattr(Bench, "now", lambda self: real(self) + taken["all"])

    def later(self, *args, **kwargs):
        taken["all"] += taken["each"] if told or taken["now"] else 0.0
        return retrain(self, *args, **kwargs)

    monkeypatch.setattr(suite, "sentences", lambda *_: told.append(1) or [])
    monkeypatch.setattr(Retrainer, "retrain", later)
    return taken


def _left_out(checked, check, column):
    table = checked.validation(check)
    return table[table["start"] == "solution"][column].nunique()


def test_the_fewest_are_measured_even_where_each_takes_longer_than_it_was_expected_to(run, slower):
    slower["each"] = 60.0
    checked = validate(run, budget=500, progress=False)
    table = checked.validation("leave-one-out")
    leading = table[(table["kind"] != "random") & (table["start"] == "solution")]
    assert leading["example"].nunique() >= 5


def test_of_pieces_whose_cost_is_a_guess_one_is_done_before_the_others(bench, slower):
    bench.outcome(None, "solution")
    bench.change_without([3], "solution")
    few, bars = [CHECKS["subsets"]], Progress(visible=False)
    # Of a half; nobody knew that a single example is so much cheaper.
    slower["each"], slower["now"] = 40.0, True
    with bench.within(100):
        plan = plan_of(bench, few, bench.left)
        assert plan.guessed == {"subsets"}
        before = bench.computed
        assert not suite._fewest(bench, few[0], plan, bars)
        assert bench.computed == before + 1
    with bench.within(400):
        plan = plan_of(bench, few, bench.left)
        assert plan.guessed == set()
        assert suite._fewest(bench, few[0], plan, bars)
    with bench.within(0):  # what is there
        assert subsets.measure(bench)["subset"].nunique() == subsets.MIN_SUBSETS


def test_every_check_has_its_fewest_before_any_has_more(run, slower):
    slower["each"] = 28.0
    checked = validate(run, checks=["leave-one-out", "subsets", "strongest", "noise"], budget=500, progress=False)
    assert _left_out(checked, "leave-one-out", "example") >= 7
    assert _left_out(checked, "subsets", "subset") == subsets.MIN_SUBSETS
    assert _left_out(checked, "strongest", "query") >= 4
    assert checked.validation("noise") is not None
