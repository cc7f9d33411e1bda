"""Every page on a run that keeps the strongest scores alone."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from explorer.runs import leads, neighbours, static_files
from explorer.ui import state
from influence.run import Run

K = 10


def words(app):
    return " ".join(str(element.value) for kind in (app.caption, app.markdown) for element in kind)


def is_json(app):
    """Numbers that are no numbers are no JSON: the browser would not read them."""
    return not any(re.search(r"\bNaN\b|\bInfinity\b", e.proto.json) for e in app.get("bidi_component"))


@pytest.mark.parametrize(
    "page",
    [
        "",
        state.ITEM_PAGE,
        state.SUSPECTS_PAGE,
        state.COMPARE_PAGE,
        state.TRUST_PAGE,
        state.LEARN_PAGE,
        state.NOTES_PAGE,
    ],
)
def test_pages_work(open_app, strongest_roots, page):
    app = open_app(strongest_roots[1], page)
    assert not app.exception
    assert not app.error
    assert is_json(app)


def test_explore_shows_the_same_as_of_all_scores(open_app, strongest_roots, component):
    dense, kept = (open_app(root) for root in strongest_roots)
    columns = [
        [[c["id"] for c in column["cards"]] for column in component(app, "cards")["columns"]] for app in (dense, kept)
    ]
    assert columns[0] == columns[1]
    totals = [component(app, "totals")["rows"] for app in (dense, kept)]
    assert totals[0] == totals[1]
    one, two = (component(app, "histogram") for app in (dense, kept))
    assert sum(one["counts"]) == sum(two["counts"])
    assert "carry" in words(kept)
    carried = [re.findall(r"The \d+ shown carry[^.]*", words(app)) for app in (dense, kept)]
    assert carried[0] == carried[1]


def test_explore_says_what_it_lacks_and_how_it_is_had(open_app, strongest_roots):
    assert f"keeps the {K} strongest scores of either sign" in words(open_app(strongest_roots[1]))
    assert "keep all" in words(open_app(strongest_roots[1]))
    assert "strongest scores of either sign" not in words(open_app(strongest_roots[0]))


def test_a_row_of_the_totals_adds_up_from_its_parts(open_app, strongest_roots, component):
    app = open_app(strongest_roots[1])
    row = component(app, "totals")["rows"][0]
    found = component(open_app(strongest_roots[1], branch=row["group"]), "totals")["branch"]
    assert found["parts"][-1]["name"].endswith("not kept")
    for sign in ("helpful_width", "harmful_width"):
        assert sum(part[sign] for part in found["parts"]) == pytest.approx(row[sign], rel=1e-4, abs=1e-6)


def test_suspects_ranks_by_the_same_sums(open_app, strongest_roots):
    tables = [open_app(root, state.SUSPECTS_PAGE).dataframe[0].value for root in strongest_roots]
    assert tables[0]["id"].tolist() == tables[1]["id"].tolist()
    score = next(name for name in tables[0] if name.startswith("summed score"))
    np.testing.assert_allclose(tables[0][score], tables[1][score], rtol=1e-6)


def test_an_example_outside_the_sample_says_how_its_scores_are_had(open_app, strongest_roots):
    run = Run.open(strongest_roots[1] / "run")
    kept = run.kept("pretrain", run.methods("pretrain")[0])
    outside = next(row for row in range(kept.count) if row not in kept.sample)
    app = open_app(strongest_roots[1], state.ITEM_PAGE, example=str(run.examples("pretrain")["id"].iloc[outside]))
    assert not app.exception
    assert "“What if” computes" in words(app)


def test_leads_are_those_of_all_scores(strongest_roots):
    dense, kept = (Run.open(root / "run") for root in strongest_roots)
    every = leads.led(dense.scores("pretrain", "exact")[:], leads.LEADING_RANK)
    assert leads.leading(kept.kept("pretrain", "exact")).tolist() == every.tolist()


def test_the_map_is_of_the_sample(open_app, strongest_roots, component):
    run = Run.open(strongest_roots[1] / "run")
    sample, ids = run.kept("pretrain", "exact").sample, run.examples("pretrain")["id"].to_numpy()
    shown, cards = (component(open_app(strongest_roots[1]), name) for name in ("influence_map", "cards"))
    assert neighbours.points(run).tolist() == sample.tolist()
    assert shown["count"] == len(sample) < len(ids)
    assert len(base64.b64decode(shown["value"])) == 2 * len(sample)
    helpful = [int(card["id"]) for card in cards["columns"][0]["cards"]]
    assert ids[sample[shown["helpful"]]].tolist() == [each for each in helpful if each in ids[sample]]
    codes = static_files.labels(run)[1]
    assert len(codes) == len(sample)
