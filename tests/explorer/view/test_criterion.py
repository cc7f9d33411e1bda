"""What training data are judged by on Suspects."""

import numpy as np
import pandas as pd
import pytest

from explorer.view import criterion
from influence import Run
from influence.live import Criterion
from influence.run import SliceKind


@pytest.fixture(scope="module")
def run(small_root):
    return Run.open(small_root / "small")


def test_a_slice_is_judged_by_its_summed_loss(run):
    table = run.queries()
    wrong = (table["label"] != table["prediction"]).to_numpy()
    judged = criterion.of_slice(run, SliceKind.WRONG, 0)
    assert judged.kind == criterion.LOSS
    assert judged.criterion == Criterion(tuple(np.flatnonzero(wrong).tolist()))
    assert judged.now == pytest.approx(float(table["loss"][wrong].sum()), rel=1e-5)
    np.testing.assert_allclose(
        criterion.stored(run, "pretrain", "exact", judged), run.scores("pretrain")[:][wrong].sum(0), atol=1e-7
    )


def test_a_gap_is_the_difference_of_two_means(run):
    table, scores = run.queries(), run.scores("pretrain")[:].astype(np.float64)
    one, other = ((table["label"] == name).to_numpy() for name in ("7", "9"))
    judged = criterion.of_gap(run, "label", "7", "9")
    assert judged.kind == criterion.GAP
    assert judged.now == pytest.approx(float(table["loss"][one].mean() - table["loss"][other].mean()), rel=1e-5)
    np.testing.assert_allclose(
        criterion.stored(run, "pretrain", "exact", judged), scores[one].mean(0) - scores[other].mean(0), atol=1e-9
    )
    assert judged.positions.tolist() == np.flatnonzero(one | other).tolist()


def test_a_class_s_error_is_not_in_the_stored_scores(run):
    judged = criterion.of_error(run, "8")
    table = run.queries()
    assert judged.criterion == Criterion((), error_of="8")
    assert judged.now == pytest.approx(1 - float(table["label_probability"][table["label"] == "8"].mean()), rel=1e-5)
    assert criterion.stored(run, "pretrain", "exact", judged) is None


def test_columns_with_a_few_values_divide_the_queries():
    table = pd.DataFrame(
        {
            "id": range(6),
            "label": list("aabbcc"),
            "loss": [3.0, 3, 1, 1, 2, 2],
            "source": ["x", None, "y", "y", "x", None],
            "old": [True, False] * 3,
            "age": [1.0, np.nan, 2.5, 1.0, 2.5, 1.0],
            "one": ["same"] * 6,
            "many": np.arange(6) + 0.1,
            "text": list("ababab"),
            "lists": [[1], [2]] * 3,
        }
    )
    many = pd.concat([table.assign(many=table["many"] + 10 * k) for k in range(3)], ignore_index=True)
    assert criterion.columns(many) == ["label", "source", "old", "age"]
    assert list(criterion.groups(table, "label")) == ["a", "c", "b"]  # by mean loss, the largest first
    found = {name: rows.tolist() for name, rows in criterion.groups(table, "source").items()}
    assert found == {"x": [0, 4], "y": [2, 3]}
    assert {name: rows.tolist() for name, rows in criterion.groups(table, "age").items()} == {
        "1": [0, 3, 5],
        "2.5": [2, 4],
    }
