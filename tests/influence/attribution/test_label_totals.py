"""Scores summed by label."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_digits import trained_study

from influence import attribute, group_effect
from influence.attribution.label_totals import totals
from influence.errors import StudyError


@pytest.fixture(scope="module")
def digits():
    return trained_study("frozen")


def test_totals_by_label():
    scores = np.array([[1.0, 2, 4, 8, 16], [0, -1, 0, 1, 0]])
    found = totals(scores, ["b", "a", "b", None, float("nan")])
    assert list(found.columns) == ["query", "label", "count", "total", "mean"]
    first = found[found["query"] == 0]
    assert first["label"].tolist()[:2] == ["b", "a"]
    assert first["count"].tolist() == [2, 1, 2]
    assert first["total"].tolist() == [5, 2, 24]
    assert first["mean"].tolist() == [2.5, 2, 12]
    assert found[found["query"] == 1]["total"].tolist() == [0, -1, 1]


def test_totals_take_scores_a_row_and_a_column_of_a_table(digits):
    scores = attribute(digits, stage="finetune", progress=False, method="exact")
    labels = pd.Series(digits.stages[1].data.tensors[1].numpy(), index=range(1000, 1300))
    found = totals(scores, labels)
    assert len(found) == 40 * labels.nunique()
    sums = found.groupby("query")["total"].sum().to_numpy()
    np.testing.assert_allclose(sums, scores.values.sum(1, dtype=np.float64), rtol=1e-6)
    row = totals(scores.values[3], labels)
    pd.testing.assert_frame_equal(
        row.drop(columns="query"), found[found["query"] == 3].reset_index(drop=True).drop(columns="query")
    )
    group = labels.to_numpy() == 2
    expected = group_effect(
        digits, "finetune", np.flatnonzero(group), second_order=False, method="exact", progress=False
    ).first
    np.testing.assert_allclose(found.loc[found["label"] == 2, "total"], expected, rtol=1e-4, atol=1e-6)


def test_totals_refuse_labels_that_do_not_fit():
    with pytest.raises(StudyError, match=r"There are 2 labels for scores of shape \(1, 3\)"):
        totals(np.zeros(3), ["a", "b"])
