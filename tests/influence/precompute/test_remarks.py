"""What is told of the scores reaches the run, whenever it arises and however often the computation is interrupted."""

from __future__ import annotations

import pytest
from test_resuming import STEPS, after
from tiny import tiny_exhibit
from tiny_runs import compute

from influence import Run
from influence.curvature.exact import Exact
from influence.precompute.pieces.scores import SpanScores
from influence.precompute.pieces.self_influence import SpanSelfInfluence
from influence.run import ORDER_ONLY
from influence.run.draft import Draft

pytestmark = pytest.mark.usefixtures("quick_map")


@pytest.fixture
def telling(monkeypatch):
    """Each kind of step tells something: the fit of a solver, a solve, scoring, and self-influence."""

    def tells(place, name, tell):
        original = getattr(place, name)

        def told(self, *arguments, **options):
            tell(self)
            return original(self, *arguments, **options)

        monkeypatch.setattr(place, name, told)

    tells(Exact, "fit", lambda solver: solver.objective.remarks.notes.add(f"{solver.objective.stage.name}: fitted"))
    tells(Exact, "solve", lambda solver: solver.objective.remarks.warn(f"{solver.objective.stage.name}: solved"))
    fill, own = SpanScores.by, SpanSelfInfluence.by

    def filling(piece, work):
        if (piece.method, piece.stage) == ("exact", "finetune"):
            work.objective(piece.stage).remarks.warn("finetune: far off", order_only=True)
        return fill(piece, work)

    def alone(piece, work):
        work.objective(piece.stage).remarks.notes.add(f"{piece.stage}: alone")
        return own(piece, work)

    monkeypatch.setattr(SpanScores, "by", filling)
    monkeypatch.setattr(SpanSelfInfluence, "by", alone)


def told(run):
    manifest = run.manifest
    units = {(r.stage, r.method): (r.report["unit"], tuple(r.report["order_only"])) for r in manifest.scores}
    return manifest.warnings, manifest.notes, units


WARNINGS = ("finetune: far off", "finetune: solved", "pretrain: solved")
NOTES = ("finetune: alone", "finetune: fitted", "pretrain: alone", "pretrain: fitted")


def check(run):
    warnings, notes, units = told(run)
    assert (warnings, notes) == (WARNINGS, NOTES)  # what takes the unit comes first
    assert set(units.values()) == {("order only", ("finetune: far off",))}
    assert {method for _, method in units} == {"exact", "identity"}


@pytest.mark.parametrize("finished", [None, 4, 8, len(STEPS) // 2 - 2, len(STEPS) // 2 + 3])
def test_every_run_tells_what_arose_in_its_steps(telling, tmp_path, monkeypatch, finished):
    """Uninterrupted, or interrupted after so many steps; the second run shares the first one's stage and solver."""
    if finished is not None:
        with monkeypatch.context() as patch:
            patch.setattr(Draft, "mark", after(finished))
            with pytest.raises(KeyboardInterrupt):
                compute(tmp_path)
    for run in compute(tmp_path):
        check(Run.open(run.path))


def test_a_healthy_run_has_neither(runs):
    for run in runs:
        assert (run.manifest.warnings, run.manifest.notes) == ((), ())
        assert {r.method: r.report["unit"] for r in run.manifest.scores} == {"exact": "nat", "identity": "order only"}


def test_a_stage_that_stopped_early_is_told_once(tmp_path):
    (run,) = compute(tmp_path, [tiny_exhibit(train=False, curvature="ggn")], ["one"])
    assert not any(run.stage(name).training.converged for name in run.stages)
    assert {run.unit("exact", name) for name in run.stages} == {ORDER_ONLY}
    assert all("Train on to the minimum." in run.order_only("exact", name)[-1] for name in run.stages)
    for name in run.stages:
        told = [s for s in (*run.manifest.warnings, *run.manifest.notes) if f"Stage {name!r}" in s and "gradient" in s]
        assert len(told) == 1
        assert "does not stand at a minimum" in told[0]
