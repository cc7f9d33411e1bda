"""The Suspects page on a small run, by AppTest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from explorer.export import notes
from explorer.jobs import live
from explorer.ui import state, theme
from explorer.view import edits, pools
from influence import Run
from influence.live import LEAVE_OUT, RELABEL, Alteration, Criterion

PAGE = "suspects"


@pytest.fixture(scope="module")
def wrong_sums(small_root):
    run = Run.open(small_root / "small")
    table = run.queries()
    return run.scores("pretrain")[:][(table["label"] != table["prediction"]).to_numpy()].sum(axis=0)


def test_opens_on_what_harms_the_mistakes_most(open_app, small_root, wrong_sums):
    app = open_app(small_root, page=PAGE)
    assert not app.exception
    assert not app.error
    assert not app.warning
    ids = app.dataframe[0].value["id"]
    harmful = np.argsort(wrong_sums)[: (wrong_sums < 0).sum()]
    assert ids.tolist() == harmful[: len(ids)].tolist()


def test_the_other_end_of_the_ranking(open_app, small_root, wrong_sums):
    app = open_app(small_root, page=PAGE, side="Help")
    assert app.dataframe[0].value["id"].iloc[0] == wrong_sums.argmax()


def test_basket_is_in_the_url_and_its_effect_is_the_sum(open_app, small_root, wrong_sums):
    app = open_app(small_root, page=PAGE)
    app.button(key="put").click().run()
    rows = (
        [int(name) for name in app.query_params["basket"][0].split(",")]
        if isinstance(app.query_params["basket"], list)
        else [int(name) for name in app.query_params["basket"].split(",")]
    )
    assert rows == np.argsort(wrong_sums)[:10].tolist()
    text = " ".join(str(m.value) for m in app.markdown)
    assert "predicted to fall by" in text
    assert f"{-wrong_sums[rows].sum() * 1e3:.0f} mnat" in text
    table = Run.open(small_root / "small").queries()
    losses = table["loss"][table["prediction"] != table["label"]]
    assert f"of its {theme.number(float(losses.sum()))} nat" in text
    app.multiselect(key="basket_items").unselect(Alteration(LEAVE_OUT, "pretrain", rows[0])).run()
    assert str(app.query_params["basket"]).strip("[]'") == ",".join(map(str, rows[1:]))
    assert "**9** in the basket" in " ".join(str(m.value) for m in app.markdown)
    app.button(key="empty").click().run()
    assert "basket" not in app.query_params


def test_slice_is_picked_and_kept_in_the_url(open_app, small_root):
    app = open_app(small_root, page=PAGE)
    app.selectbox(key="slice_choice").set_value("query").run()
    assert app.query_params["slice"] in ("query", ["query"])
    assert any("over 1 prediction." in str(caption.value) for caption in app.caption)


@pytest.mark.parametrize("url", [{"slice": "cell-9-9"}, {"basket": "<b>x</b>,99999"}, {"side": "up"}])
def test_bad_links_are_said_and_survived(open_app, small_root, url):
    app = open_app(small_root, page=PAGE, **url)
    assert not app.exception
    assert app.warning
    assert len(app.dataframe[0].value)


def test_visitors_take_the_basket_along():
    assert state.BASKET in state.KEPT


class Together:
    def __init__(self, first, total, warnings=()):
        self.first, self.total, self.warnings = first, total, list(warnings)


class WhatIf:
    """Made-up answers, and what was asked."""

    def __init__(self, run):
        self.run, self.asked = run, []

    def scores(self, criterion, stage):
        self.asked.append(("scores", criterion, stage))
        return -np.arange(len(self.run.examples(stage)), dtype=np.float32) * 1e-3

    def labels(self, criterion, stage, rows=None):
        """Of every example the last other class lowers most, of later ones more."""
        self.asked.append(("labels", criterion, stage, rows))
        table, classes = self.run.examples(stage), list(self.run.stage(stage).classes)
        found = np.array(
            [[-(c + 1.0) * (row + 1) for c in range(len(classes))] for row in range(len(table))], np.float32
        )
        found[np.arange(len(table)), [classes.index(label) for label in table["label"]]] = 0
        return found if rows is None else found[list(rows)]

    def own_labels(self, stage, rows=None):
        """The others speak for class 1 of the example at row 7."""
        self.asked.append(("own labels", stage, rows))
        table, classes = self.run.examples(stage), list(self.run.stage(stage).classes)
        found = np.ones((len(table), len(classes)), np.float32)
        found[7, next(c for c in range(len(classes)) if classes[c] != table["label"][7])] = -1
        return found

    def alone(self, criterion, alterations):
        self.asked.append(("alone", criterion, tuple(alterations)))
        return np.full(len(alterations), -1.0, np.float32)

    def pool(self, stage, path=None):
        if path is not None:
            return pd.read_csv(path, dtype=str)
        return self.run.queries() if stage == self.run.stages[-1] else None

    def additions(self, criterion, stage, pool):
        """The later one stands in the table, the more it lowers."""
        if isinstance(pool, Path):
            return -np.arange(len(pd.read_csv(pool)), dtype=np.float32)
        self.asked.append(("additions", criterion, stage, tuple(pool["id"])))
        return -(pool["id"].to_numpy(np.float32) - 1000)

    def after(self, criterion, stage, alterations):
        """Now the first examples harm most; what is left out has no score."""
        self.asked.append(("after", criterion, stage, tuple(alterations)))
        found = np.arange(len(self.run.examples(stage)), dtype=np.float32) - 100
        found[[each.id for each in alterations if each.kind == LEAVE_OUT]] = np.nan
        return found

    def together(self, criterion, alterations, steps=3):
        self.asked.append(("together", criterion, tuple(alterations)))
        return Together(-1.0, -0.5, ["The steps <b>diverge</b>.", *self.run.manifest.warnings])


class Live:
    ready = True
    warnings = order_only = ()

    def __init__(self, run):
        self.run, self.what_if, self.classes = run, WhatIf(run), run.classes


@pytest.fixture
def asked(monkeypatch):
    """Opened runs answer with made-up numbers; those that were opened."""
    opened: dict[str, Live] = {}
    monkeypatch.setattr(live, "opened", lambda run: opened.setdefault(run.name, Live(run)))
    return opened


@pytest.fixture
def closed(monkeypatch):
    """No run can be asked anything; a test fails if it is."""

    def refuse(run):
        raise AssertionError("a model was opened")

    monkeypatch.setattr(live, "opened", refuse)


def says(app):
    kinds = (app.markdown, app.caption, app.info, app.warning, app.get("html"))
    return " ".join(str(getattr(e, "value", None) or e.proto.body) for kind in kinds for e in kind)


def param(app, key):
    value = app.query_params.get(key)
    return value[0] if isinstance(value, list) else value


def test_losses_and_gaps_need_no_model(open_app, small_root, closed):
    for url in ({}, {"criterion": "Gap"}, {"criterion": "Gap", "gap": "label~8~7", "basket": "3,in-finetune,504"}):
        app = open_app(small_root, page=PAGE, **url)
        assert not app.exception
        assert not app.warning
    table, scores = Run.open(small_root / "small").queries(), Run.open(small_root / "small").scores("pretrain")[:]
    one, other = ((table["label"] == name).to_numpy() for name in ("8", "7"))
    gap = scores[one].mean(0) - scores[other].mean(0)
    assert app.dataframe[0].value["id"].iloc[0] == gap.argmin()
    assert "the gap in mean loss between label “8”" in says(app).replace("\\", "")


def test_groups_are_chosen_and_kept_in_the_url(open_app, small_root, closed):
    app = open_app(small_root, page=PAGE, criterion="Gap")
    first, last = app.selectbox(key="gap_one").value, app.selectbox(key="gap_other").value
    app.selectbox(key="gap_one").set_value(last).run()
    assert param(app, "gap") == f"label~{last}~{first}"  # another than itself
    app.selectbox(key="gap_column").set_value("prediction").run()
    assert param(app, "gap").startswith("prediction~")
    assert not app.exception


def test_a_class_s_error_is_asked_of_the_models(open_app, small_root, asked):
    app = open_app(small_root, page=PAGE, criterion="Class error", **{"class": "8"})
    assert not app.exception
    assert asked["small"].what_if.asked[0] == ("scores", Criterion((), error_of="8"), "pretrain")
    assert app.dataframe[0].value["id"].iloc[0] == 59
    app.selectbox(key="error_class").set_value("7").run()
    assert param(app, "class") == "7"


def test_a_run_that_cannot_be_opened_keeps_what_it_stores(open_app, small_root):
    for url in ({"criterion": "Class error"}, {"repair": "Relabel"}):
        app = open_app(small_root, page=PAGE, basket="3", **url)
        assert not app.exception
        assert "cannot be asked what if" in app.info[0].value
    app = open_app(small_root, page=PAGE, basket="3,4-as-2", together="true")
    assert len(app.dataframe[0].value)
    assert "What these edits do is not known" in says(app)


def test_labels_are_ranked_by_what_they_lower(open_app, small_root, asked):
    app = open_app(small_root, page=PAGE, repair="Relabel")
    table, run = app.dataframe[0].value, Run.open(small_root / "small")
    assert table["id"].iloc[0] == 58  # example 59 has the best class already
    assert table["best label"].iloc[0] == "2"
    assert table["label"].iloc[0] == run.examples("pretrain")["label"][58]
    app.button(key="put").click().run()
    assert param(app, "basket").split(",")[0] == "58-as-2"
    assert "in basket" in app.dataframe[0].value
    assert app.dataframe[0].value["in basket"].iloc[0] == "→ 2"
    asked_for = [name for name, *_ in asked["small"].what_if.asked]
    assert asked_for == ["labels", "alone"]  # once each, however often the page is drawn


def test_labels_are_ranked_by_what_the_other_examples_say(open_app, small_root, asked):
    app = open_app(small_root, page=PAGE, repair="Relabel", speaks="The other examples")
    assert not app.exception
    table = app.dataframe[0].value
    assert table["id"].tolist() == [7]
    assert table["best label"].iloc[0] != table["label"].iloc[0]
    assert "whose label the others speak against" in says(app)
    app.button(key="put").click().run()
    assert param(app, "basket") == f"7-as-{table['best label'].iloc[0]}"


def test_held_out_examples_are_added_but_not_those_that_are_judged(open_app, small_root, asked):
    app = open_app(small_root, page=PAGE, repair="Add", of="Finetuning")
    table = Run.open(small_root / "small").queries()
    right = table[table["label"] == table["prediction"]]
    assert app.dataframe[0].value["id"].tolist() == right["id"].tolist()[::-1]
    app.button(key="put").click().run()
    assert param(app, "basket").startswith(f"in-finetune,add-{right['id'].iloc[-1]},")
    assert app.dataframe[0].value["in basket"].iloc[0] == "added"
    assert "With these edits" in says(app)
    app = open_app(small_root, page=PAGE, repair="Add", of="Finetuning", slice="all")
    assert len(app.dataframe[0].value) == 39  # the first lowers nothing
    assert "better judge by a part of them" in says(app)


def test_an_uploaded_file_is_a_pool(open_app, small, tmp_path, asked):
    small.write_run(tmp_path, "words", text=True, hostile="<i>")
    digest = pools.keep("more.csv", {"": b"text,label\n<b>a</b>,7\nb,8\nc,7\n"})
    app = open_app(tmp_path, page=PAGE, repair="Add", pool=digest)
    assert not app.exception
    assert not app.warning
    assert app.dataframe[0].value["text"].tolist() == ["c", "b"]
    app.button(key="put").click().run()
    assert param(app, "basket").startswith("add-file-")
    assert "2-texts.jsonl added" in str(app.multiselect(key="basket_items").options)
    app.button(key="clear_pool").click().run()
    assert "pool" not in app.query_params
    gone = open_app(tmp_path, page=PAGE, repair="Add", pool="0123456789abcdef")
    assert "not kept by this server" in gone.warning[0].value


def test_a_stage_without_a_pool_says_where_one_may_come_from(open_app, small_root, asked):
    app = open_app(small_root, page=PAGE, repair="Add")
    assert "upstream what-if --add FILE" in app.info[0].value


def test_a_stage_without_classes_says_why_nothing_is_relabelled(open_app, small, tmp_path, closed):
    small.write_run(tmp_path, "words", text=True)
    app = open_app(tmp_path, page=PAGE, repair="Relabel")
    assert "no classes" in app.info[0].value


def test_sum_and_together_stand_beside_each_other_with_warnings(open_app, small_root, asked):
    app = open_app(small_root, page=PAGE, slice="query", basket="4-as-2", together="true")
    text = says(app)
    assert "↓ 1.0 nat" in text
    assert "↓ 0.50 nat" in text
    assert "part by more than a quarter" in text
    assert "The steps \\<b\\>diverge" in text
    assert len(app.warning) == 2  # what is wrong with the whole run stands at the top


def test_the_list_is_ranked_again_with_the_edits_made(open_app, small_root, asked, wrong_sums):
    app = open_app(small_root, page=PAGE, basket="2", again="true")
    assert not app.exception
    listed = app.dataframe[0].value
    assert listed["id"].tolist()[:3] == [0, 1, 3]
    assert "enters" in listed["place"].tolist()
    assert "With this edit made, " in says(app)
    app.toggle(key="again").set_value(False).run()
    assert app.dataframe[0].value["id"].iloc[0] == wrong_sums.argmin()
    app = open_app(small_root, page=PAGE, again="true")  # nothing to make
    assert app.dataframe[0].value["id"].iloc[0] == wrong_sums.argmin()


def test_hostile_names_stay_text(open_app, small, tmp_path, asked):
    hostile = "<img src=x onerror=alert(1)>,~%"
    run = small.write_run(tmp_path, "hostile", hostile=hostile)
    basket = edits.text_of([Alteration(RELABEL, "pretrain", 4, hostile)], run)
    for url in (
        {"criterion": "Gap", "gap": f"label~7~{hostile.replace('%', '%25').replace('~', '%7E')}"},
        {"criterion": "Class error", "class": hostile},
        {"repair": "Relabel"},
        {"review": "3"},
    ):
        app = open_app(tmp_path, page=PAGE, basket=basket, together="true", **url)
        assert not app.exception
        assert not [warning for warning in app.warning if "link" in str(warning.value)]
        assert "<img src=x" not in says(app)


@pytest.mark.parametrize(
    "url",
    [
        {"criterion": "Mood"}, {"criterion": "Gap", "gap": "label~1~<b>"}, {"criterion": "Class error", "class": "<b>"},
        {"repair": "Burn"}, {"review": "<b>"}, {"review": "99999"}, {"together": "maybe"}, {"basket": "3-as-<b>"},
    ],
)  # fmt: skip
def test_bad_links_of_the_repair_are_said_and_survived(open_app, small_root, asked, url):
    app = open_app(small_root, page=PAGE, **url)
    assert not app.exception
    assert app.warning
    assert "<b>" not in str(app.warning[0].value)


@pytest.fixture
def own_root(small, tmp_path):
    """A folder with a run beside which notes may be written."""
    small.write_run(tmp_path, "small")
    return tmp_path


def test_a_review_goes_through_the_list_and_fills_the_basket(open_app, own_root, asked):
    app = open_app(own_root, page=PAGE)
    ids = app.dataframe[0].value["id"].tolist()
    app.button(key="review").click().run()
    assert param(app, "review") == str(ids[0])
    assert f"1 of {len(ids)}" in says(app)
    app.button(key="review_d").click().run()
    assert param(app, "basket") == str(ids[0])
    assert param(app, "review") == str(ids[1])
    app.button(key="review_k").click().run()
    assert param(app, "review") == str(ids[2])
    run = Run.open(own_root / "small")
    assert notes.read(run).latest["pretrain", ids[1]].tags == ("correct",)
    app.button(key="review_n").click().run()
    label = app.selectbox(key=f"review_label-pretrain-{ids[3]}").value
    app.button(key="review_r").click().run()
    assert param(app, "basket") == f"{ids[0]},{ids[3]}-as-{label}"
    assert "3 decided" in says(app)
    # Who comes back goes on where nothing is decided yet; what was decided can be taken back.
    app.button(key="review_end").click().run()
    app.button(key="review").click().run()
    assert param(app, "review") == str(ids[2])
    again = open_app(own_root, page=PAGE, review=str(ids[0]), basket=param(app, "basket"))
    assert "left out" in says(again)
    again.button(key="review_k").click().run()
    assert param(again, "basket") == f"{ids[3]}-as-{label}"


def test_a_review_without_models_still_relabels(open_app, own_root):
    app = open_app(own_root, page=PAGE, review="3")
    assert "What a label would do is not known" in says(app)
    number = param(app, "review")
    app.button(key="review_r").click().run()
    assert f"{number or 3}-as-" in param(app, "basket") or "-as-" in param(app, "basket")
