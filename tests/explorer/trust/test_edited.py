"""What edits did that were really trained with, on what is judged by."""

import numpy as np
import pandas as pd
import pytest

from explorer.trust import edited
from explorer.view import criterion
from influence import Run
from influence.live import ADD, LEAVE_OUT, RELABEL, Alteration, as_json
from influence.run import add_tables

BASKET = [Alteration(RELABEL, "pretrain", 4, "2"), Alteration(ADD, "finetune", 1003)]
OUT = [Alteration(LEAVE_OUT, "pretrain", 3), Alteration(LEAVE_OUT, "pretrain", 7)]


@pytest.fixture(scope="module")
def changes():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(2, 40)).astype(np.float32) for name in ("both", "out")}


@pytest.fixture(scope="module")
def run(small, tmp_path_factory, changes):
    """A run with two sets of edits really made."""
    found = small.write_run(tmp_path_factory.mktemp("edited"), "small")
    rows = [
        {
            "edits": as_json(edits), "start": "solution", "first": changes[name][0], "together": changes[name][0],
            "measured": changes[name][1], "class_before": np.zeros(40, np.int32), "class_after": np.ones(40, np.int32),
        }
        for edits, name in ((BASKET, "both"), (OUT, "out"))
    ]  # fmt: skip
    return add_tables(found, {"what-if": pd.DataFrame(rows)})


@pytest.mark.parametrize(("edits", "name"), [(BASKET, "both"), (BASKET[::-1], "both"), (OUT, "out")])
def test_a_gap_changes_by_the_difference_of_two_means(run, changes, edits, name):
    by = criterion.of_gap(run, "label", "7", "9")
    one, other = ((run.queries()["label"] == label).to_numpy() for label in ("7", "9"))
    (effect,) = edited.judged(run, edits, by)
    expected = changes[name][:, one].mean(1) - changes[name][:, other].mean(1)
    assert [effect.predicted, effect.measured] == pytest.approx(expected.tolist(), abs=1e-6)
    assert effect.queries == (one | other).sum()


def test_a_slice_changes_by_the_sum(run, changes):
    by = criterion.of_slice(run, "all", 0)
    (effect,) = edited.judged(run, BASKET, by)
    assert [effect.predicted, effect.measured] == pytest.approx(changes["both"].sum(1).tolist(), abs=1e-4)


def test_an_error_follows_from_losses_of_the_true_class_only(run, changes, monkeypatch):
    by = criterion.of_error(run, "8")
    assert edited.judged(run, BASKET, by) == []  # its made-up losses are none of a probability
    table = run.queries().copy()
    table["loss"] = -np.log(table["label_probability"])
    monkeypatch.setattr(Run, "queries", lambda self: table)
    (effect,) = edited.judged(run, BASKET, by)
    rows = (table["label"] == "8").to_numpy()
    now = table["label_probability"].to_numpy(np.float64)[rows]
    then = now * np.exp(-changes["both"][:, rows].astype(np.float64))
    assert [effect.predicted, effect.measured] == pytest.approx((now - then).mean(1).tolist(), abs=1e-6)


def test_other_edits_were_not_made(run):
    assert edited.judged(run, BASKET[:1], criterion.of_gap(run, "label", "7", "9")) == []
