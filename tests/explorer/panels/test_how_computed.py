"""What Trust tells of how scores were computed."""

from __future__ import annotations

import pytest

from explorer.panels.trust import how_computed
from influence.run.records import ParameterNames, ScoreRecord


@pytest.mark.parametrize(
    ("method", "residuals", "said"),
    [
        ("exact", [], "none: solved directly"),
        ("ekfac", [], "not measured: an approximation"),
        ("cg", [1e-7, 2e-4], "0.0002"),
    ],
)
def test_the_residual_or_why_there_is_none(small, tmp_path, method, residuals, said):
    run = small.write_run(tmp_path, "small")
    report = {"residuals": residuals, "score_error": residuals}
    solved = [ScoreRecord(each.stage, method, each.file, report) for each in run.manifest.scores]
    small.restated(run, default_method=method, scores=tuple(solved))
    table = how_computed.table(run)
    assert table.columns.tolist() == ["pretraining", "finetuning"]
    for fact in ("worst residual of a solve", "error of the scores by the solve, worst query"):
        assert table.loc[fact].tolist() == [said, said]


def test_names_are_text_and_may_be_broken_at_their_dots(small, tmp_path):
    run = small.write_run(tmp_path, "small")
    small.restaged(run, 0, parameters=ParameterNames(new=("body.<b>0</b>.weight",)))
    assert "body.<wbr>&lt;b&gt;0&lt;/b&gt;.<wbr>weight" in how_computed.html(how_computed.table(run))
