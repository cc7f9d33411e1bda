"""From one run to another: what is kept, and what is let go."""

import dataclasses

import pytest

from explorer.ui import state
from explorer.view import switching

CHOSEN = {
    state.QUERY: "1003", state.EXAMPLE: "7", state.CELL: "0-1", state.GROUP: "1", state.REGION: "0_0~1_0~1_1",
    state.WORDS: None, state.BAR: None, state.BRANCH: "1", state.WITHIN: "2",
    state.EDIT: "7-as-2",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(small, tmp_path_factory):
    root = tmp_path_factory.mktemp("switched")
    small.write_run(root, "frozen")
    small.write_run(root, "updated", scored=5)
    small.write_run(root, "stranger", seed=1)
    return root


def opened(root, *names):
    from influence import Run

    return [Run.open(root / name) for name in names]


def test_models_of_one_study_share_everything(runs):
    assert switching.common(*opened(runs, "frozen", "updated"), CHOSEN) == CHOSEN


def test_ids_that_mean_something_else_are_let_go(runs):
    assert set(switching.common(*opened(runs, "frozen", "stranger"), CHOSEN).values()) == {None}


def test_examples_are_kept_where_only_queries_differ(runs):
    old, new = opened(runs, "frozen", "updated")
    new._parts._tables["queries.parquet"] = old.queries().assign(id=range(5000, 5000 + len(old.queries())))
    new.manifest = dataclasses.replace(new.manifest, checksum="other queries")
    kept = switching.common(old, new, CHOSEN)
    assert kept[state.QUERY] is None
    assert kept[state.CELL] is None
    assert (kept[state.EXAMPLE], kept[state.EDIT]) == ("7", "7-as-2")


def test_switching_the_model_keeps_the_prediction_that_is_shown_and_all_choices(open_app, runs, small, component):
    app = open_app(runs, run="frozen", example="7", k="10")
    assert "query" not in app.query_params
    app.selectbox(key="run").set_value("updated").run()
    assert not app.exception
    assert app.query_params["query"] == str(small.MISTAKE)
    assert app.query_params["example"] == "7"
    assert app.segmented_control(key="k").value == 10
    app.segmented_control(key="model").set_value("frozen").run()
    assert app.selectbox(key="run").value == "frozen"
    assert app.text_input(key="find").value == str(small.MISTAKE)
    assert app.query_params["example"] == "7"


def test_switching_to_a_stranger_says_nothing_and_opens_it_anew(open_app, runs, small):
    app = open_app(runs, run="frozen", query="1003", example="7")
    app.selectbox(key="run").set_value("stranger").run()
    assert not app.exception
    assert not app.warning
    assert app.text_input(key="find").value == str(small.MISTAKE)
    assert "example" not in app.query_params
