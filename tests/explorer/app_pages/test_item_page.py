"""The Item page on a small run, by AppTest, and the numbers behind it."""

import numpy as np
import pytest

from explorer.app_pages import item
from explorer.export.spreadsheet import csv
from explorer.panels.lists import single_cards
from explorer.runs import leads, neighbours
from influence import Run
from influence.run.nearness.embedding import unit_vectors

ITEM = "item"


@pytest.fixture(scope="module")
def run(small_root):
    return Run.open(small_root / "small")


def shown(component, app):
    return [[card["id"] for card in column["cards"]] for column in component(app, "cards")["columns"]]


def test_cards_are_the_strongest_of_the_stored_column(open_app, small_root, run, component, figures):
    app = open_app(small_root, ITEM, example="7")
    assert not app.exception
    assert not app.warning
    column, ids = run.scores("pretrain", "exact")[:, 7], run.queries()["id"].to_numpy().astype(str)
    assert shown(component, app) == [ids[np.argsort(-column)[:5]].tolist(), ids[np.argsort(column)[:5]].tolist()]
    (histogram,) = app.get("plotly_chart")
    assert f"scores for all {len(ids)} test predictions" in histogram.proto.alt
    assert sum(figures(app)[0]["data"][0]["y"]) == len(ids)


def test_it_opens_on_the_example_that_leads_most(open_app, small_root, run):
    app = open_app(small_root, ITEM)
    counts = leads.led(run.scores("pretrain", "exact")[:], leads.LEADING_RANK)
    assert app.text_input(key="find_example").value == str(run.examples("pretrain")["id"].iloc[counts.argmax()])


def test_next_search_and_stage(open_app, small_root):
    app = open_app(small_root, ITEM, example="7")
    app.button(key="example_next").click().run()
    assert app.query_params["example"] == "8"
    app.text_input(key="find_example").set_value("30").run()
    assert app.query_params["example"] == "30"
    app.text_input(key="find_example").set_value("nobody").run()
    assert app.query_params["example"] == "30"
    assert "nobody" in app.warning[0].value
    app.segmented_control(key="of").set_value("finetune").run()
    assert not app.exception
    assert int(app.text_input(key="find_example").value) >= 500


def test_bad_links_fall_back_and_keys_of_other_pages_go(open_app, small_root):
    app = open_app(small_root, ITEM, example="x1", k="10", shading="Plain")
    assert not app.exception
    assert "x1" in app.warning[0].value
    assert not {"example", "k", "shading"} & set(app.query_params)


def test_texts_and_hostile_labels_stay_text(open_app, small, tmp_path):
    small.write_run(tmp_path, "words", text=True, hostile="<img src=x onerror=alert(1)>")
    app = open_app(tmp_path, ITEM, example="2")
    assert not app.exception
    assert "<img src=x" not in " ".join(element.proto.body for element in app.get("html"))
    app.text_input(key="find_example").set_value("number 11 about").run()
    assert app.query_params["example"] == "11"


def test_leads_are_counted_by_sign():
    scores = np.array([[3.0, 2.0, -1.0, 0.0], [-2.0, -3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert leads.led(scores, 1).tolist() == [1, 1, 1, 0]
    assert leads.led(scores, 10).tolist() == [2, 2, 1, 0]


def test_large_arrays_are_sampled_evenly(run):
    array = run.scores("pretrain", "exact")
    assert leads.blocks(array, array.size)[-1].stop == array.shape[0]

    class Large:
        shape, chunks = (1000, 50), (10, 50)

    sampled = leads.blocks(Large, 5000)
    assert [rows.start for rows in sampled[:2]] == [0, 110]
    assert sum((rows.stop - rows.start) * 50 for rows in sampled) == 5000


def test_percentile_counts_ties_half():
    values = np.array([1.0, 2.0, 2.0, 3.0, 4.0])
    assert [item.percentile(values, place) for place in (0, 1, 4)] == [0.0, 0.375, 1.0]


def test_neighbours_leave_the_example_itself_out():
    vectors = unit_vectors(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.0]]))
    nearest, cosines = neighbours.around(vectors, 0, 2)
    assert nearest.tolist() == [3, 1]
    assert cosines[0] == 1.0


def test_csv_holds_no_formula(run):
    table = single_cards.rows(run.queries(), np.array([3, 1]), np.arange(40.0)).assign(label=["=1+1", "-2"])
    lines = csv(table).decode("utf-8-sig").splitlines()
    assert lines[0].startswith("rank,id,score_nat,label")
    assert "'=1+1" in lines[1]
    assert ",'-2," in lines[2]


def test_pages_link_to_each_other_with_run_stage_and_choices(open_app, small_root, component):
    app = open_app(small_root, run="small-other", query="1003", example="7")
    link = next(element.proto.body for element in app.get("html") if "helps and hurts most" in element.proto.body)
    assert "./item?run=small-other&amp;of=Pretraining&amp;example=7&amp;query=1003" in link
    app = open_app(small_root, ITEM, run="small-other", example="7")
    card = component(app, "cards")["columns"][0]["cards"][0]
    assert card["href"] == f"./?run=small-other&of=Pretraining&example=7&query={card['id']}"


def test_the_largest_is_larger_than_all_others(run):
    losses = run.examples("pretrain")["loss"].to_numpy()
    said = dict(item.facts(run, "pretrain", run.methods("pretrain")[0], int(losses.argmax())))
    assert said["Loss"].endswith("(larger than all others)")
    said = dict(item.facts(run, "pretrain", run.methods("pretrain")[0], int(losses.argmin())))
    assert said["Loss"].endswith("% of all examples)")
