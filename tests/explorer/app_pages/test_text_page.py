"""The Explore page on a run of texts, and its other rankings, by AppTest."""

import numpy as np
import pandas as pd
import pytest

from influence import Run
from influence.run import BM25, COSINE, baselines


@pytest.fixture(scope="session")
def text_root(small, tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    small.write_run(root, "words", text=True)
    return root


def listed(component, app):
    return [card for column in component(app, "cards")["columns"] for card in column["cards"]]


def marks(card):
    return [mark["text"] for mark in card.get("marks", ())]


def said(app):
    return " ".join(str(e.value) for e in [*app.warning, *app.error]).replace("\\", "")


def test_cards_have_title_label_source_and_the_whole_text(open_app, text_root, component):
    examples = Run.open(text_root / "words").examples("pretrain").set_index("id")
    app = open_app(text_root, k="20")
    assert not app.exception
    assert said(app) == ""
    for card in listed(component, app):
        example = examples.loc[int(card["id"])]
        assert "".join(piece["text"] for piece in card["pieces"]) == example["text"]
        assert card["label"] == example["title"] or example["title"] == ""
        assert example["source"] in card["detail"]
        assert example["label"] in card["detail"] + card["label"]
        assert "said" not in card["detail"]


def test_tokens_are_shaded_on_one_scale_a_card_and_can_be_switched_off(open_app, text_root, component):
    app = open_app(text_root)
    for card in listed(component, app):
        weights = [piece["weight"] for piece in card["pieces"] if "weight" in piece]
        assert max(weights) == 1
        assert all("nat" in piece["title"] for piece in card["pieces"] if "weight" in piece)
        assert card["spoken"].startswith("Largest shares")
    assert "darkest" in component(app, "cards")["legend"]["shading"]
    app.segmented_control(key="shading").set_value("Plain").run()
    assert not any("weight" in piece for card in listed(component, app) for piece in card["pieces"])
    assert component(app, "cards")["legend"]["shading"] == ""
    assert open_app(text_root, shading="Plain").segmented_control(key="shading").value == "Plain"


def test_cards_without_shares_say_what_is_stored(open_app, text_root, component):
    app = open_app(text_root, of="Finetuning")
    assert not app.exception
    assert "no split over tokens is stored of finetuning examples" in component(app, "cards")["legend"]["missing"]
    assert component(open_app(text_root), "cards")["legend"]["missing"] == ""
    legend = component(open_app(text_root, ranking="Random", k="20"), "cards")["legend"]
    assert "stored for the 20 strongest of each sign only" in legend["missing"]


def test_words_shared_with_the_query_are_marked(open_app, text_root, component):
    app = open_app(text_root, query="1003")
    shared = {piece["text"] for card in listed(component, app) for piece in card["pieces"] if piece.get("shared")}
    assert {"sentence", "rivers"} <= shared
    assert not shared & {"and", "a"}


def test_what_the_model_did_not_read_is_told_apart(open_app, text_root, component, small):
    card = next(c for c in listed(component, open_app(text_root, k="20", ranking="Random")) if c["id"].endswith("3"))
    read = "".join(piece["text"] for piece in card["pieces"] if not piece.get("unread"))
    assert len(read.split()) == small.CONTEXT


def test_prediction_and_list_show_the_text_and_both_topics(open_app, text_root, component, small):
    app = open_app(text_root)
    body = " ".join(element.proto.body for element in app.get("html"))
    assert f'<p dir="auto"> sentence number {small.MISTAKE} about' in body
    item = next(item for item in component(app, "strip")["items"] if item["current"])
    assert item["verdict"] == "9 ✗ · true 8"
    assert f"number {small.MISTAKE}" in item["text"]


def test_words_filter_the_list_and_can_be_cleared(open_app, text_root, component):
    app = open_app(text_root)
    app.text_input(key="find").set_value("meadow").run()
    assert app.query_params["words"] == "meadow"
    assert "5 items" in app.button(key="clear_words").label
    items = component(app, "strip")["items"]
    assert len(items) == 5
    assert all("meadow" in item["text"] for item in items)
    first = app.query_params["query"]
    app.button(key="step_next").click().run()
    assert app.query_params["query"] == str(int(first) + 8)
    app.text_input(key="find").set_value("1001").run()
    assert app.query_params["query"] == "1001"
    app.button(key="clear_words").click().run()
    assert "words" not in app.query_params


def test_words_outside_the_listed_pill_widen_it(open_app, text_root):
    app = open_app(text_root, show="Confidently wrong")
    app.text_input(key="find").set_value("meadow").run()
    assert app.pills(key="show").value == "All"
    assert "all predictions are searched" in said(app)


def test_words_without_a_hit_change_nothing(open_app, text_root):
    app = open_app(text_root, words="zeppelin")
    assert "zeppelin" in said(app)
    assert "words" not in app.query_params
    app.text_input(key="find").set_value("airship").run()
    assert "airship" in said(app)


def test_bad_values_fall_back_with_a_notice(open_app, text_root):
    app = open_app(text_root, shading="Dots", by="colour")
    assert "Dots" in said(app)
    assert "colour" in said(app)
    assert app.segmented_control(key="shading").value == "Tokens"
    assert app.segmented_control(key="by").value == "Label"


def test_many_groups_begin_with_the_strongest(open_app, text_root, component):
    app = open_app(text_root)
    totals = component(app, "totals")
    strength = [row["helpful_width"] + row["harmful_width"] for row in totals["rows"]]
    assert (len(totals["rows"]), totals["first"]) == (15, 10)
    assert strength == sorted(strength, reverse=True)
    assert {"group": "", "name": "(none)"}.items() <= next(r for r in totals["rows"] if not r["group"]).items()


def test_totals_by_source_narrow_the_lists(open_app, text_root, component):
    app = open_app(text_root, by="source", group="web")
    assert said(app) == ""
    assert [row["group"] for row in component(app, "totals")["rows"]] == ["book", "news", "web"]
    assert all("web" in card["detail"] for card in listed(component, app))
    assert "Source web" in app.button(key="clear_group").label
    app.segmented_control(key="by").set_value("Label").run()
    assert "group" not in app.query_params
    assert said(app) == ""


def test_an_open_source_lists_its_classes_and_their_examples(open_app, text_root, component):
    assert component(open_app(text_root, by="source"), "totals")["branch"] is None
    app = open_app(text_root, by="source", branch="web")
    branch = component(app, "totals")["branch"]
    assert branch["group"] == "web"
    assert all(part["parts"] for part in branch["parts"] if "other" not in part["name"])
    app.segmented_control(key="by").set_value("Label").run()
    assert component(app, "totals")["branch"] is None
    assert "branch" not in app.query_params
    assert said(app) == ""


def test_a_class_inside_a_source_narrows_the_lists(open_app, text_root, component):
    app = open_app(text_root, by="source", branch="web")
    label = component(app, "totals")["branch"]["parts"][0]["within"]
    app = open_app(text_root, by="source", branch="web", group="web", within=label)
    assert said(app) == ""
    examples = Run.open(text_root / "words").examples("pretrain").set_index("id")
    ids = [int(card["id"]) for card in listed(component, app)]
    both = examples[(examples["source"] == "web") & (examples["label"].fillna("") == label)]
    assert ids
    assert set(ids) <= set(both.index)
    totals = component(app, "totals")
    assert [part["within"] for part in totals["branch"]["parts"] if part.get("pressed")] == [label]
    assert not any(row["pressed"] for row in totals["rows"])
    assert f": {len(both)} items" in app.button(key="clear_within").label
    app.button(key="clear_group").click().run()
    assert not {"group", "within"} & set(app.query_params)
    assert said(app) == ""


def test_a_class_that_no_source_has_is_let_go(open_app, text_root, component):
    app = open_app(text_root, by="source", group="web", within="nobody")
    assert "no class “nobody”; all classes of the source are listed" in said(app)


def test_a_branch_without_examples_is_let_go(open_app, text_root, component):
    app = open_app(text_root, by="source", branch="radio")
    assert component(app, "totals")["branch"] is None
    assert "no source “radio”; none of the sources is open" in said(app)


def test_group_without_a_name_can_be_chosen(open_app, text_root, component):
    app = open_app(text_root, group="")
    assert said(app) == ""
    assert [card["id"] for card in listed(component, app)] == ["5"]


def test_label_colours_are_few_and_the_rest_is_grey(open_app, text_root, component):
    sent = component(open_app(text_root, colour="Label"), "influence_map")
    assert len(sent["classes"]) == len(sent["palette"]) == 15
    assert len([colour for colour in sent["palette"] if colour]) == 9


@pytest.mark.parametrize("text", [False, True])
def test_nearest_is_the_order_of_the_embedding(open_app, small, tmp_path, component, text):
    run = small.write_run(tmp_path, text=text)
    examples, queries = (array[:] for array in run.embedding())
    cosines = examples @ queries[3] / np.linalg.norm(examples, axis=1)
    app = open_app(tmp_path, query="1003", ranking="Nearest")
    assert not app.exception
    columns = component(app, "cards")["columns"]
    assert len(columns) == 1
    assert [int(card["id"]) for card in columns[0]["cards"]] == np.argsort(-cosines)[:10].tolist()
    assert all(card["score"][0] in "▲▼" for card in columns[0]["cards"])
    assert all("cosine" in card["detail"] for card in columns[0]["cards"])
    assert "of the 10 nearest" in " ".join(c.value for c in app.caption)


@pytest.mark.parametrize(("ranking", "name"), [("BM25", BM25), ("Cosine", COSINE)])
def test_simpler_scores_are_lists_by_name(open_app, small, tmp_path, component, ranking, name):
    run = small.write_run(tmp_path, text=True, methods=("exact", "identity"))
    wanted = np.argsort(-baselines(run, "pretrain")[name]()(3), kind="stable")[:10]
    app = open_app(tmp_path, query="1003", ranking=ranking)
    assert not app.exception
    (column,) = component(app, "cards")["columns"]
    assert name in column["title"]
    assert [int(card["id"]) for card in column["cards"]] == wanted.tolist()
    assert all(("BM25" in card["detail"]) == (ranking == "BM25") for card in column["cards"])
    shown = {int(card["id"]) for card in listed(component, open_app(tmp_path, query="1003"))}
    both = len(shown & set(wanted.tolist()))
    assert f"{both} of these 10 are also among the {len(shown)}" in " ".join(c.value for c in app.caption)


def test_simpler_scores_need_what_they_are_made_of(open_app, small_root):
    offered = open_app(small_root).segmented_control(key="ranking").options
    assert offered == ["Influence", "Nearest", "Random", "All three"]


def test_overlap_is_counted_and_marked(open_app, small, tmp_path, component):
    run = small.write_run(tmp_path)
    app = open_app(tmp_path, query="1003", k="20")
    examples, queries = (array[:] for array in run.embedding())
    cosines = examples @ queries[3] / np.linalg.norm(examples, axis=1)
    near = set(np.argsort(-cosines)[:40].tolist())
    both = {card["id"] for card in listed(component, app) if int(card["id"]) in near}
    assert {card["id"] for card in listed(component, app) if "≈" in marks(card)} == both
    caption = " ".join(c.value for c in app.caption)
    assert f"{len(both)} of 40 shown (≈) are also among the 40 nearest neighbours" in caption


def test_overlap_is_not_told_where_everything_is_listed(open_app, text_root, component):
    app = open_app(text_root, group="noun.group03")
    assert listed(component, app)
    assert "nearest neighbours" not in " ".join(c.value for c in app.caption)
    assert not any("≈" in marks(card) for card in listed(component, app))


def test_random_is_the_same_for_a_query_and_keeps_to_the_region(open_app, small_root, component):
    draws = [
        [card["id"] for card in listed(component, open_app(small_root, ranking="Random", query=query))]
        for query in ("1003", "1003", "1004")
    ]
    assert draws[0] == draws[1] != draws[2]
    examples = Run.open(small_root / "small").examples("pretrain")
    inside = set(examples["id"][(examples["x"] > 0) & (examples["y"] > 0)].astype(str))
    app = open_app(small_root, ranking="Random", region="0_0~9_0~9_9~0_9", k="20")
    assert {card["id"] for card in listed(component, app)} == inside


def test_nearest_is_offered_only_where_it_is_known(open_app, small, tmp_path):
    small.write_run(tmp_path, "old", embedded=False)
    app = open_app(tmp_path, ranking="Nearest")
    assert "which is not one of Influence, Random" in said(app)
    assert app.segmented_control(key="ranking").options == ["Influence", "Random"]


def test_another_stage_falls_back_to_influence(open_app, small_root, component):
    app = open_app(small_root, ranking="Nearest")
    app.segmented_control(key="of").set_value("finetune").run()
    assert not app.exception
    assert len(component(app, "cards")["columns"]) == 2


@pytest.mark.parametrize("name", ["tokens/pretrain", "tokens/queries", "shares/pretrain-exact"])
def test_short_tables_give_a_callout_and_plain_cards(open_app, small, tmp_path, component, name, monkeypatch):
    run = small.write_run(tmp_path, "words", text=True)
    path = run.path / f"{name}.parquet"
    table = pd.read_parquet(path)
    (table.assign(shares=[s[:1] for s in table["shares"]]) if "shares" in table else table.iloc[:3]).to_parquet(path)
    monkeypatch.setattr(Run, "problems", lambda self: [])
    app = open_app(tmp_path)
    assert not app.exception
    assert f"{name}.parquet" in said(app)
    assert all("".join(piece["text"] for piece in card["pieces"]) for card in listed(component, app))


def test_damaged_embedding_gives_a_callout(open_app, small, tmp_path, component, monkeypatch):
    run = small.write_run(tmp_path, "words", text=True)
    (run.path / "embedding" / "examples.zarr" / "zarr.json").write_text("{}")
    monkeypatch.setattr(Run, "problems", lambda self: [])
    app = open_app(tmp_path)
    assert not app.exception
    assert "embedding" in said(app)
    assert listed(component, app)


@pytest.mark.parametrize("hostile", ["\x00\x1b[31m \u202eabc", "שלום <b>&amp;</b> עולם", "👩‍👧" * 5, "w" * 5000])
def test_hostile_texts_are_shown_as_they_are(open_app, small, tmp_path, component, hostile):
    from explorer.ui import escape

    small.write_run(tmp_path, "hostile", text=True, hostile=hostile)
    app = open_app(tmp_path)
    assert not app.exception
    cards = listed(component, app)
    assert all("".join(p["text"] for p in card["pieces"]).startswith(escape.visible(hostile)) for card in cards)
    markup = " ".join(element.proto.body for element in app.get("html"))
    assert escape.for_html(hostile) in markup


def test_tables_and_identity_card_open(open_app, text_root):
    app = open_app(text_root)
    app.session_state["tables"] = True
    app.session_state["identity"] = True
    app.run()
    assert not app.exception
    tables = [element.value for element in app.dataframe]
    assert any("none, no classifier" in str(table.to_dict()) for table in tables)
    shares = next(table for table in tables if "token" in table)
    assert len(shares) > 20
