"""The Compare page on small runs, by AppTest."""

import base64
import shutil

import numpy as np
import pytest

from influence import Run

COMPARE = "compare"


def values(elements):
    return " ".join(str(element.value) for element in elements)


def html(app):
    return " ".join(element.proto.body for element in app.get("html"))


def listed(component, app, place, sign):
    return [card["id"] for card in component(app, "joined_lists")["columns"][place][sign]]


@pytest.fixture(scope="module")
def family(small, tmp_path_factory):
    """One study's two models (of the same examples, with other scores), and a run of other pictures."""
    root = tmp_path_factory.mktemp("family")
    small.write_run(root, "frozen")
    small.write_run(root, "updated", scored=5)
    small.write_run(root, "of-texts", text=True)
    return root


def test_it_opens_on_the_other_model_of_the_study_with_the_same_prediction(open_app, family, small, component):
    app = open_app(family, COMPARE, run="frozen")
    assert not app.exception
    assert not app.error
    assert not app.warning
    assert [app.text_input(key=f"find_{side}").value for side in "AB"] == [str(small.MISTAKE)] * 2
    assert app.selectbox(key="choose_run_B").value == "updated"
    for place, name in enumerate(("frozen", "updated")):
        row = Run.open(family / name).scores("pretrain")[small.MISTAKE - 1000]
        assert listed(component, app, place, "helpful") == [str(i) for i in np.argsort(-row)[:5]]
        assert listed(component, app, place, "harmful") == [str(i) for i in np.argsort(row)[:5]]


def test_lines_join_what_both_list_and_say_where_the_sign_changes(open_app, family, component):
    app = open_app(family, COMPARE, run="frozen", k="20")
    sent = component(app, "joined_lists")
    sides = [
        {sign: {card["id"] for card in column[sign]} for sign in ("helpful", "harmful")} for column in sent["columns"]
    ]
    shown = [side["helpful"] | side["harmful"] for side in sides]
    assert {tie["id"] for tie in sent["ties"]} == shown[0] & shown[1]
    crossed = (sides[0]["helpful"] & sides[1]["harmful"]) | (sides[0]["harmful"] & sides[1]["helpful"])
    assert {tie["id"] for tie in sent["ties"] if tie["crossed"]} == crossed != set()
    both = len(sides[0]["helpful"] & sides[1]["helpful"])
    assert f"{both} of 20** helpful" in values(app.markdown)
    assert f"{len(crossed)} examples are listed as helpful on one side and as harmful on the other" in values(
        app.markdown
    )


def test_scatter_has_every_score_of_both(open_app, family, small, component):
    sent = component(open_app(family, COMPARE, run="frozen"), "scatter")
    for axis, name in (("x", "frozen"), ("y", "updated")):
        row = Run.open(family / name).scores("pretrain")[small.MISTAKE - 1000]
        assert np.frombuffer(base64.b64decode(sent[axis]), "<f4") == pytest.approx(1e3 * row, rel=1e-5)
    assert sent["open"].endswith("query=1007&example=")
    assert sent["open"].startswith("./item?run=frozen&")


def test_b_follows_a_until_it_is_chosen_and_swapping_exchanges_all(open_app, family):
    app = open_app(family, COMPARE, run="frozen", query="1003")
    app.button(key="side_A_next").click().run()
    assert [app.text_input(key=f"find_{side}").value for side in "AB"] == ["1004", "1004"]
    app.text_input(key="find_B").set_value("1010").run()
    app.button(key="swap").click().run()
    assert not app.exception
    assert app.selectbox(key="run").value == "updated"
    assert app.selectbox(key="choose_run_B").value == "frozen"
    assert [app.text_input(key=f"find_{side}").value for side in "AB"] == ["1010", "1004"]
    app.button(key="side_B_previous").click().run()
    assert app.query_params["query_b"] == "1003"


def test_two_predictions_of_one_run(open_app, family, small, component):
    app = open_app(family, COMPARE, run="frozen", run_b="frozen")
    assert not app.exception
    assert app.text_input(key="find_A").value == str(small.MISTAKE)
    # The most confident other mistake.
    queries = Run.open(family / "frozen").queries().drop(index=small.MISTAKE - 1000)
    wrong = queries[queries["prediction"] != queries["label"]]
    other = int(wrong["id"].loc[wrong["confidence"].idxmax()])
    assert app.text_input(key="find_B").value == str(other)
    row = Run.open(family / "frozen").scores("pretrain")[other - 1000]
    assert listed(component, app, 1, "helpful") == [str(i) for i in np.argsort(-row)[:5]]


