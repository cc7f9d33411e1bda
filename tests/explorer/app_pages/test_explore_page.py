"""The Explore page on a small run, by AppTest."""

import re

import numpy as np
import pytest

from explorer.runs import leads
from explorer.ui import escape, theme
from explorer.view import lists
from influence import Run


def values(elements):
    return " ".join(str(element.value) for element in elements)


def cards(component, app):
    return component(app, "cards")["columns"]


def test_opens_on_the_most_confident_mistake(open_app, small_root, small, component):
    app = open_app(small_root)
    assert not app.exception
    assert not app.error
    assert not app.warning
    assert app.text_input(key="find").value == str(small.MISTAKE)
    helpful, harmful = cards(component, app)
    assert [len(column["cards"]) for column in (helpful, harmful)] == [5, 5]
    assert all(card["score"].startswith("+") for card in helpful["cards"])
    assert all(card["score"].startswith(theme.MINUS) for card in harmful["cards"])


def test_cards_are_those_of_the_stored_row(open_app, small_root, component):
    run = Run.open(small_root / "small")
    row, ids = run.scores("pretrain", "exact")[3], run.examples("pretrain")["id"].to_numpy()
    app = open_app(small_root, query="1003")
    shown = [int(card["id"]) for card in cards(component, app)[0]["cards"]]
    assert shown == ids[(-row).argsort()[:5]].tolist()


def test_sign_rule_is_printed_for_the_stage_that_is_shown(open_app, small_root):
    assert "out of pretraining is predicted to *raise*" in values(open_app(small_root).markdown)
    assert "out of finetuning is predicted to *raise*" in values(open_app(small_root, of="Finetuning").markdown)


def test_title_names_what_the_scores_are_about(open_app, small_root, small):
    table = Run.open(small_root / "small").queries().set_index("id")
    said, true = table.loc[small.MISTAKE, ["prediction", "label"]]
    app = open_app(small_root)
    assert f"Why did the model say “<bdi>{said}</bdi>” and not “<bdi>{true}</bdi>”?" in values(app.get("html"))
    assert f"of its true class “{true}”" in values(app.markdown)
    right = table[table["prediction"] == table["label"]].iloc[0]
    app = open_app(small_root, query=str(right.name))
    assert f"Why did the model say “<bdi>{right['prediction']}</bdi>”?" in values(app.get("html"))
    assert "of its true class" not in values(app.markdown)


def test_relative_order_is_offered_where_all_show_up_everywhere(open_app, small_root, component, monkeypatch):
    monkeypatch.setattr(leads, "everywhere", lambda found: np.ones(len(found.counts), dtype=bool))
    app = open_app(small_root)
    assert "10 shown (∀) show up everywhere" in values(app.caption)
    app.button(key="order_relative").click().run()
    assert app.query_params["order"] in ("Relative", ["Relative"])
    run = Run.open(small_root / "small")
    shares = run.scores("pretrain", "exact")[7] / run.examples("pretrain")["gradient_norm"].to_numpy()
    first = cards(component, app)[0]["cards"][0]
    assert int(first["id"]) == run.examples("pretrain")["id"][shares.argmax()]
    assert first["score"] == theme.signed(float(shares.max() / np.abs(shares).max()))
    assert first["width"] == pytest.approx(float(shares.max() / np.abs(shares).max()), abs=1e-6)
    assert "nat · #" in first["detail"]
    assert "order_relative" not in [button.key for button in app.button]


def test_query_changes_with_next_and_search(open_app, small_root, small, component):
    app = open_app(small_root)
    before = cards(component, app)
    app.button(key="step_next").click().run()
    assert app.query_params["query"] == str(small.MISTAKE + 1)
    assert cards(component, app) != before
    app.text_input(key="find").set_value("1003").run()
    assert app.query_params["query"] == "1003"
    app.text_input(key="find").set_value("nobody").run()
    assert app.query_params["query"] == "1003"
    assert "nobody" in app.warning[0].value


def test_pills_filter_the_strip(open_app, small_root, component):
    app = open_app(small_root)
    app.pills(key="show").set_value("Barely right").run()
    items = component(app, "strip")["items"]
    assert items
    assert all(item["mark"] == "" for item in items)
    app.pills(key="show").set_value("Wrong").run()
    assert all(item["mark"] == "✗" for item in component(app, "strip")["items"])


