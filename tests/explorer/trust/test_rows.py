"""The rows of the Trust page's charts, from the tables of checks."""

from __future__ import annotations

import numpy as np
import pytest
import small_checks
from small_run import write_run

from explorer.trust import evidence, rows
from explorer.ui import theme


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_checks.checked(write_run(tmp_path_factory.mktemp("runs"), "small"))


def test_every_check_has_its_rows(run):
    assert [row.name for row in rows.subsets(run, "solution")] == ["50% kept", "90% kept"]
    assert rows.subsets(run, "scratch") == []
    removal = rows.removal(run, "solution", theme.Unit("mnat", 1e3))
    harmful = next(row for row in removal if row.name == "10% most harmful")
    assert harmful.sign == "harmful"
    assert harmful.value < 0
    assert harmful.other == pytest.approx(-0.02)
    assert "accuracy +2.0 points" in harmful.text
    own, near = rows.strongest(run, "solution", theme.Unit("nat", 1.0), 2)
    assert (own.name, near.name) == ("the run's own", "embedding neighbours")
    assert own.value > near.value > 0
    table = run.validation("strongest")
    chosen = table[(table["query"] == 2) & (table["scores"] == "the run's own")].iloc[0]
    assert own.other == pytest.approx(float(chosen["measured"] - chosen["random"]))
    assert np.isnan(rows.strongest(run, "solution", theme.Unit("nat", 1.0), 9)[0].other)
    assert rows.strongest(run, "scratch", theme.Unit("nat", 1.0), None) == []
    assert rows.sanity(run)[0].name == "the run's own"
    own = evidence.stays(run, "pretrain", 0)
    stability = {row.name: row for row in rows.stability(run, own)}
    assert stability["another damping"].other == pytest.approx(own.shares["damping"])
    assert len(rows.noise(run, theme.Unit("mnat", 1e3))) == 3


def test_without_classes_there_is_no_accuracy(tmp_path):
    run = small_checks.checked(write_run(tmp_path, "small"), ["removal"])
    table = run.validation("removal").assign(accuracy=np.float32("nan"))
    run._parts._tables[run.manifest.validation["removal"]] = table
    assert "accuracy" not in rows.removal(run, "solution", theme.Unit("nat", 1.0))[0].text