def test_two_methods_of_one_run(open_app, small, tmp_path, component):
    small.write_run(tmp_path, "alone", methods=("exact", "identity"))
    app = open_app(tmp_path, COMPARE, query="1003")
    assert not app.exception
    assert [app.selectbox(key=f"choose_method_{side}").value for side in "AB"] == ["exact", "identity"]
    row = Run.open(tmp_path / "alone").scores("pretrain", "identity")[3]
    assert listed(component, app, 1, "harmful") == [str(i) for i in np.argsort(row)[:5]]
    # Their sizes have no common unit.
    assert component(app, "scatter")["units"] == ["mnat", ""]
    assert not component(app, "scatter")["equal"]


def test_runs_of_other_examples_are_refused_in_words(open_app, family, component):
    app = open_app(family, COMPARE, run="frozen", run_b="of-texts")
    assert not app.exception
    assert "show different things" in app.error[0].value
    with pytest.raises(LookupError):
        component(app, "joined_lists")


def test_same_on_both_sides_is_said(open_app, family):
    app = open_app(family, COMPARE, run="frozen", run_b="frozen", query="1003", query_b="1003")
    assert not app.exception
    assert "Both sides are the same" in html(app)
    assert "**1.00**" in values(app.markdown)


def test_bad_links_fall_back_with_a_notice(open_app, family, small):
    app = open_app(
        family, COMPARE, run="frozen", run_b="../x", query="nobody", query_b="77", method="magic", method_b="odd",
        explain="why", colour="Loss",
    )  # fmt: skip
    assert not app.exception
    for bad in ("x”", "nobody", "77", "magic", "odd", "why"):
        assert bad in app.warning[0].value
    assert "colour" not in app.query_params
    assert app.text_input(key="find_B").value == str(small.MISTAKE)
    assert not app.run().warning


def test_texts_and_tables(open_app, small, tmp_path, component):
    hostile = "<img src=x onerror=alert(1)> **b**"
    small.write_run(tmp_path, "words", text=True, hostile=hostile)
    app = open_app(tmp_path, COMPARE)
    app.session_state["compare_tables"] = True
    app.run()
    assert not app.exception
    assert len(app.dataframe) == 3
    assert "<img src=x" not in html(app) + values(app.markdown) + values(app.caption)
    assert hostile in component(app, "joined_lists")["columns"][0]["helpful"][0]["pieces"][0]["text"]
    assert component(app, "scatter")["preview"]["kind"] == "text"
    app.text_input(key="find_B").set_value("number 1011 about").run()
    assert app.query_params["query_b"] == "1011"


def test_a_damaged_second_run_is_named(open_app, family, tmp_path):
    root = shutil.copytree(family, tmp_path / "runs")
    (root / "updated" / "queries.parquet").write_bytes(b"no table")
    app = open_app(root, COMPARE, run="frozen", run_b="updated")
    assert not app.exception
    assert "updated" in app.error[0].value
    assert app.selectbox(key="choose_run_B").value == "frozen"
    # Where nobody asked for it, the page makes do with one run.
    assert not open_app(root, COMPARE, run="frozen").error


def test_run_without_scores_says_so(open_app, family, monkeypatch):

    from explorer.runs import score_arrays

    monkeypatch.setattr(score_arrays, "scored_stages", lambda run: [])
    app = open_app(family, COMPARE, run="frozen")
    assert not app.exception
    assert "nothing to compare yet" in app.warning[0].value


def test_something_else_is_explained_live_and_said(open_app, family, small, monkeypatch, component):
    from explorer.panels.prediction import explain
    from explorer.view import sides
    from influence.live import Contrast

    asked = []
    monkeypatch.setattr(sides, "can_be_asked", lambda run: True)
    monkeypatch.setattr(explain, "scores", lambda run, row, stage, target: asked.append(target) or (
        None if target is None else np.arange(60, dtype="float32")
    ))  # fmt: skip
    app = open_app(family, COMPARE, run="frozen", run_b="frozen", explain_b="margin")
    assert not app.exception
    queries = Run.open(family / "frozen").queries()
    wrong = queries.iloc[small.MISTAKE - 1000]
    assert asked == [None, Contrast(wrong["prediction"], wrong["label"])]
    assert listed(component, app, 1, "helpful") == ["59", "58", "57", "56", "55"]
    assert "Explained: the loss of" in values(app.caption)
    # Of a right prediction, the margin is to the likeliest other class.
    app.text_input(key="find_B").set_value("1003").run()
    right = queries.iloc[3]
    assert right["prediction"] == right["label"]
    assert asked[-1].of == right["label"] != asked[-1].against
    # And the loss of the predicted class is what the run has.
    app.selectbox(key="choose_explain_B").set_value("predicted").run()
    assert asked[-1] is None
    assert app.query_params["explain_b"] == "predicted"