def test_cell_filters_the_strip_and_can_be_cleared(open_app, small_root, component):
    app = open_app(small_root, cell="1-2")
    assert component(app, "confusion")["cell"] == "1-2"
    titles = [item["title"] for item in component(app, "strip")["items"]]
    assert titles
    assert all(re.search("true 8, predicted 9", title) for title in titles)
    app.button(key="clear_cell").click().run()
    assert len(component(app, "strip")["items"]) == 16


def test_count_stage_and_order(open_app, small_root, component):
    app = open_app(small_root)
    app.segmented_control(key="k").set_value(10).run()
    assert len(cards(component, app)[0]["cards"]) == 10
    strongest = [card["id"] for card in cards(component, app)[0]["cards"]]
    app.segmented_control(key="order").set_value("Relative").run()
    assert [card["id"] for card in cards(component, app)[0]["cards"]] != strongest
    app.segmented_control(key="of").set_value("finetune").run()
    assert all(500 <= int(card["id"]) < 520 for card in cards(component, app)[0]["cards"])
    assert not any(card["placed"] for card in cards(component, app)[0]["cards"])
    assert "no place on this map" in values(app.caption)


def test_group_narrows_lists_but_not_totals(open_app, small_root, component):
    app = open_app(small_root, group="1")
    assert {card["label"] for column in cards(component, app) for card in column["cards"]} == {"1"}
    assert [row["pressed"] for row in component(app, "totals")["rows"]] == [False, True, False]
    app.button(key="clear_group").click().run()
    assert len({card["label"] for column in cards(component, app) for card in column["cards"]}) > 1


def test_an_open_class_lists_its_strongest_examples(open_app, small_root, component):
    app = open_app(small_root, branch="1")
    assert "by" not in [control.key for control in app.segmented_control]
    *five, others = component(app, "totals")["branch"]["parts"]
    table = Run.open(small_root / "small").examples("pretrain")
    assert {table["label"][table["id"].astype(str) == part["id"]].item() for part in five} == {"1"}
    assert others["name"] == f"{(table['label'] == '1').sum() - 5} others"
    app = open_app(small_root, branch="1", example=five[2]["id"])
    assert [part.get("pressed") for part in component(app, "totals")["branch"]["parts"]][2:4] == [True, False]


def test_region_narrows_lists_and_totals(open_app, small_root, component):
    examples = Run.open(small_root / "small").examples("pretrain")
    inside = set(examples["id"][(examples["x"] > 0) & (examples["y"] > 0)].astype(str))
    app = open_app(small_root, region="0_0~9_0~9_9~0_9", k="20")
    shown = {card["id"] for column in cards(component, app) for card in column["cards"]}
    assert shown
    assert shown <= inside
    assert f"Region: {len(inside)} items" in app.button(key="clear_region").label
    assert component(app, "influence_map")["region"] == [[0, 0], [9, 0], [9, 9], [0, 9]]


def test_ringed_example_that_is_not_listed_gets_a_card(open_app, small_root, component):
    app = open_app(small_root)
    listed = {card["id"] for column in cards(component, app) for card in column["cards"]}
    other = next(str(i) for i in range(60) if str(i) not in listed)
    app.query_params["example"] = other
    app.run()
    assert component(app, "cards")["chosen"]["card"]["id"] == other
    assert component(app, "influence_map")["ringed"] == int(other)


def test_bad_values_in_the_url_fall_back_with_a_notice(open_app, small_root, small, component):
    app = open_app(
        small_root, k="99", show="Odd", of="Nothing", order="Random", colour="Pink", query="5", cell="7-7",
        group="zebra", region="1_2", example="abc", ranking="Sorted", words="river", explained="All",
    )  # fmt: skip
    assert not app.exception
    notice = app.warning[0].value
    for bad in (
        "99", "Odd", "Nothing", "Random", "Pink", "“5”", "7\\-7", "zebra", "polygon", "abc", "Sorted", "river", "“All”",
    ):  # fmt: skip
        assert bad in notice
    assert app.text_input(key="find").value == str(small.MISTAKE)
    assert len(cards(component, app)[0]["cards"]) == 5
    assert not app.run().warning


