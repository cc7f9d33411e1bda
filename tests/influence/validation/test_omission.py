"""A chosen set of examples, really left out: the table, and that nothing is done twice."""

from __future__ import annotations

import numpy as np
import pytest

from influence.errors import RunError
from influence.run.reading import Run
from influence.studies import from_run
from influence.studies.request import exhibits_for
from influence.training.retraining import Retrainer
from influence.validation import omission
from influence.validation.bench import bench_of
from influence.validation.omission import leave_out, omissions
from influence.validation.preview import NAME, row_of
from influence.validation.suite import validate


def test_it_is_what_retraining_gives(run):
    found = leave_out(run, [7, 3, 3], progress=False)
    assert Run.open(run.path).validations == [NAME]
    out = omissions(run, [3, 7])
    assert [each.id for each in out] == [103, 107]
    row = row_of(found.validation(NAME), out, "solution")
    np.testing.assert_allclose(row["first"], np.asarray(run.scores()[:])[:, [3, 7]].sum(1), rtol=1e-5)
    retrainer = bench_of(run, "pretrain").retrainer
    change = retrainer.losses_without("pretrain", [3, 7]) - retrainer.losses_without("pretrain", [])
    np.testing.assert_allclose(row["measured"], change.numpy(), atol=1e-6)
    assert np.corrcoef(row["together"], row["measured"])[0, 1] > 0.9
    np.testing.assert_array_equal(row["class_before"], retrainer.retrain().predicted)
    assert f"{row['measured'].mean():+.3g} nats" in omission.result_sentence(found, out)


def test_the_study_is_built_once(run, monkeypatch):
    """Of a folder of pictures, building it decodes them all."""
    built = []
    monkeypatch.setattr(
        from_run, "exhibits_for", lambda *asked, **more: built.append(asked) or exhibits_for(*asked, **more)
    )
    leave_out(run, [5], start="scratch", progress=False)
    assert len(built) == 1
    validate(run, checks=["noise"], budget=600, progress=False)
    assert len(built) == 2


def test_nothing_is_left_out_twice(run, monkeypatch):
    found = leave_out(run, [5], progress=False)
    monkeypatch.setattr(Retrainer, "retrain", lambda *a, **k: pytest.fail("trained again"))
    assert leave_out(found, [5], progress=False).manifest == found.manifest
    # The base is known, too, whatever is left out next; but another set takes a training.
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        leave_out(found, [6], progress=False)


def test_sets_stages_and_starts_stand_side_by_side(run):
    found = leave_out(run, [1], progress=False)
    found = leave_out(found, [2], stage="finetune", progress=False)
    found = leave_out(found, [1], start="scratch", progress=False)
    table = found.validation(NAME)
    assert len(table) == 3
    for rows, stage, start in (([1], "pretrain", "solution"), ([2], "finetune", "solution"), ([1], None, "scratch")):
        assert row_of(table, omissions(run, rows, stage), start) is not None
    assert row_of(table, omissions(run, [2]), "solution") is None


@pytest.mark.parametrize(
    ("rows", "says"),
    [([], "0 of"), ([-1], "no example -1"), ([10**6], "no example 1000000"), (range(10**3), "and not all")],
)
def test_sets_that_cannot_be(run, rows, says):
    with pytest.raises(RunError, match=says):
        leave_out(run, [*rows][: len(run.examples("pretrain"))], progress=False)
    assert Run.open(run.path).validations == []


def test_by_the_command_line(upstream, run):
    ids = [str(name) for name in run.examples("pretrain")["id"].iloc[:2]]
    code, out, _ = upstream("leave-out", run.path, *ids, "--quiet")
    assert code == 0
    assert "Without these 2 examples of stage 'pretrain' the mean loss of all queries changed by" in out
    assert upstream("what-if", run.path, "--leave-out", *ids[::-1], "--really", "--quiet")[0] == 0
    assert len(Run.open(run.path).validation(NAME)) == 1, "it is the same question"
    code, _, errors = upstream("leave-out", run.path, "987654", "--quiet")
    assert code == 2
    assert "no example with id 987654" in errors
    assert upstream("leave-out", run.path, ids[0], "--start", "nowhere", "--quiet")[0] == 2
