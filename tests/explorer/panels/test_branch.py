"""What the rows of the totals add up from: with the region, with many sources, with none known."""

import json

import numpy as np
import pandas as pd
import pytest

from explorer.panels.charts import branch, totals
from explorer.ui import state
from explorer.view.query import stored
from explorer.view.view import View, has_sources

SIDES = ("helpful", "harmful")


@pytest.fixture
def view(small, tmp_path, monkeypatch):
    """A view of `count` examples of many classes from some sources, of which one is not known."""
    run = small.write_run(tmp_path, "small")

    def build(sources, classes, by=state.SOURCE, count=2_000, **choices):
        rng = np.random.default_rng(0)
        table = pd.DataFrame(
            {
                "id": np.arange(count) + 7,
                "label": rng.choice(classes, count),
                "source": rng.choice(np.array(sources, dtype=object), count),
                "x": rng.normal(size=count),
                "y": rng.normal(size=count),
            }
        )
        monkeypatch.setattr(run, "examples", lambda stage: table)
        scores = rng.standard_t(2, count).astype("float32")
        return View(run, stored(run, 0), "pretrain", "exact", scores, 5, state.STRONGEST, by=by, **choices)

    return build


def widths(part):
    return np.array([part[f"{side}_width"] for side in SIDES])


CLASSES = [f"c{i}" for i in range(30)]


@pytest.mark.parametrize("source", ["web", ""])
@pytest.mark.parametrize("region", [None, np.array([[0, 0], [9, 0], [9, 9], [0, 9]])])
def test_parts_add_up_to_the_row_that_is_open(view, source, region):
    shown = view(["web", None, "book"], CLASSES, branch=source, region=region)
    [row] = [row for row in totals.rows(shown) if row["group"] == source]
    parts = branch.of(shown, totals._largest(shown))["parts"]
    assert sum(map(widths, parts)) == pytest.approx(widths(row))
    assert [part["name"] for part in parts[branch.CLASSES :]] == ["18 others"]
    for part in parts[:-1]:
        assert sum(map(widths, part["parts"])) == pytest.approx(widths(part))
        assert len([each for each in part["parts"] if "id" in each]) <= branch.EXAMPLES


def test_examples_of_a_class_are_its_strongest(view):
    shown = view(["web"], ["a", "b"], by=state.LABEL, branch="b")
    parts = branch.of(shown, 1.0)["parts"]
    own = np.flatnonzero(shown.examples["label"] == "b")
    strongest = own[np.argsort(-np.abs(shown.scores[own]), kind="stable")][: branch.EXAMPLES]
    assert [part["id"] for part in parts[:-1]] == [str(position + 7) for position in strongest]
    assert parts[-1]["name"] == f"{len(own) - branch.EXAMPLES:,} others"
    assert [bool(part["helpful"]) for part in parts[:-1]] == (shown.scores[strongest] > 0).tolist()


def test_few_examples_have_no_others(view):
    shown = view(["a", "b"], ["x"], count=6, branch="a")
    [only] = branch.of(shown, 1.0)["parts"]
    assert all("id" in part for part in only["parts"])


def test_what_is_sent_stays_small_with_many_sources(view):
    shown = view([f"s{i}" for i in range(500)], CLASSES, count=50_000, branch="s3")
    assert len(json.dumps(branch.of(shown, 1.0))) < 30_000
    assert branch.of(view(["a"], CLASSES), 1.0) is None


def test_one_source_alone_is_none():
    for sources, known in ((["web", "web"], False), (["web", None], True), (["", None], False)):
        assert has_sources(pd.DataFrame({"source": sources})) is known
    assert not has_sources(pd.DataFrame({"id": [1]}))