def test_choices_that_a_run_does_not_offer_are_left_out_of_its_url(open_app, small_root):
    app = open_app(small_root, shading="Plain", by="source")
    assert not app.exception
    assert not app.warning
    assert not {"shading", "by"} & set(app.query_params)


def test_run_is_changed_and_bad_run_names_fall_back(open_app, small_root, component):
    app = open_app(small_root)
    before = cards(component, app)
    app.selectbox(key="run").set_value("small-other").run()
    assert not app.exception
    assert cards(component, app) != before
    app = open_app(small_root, run="../nowhere")
    assert not app.exception
    assert "nowhere" in app.error[0].value
    assert app.selectbox(key="run").value == "small"


def test_text_run_shows_texts(open_app, small, tmp_path, component):
    small.write_run(tmp_path, "words", text=True)
    app = open_app(tmp_path)
    assert not app.exception
    card = cards(component, app)[0]["cards"][0]
    assert "image" not in card
    assert "about rivers" in "".join(piece["text"] for piece in card["pieces"])
    assert component(app, "influence_map")["preview"]["kind"] == "text"
    app.text_input(key="find").set_value("number 1011 about").run()
    assert app.query_params["query"] == "1011"
    assert "words" not in app.query_params


def test_run_without_map_says_so(open_app, small, tmp_path, component):
    small.write_run(tmp_path, "flat", mapped=False)
    app = open_app(tmp_path, region="0_0~9_0~9_9~0_9")
    assert not app.exception
    assert "no map" in values(app.caption)
    with pytest.raises(LookupError):
        component(app, "influence_map")
    assert cards(component, app)[0]["cards"]


def test_map_needs_static_serving_and_says_so(open_app, small_root, monkeypatch, component):
    from explorer.runs import static_files

    monkeypatch.setattr(static_files, "folder", lambda: None)
    app = open_app(small_root)
    assert not app.exception
    assert "upstream explore" in app.info[0].value
    assert cards(component, app)[0]["cards"]


@pytest.mark.parametrize(
    "hostile", ["**x** <script>alert(1)</script>", ":red[x]", "a\"b'c<img src=x onerror=alert(1)>", "[x](http://e.vil)"]
)
@pytest.mark.parametrize("text", [False, True])
def test_hostile_labels_stay_text(open_app, small, tmp_path, component, hostile, text):
    small.write_run(tmp_path, "hostile", hostile=hostile, text=text)
    app = open_app(tmp_path, group=hostile)
    assert not app.exception
    assert not app.warning
    listed = [card for column in cards(component, app) for card in column["cards"]]
    assert listed
    assert all(hostile in (card["detail"] if text and card["label"] != hostile else card["label"]) for card in listed)
    markup = " ".join(element.proto.body for element in app.get("html")) + values(app.markdown) + values(app.caption)
    for raw in ("<script", "<img src=x", "onerror=alert(1)>"):
        assert raw not in markup
    assert hostile not in app.button(key="clear_group").label


def test_tables_and_identity_card_open(open_app, small_root):
    app = open_app(small_root)
    app.session_state["tables"] = True
    app.session_state["identity"] = True
    app.run()
    assert not app.exception
    assert len(app.dataframe) >= 4
    assert "One direction has nearly zero curvature" in values(app.warning).replace("\\", "")


def marked(cards, sign):
    return {card["id"] for card in cards if sign in [mark["text"] for mark in card.get("marks", ())]}


def test_three_rankings_side_by_side_mark_what_several_list(open_app, small_root, component):
    app = open_app(small_root, ranking="All three", k="20")
    assert not app.exception
    three = cards(component, app)
    assert [column["title"] for column in three] == ["Influence", "Nearest", "Random"]
    listed = [{card["id"] for card in column["cards"]} for column in three]
    assert [len(ids) for ids in listed] == [40, 40, 40]
    for column in three:
        assert marked(column["cards"], "≈") == {
            card["id"] for card in column["cards"] if card["id"] in listed[1] and card["id"] in listed[0] | listed[2]
        }
    both = len(listed[0] & listed[1])
    assert f"Of 40 each, listed by both: {both} by influence ◆ and nearest ≈" in values(app.caption)
    # Triangles on the map stay those of influence.
    sent = component(app, "influence_map")
    assert {str(place) for place in sent["helpful"] + sent["harmful"]} == listed[0]


def test_what_shows_up_everywhere_is_marked(open_app, small_root, component):
    counts = leads.led(Run.open(small_root / "small").scores("pretrain")[:], leads.LEADING_RANK)
    most = str(counts.argmax())
    query = next(
        1000 + row
        for row, scores in enumerate(Run.open(small_root / "small").scores("pretrain")[:])
        if int(most) in np.argsort(-scores)[:5]
    )
    app = open_app(small_root, query=str(query))
    assert marked(cards(component, app)[0]["cards"], "∀") == {most}
    assert "1 shown (∀) shows up everywhere" in values(app.caption)


def test_everywhere_needs_many_predictions():
    counts = np.arange(200)
    assert leads.everywhere(leads.Leads(counts, 1000, False)).nonzero()[0].tolist() == [198, 199]
    assert not leads.everywhere(leads.Leads(counts, 5000, False)).any()


def test_a_bar_of_the_histogram_lists_its_slice(open_app, small_root, component):
    row = Run.open(small_root / "small").scores("pretrain")[3]
    counts, edges = lists.histogram(row)
    bar = int(counts.argmax())
    app = open_app(small_root, query="1003", bar=f"1003-{bar}", k="20")
    assert not app.exception
    shown = [int(card["id"]) for column in cards(component, app) for card in column["cards"]]
    assert len(shown) == counts[bar]
    assert np.all((row[shown] >= edges[bar]) & (row[shown] <= edges[bar + 1]))
    assert component(app, "histogram")["pressed"] == bar
    assert f"{counts[bar]} items" in app.button(key="clear_bar").label
    app.button(key="step_next").click().run()
    # A bar is one of one prediction's histogram.
    assert "bar" not in app.query_params
    assert not app.warning
    assert "1003\\-x" in open_app(small_root, query="1003", bar="1003-x").warning[0].value


def test_every_score_is_in_the_bar_that_counts_it():
    scores = np.random.default_rng(0).normal(size=5000).astype("float32")
    assert np.bincount(lists.bars(scores), minlength=lists.BAR_COUNT).tolist() == lists.histogram(scores)[0].tolist()


def test_the_way_to_compare_keeps_the_prediction(open_app, small_root):
    app = open_app(small_root, run="small-other", query="1003", of="Finetuning")
    link = next(element.proto.body for element in app.get("html") if "Compare with another" in element.proto.body)
    assert "./compare?run=small-other&amp;of=Finetuning&amp;query=1003" in link


def test_scores_of_others_that_cannot_be_read_cost_only_the_marks(open_app, small_root, component, monkeypatch):
    from influence.errors import RunError

    def damaged(*_):
        raise RunError("Scores of others hold values that are not finite.")

    monkeypatch.setattr(leads, "counted", damaged)
    app = open_app(small_root)
    assert not app.exception
    assert "not marked" in app.warning[0].value
    assert cards(component, app)[0]["cards"]


def test_a_prediction_that_the_run_opens_on_tells_what_the_run_says_of_itself(open_app, small_root, monkeypatch):
    run = Run.open(small_root / "small")
    named = run.queries().assign(opening=[0, 0, 1] + [0] * (len(run.queries()) - 3))
    monkeypatch.setattr(Run, "queries", lambda self: named)
    said = f"{escape.for_markdown(run.manifest.summary.partition('. ')[0])}."
    assert len(said) > 1
    app = open_app(small_root)
    assert app.text_input(key="find").value == str(named["id"][2])
    assert [each.value for each in app.info] == [said]
    assert not open_app(small_root, query=str(named["id"][1])).info


def test_cards_name_sources_that_are_of_many(open_app, small_root, component, monkeypatch):
    examples, ids = Run.examples, {}

    def sourced(run, stage):
        table = examples(run, stage)
        ids[stage] = table["id"].tolist()
        return table.assign(source=["a" if row % 2 else "b" for row in range(len(table))])

    monkeypatch.setattr(Run, "examples", sourced)
    first = cards(component, open_app(small_root))[0]["cards"][0]
    row = ids["pretrain"].index(int(first["id"]))
    assert first["detail"].startswith(f"{'a' if row % 2 else 'b'} · #{first['id']}")
