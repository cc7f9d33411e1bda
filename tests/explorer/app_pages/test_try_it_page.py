"""Try it and what is explained: questions, answers, hostile input; by AppTest and as plain functions."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from explorer.jobs import live
from explorer.panels.prediction import target, uploads
from influence import Run
from influence.errors import StudyError
from influence.live import Contrast


def png(size=(20, 20)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, 255).save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG that says it is 60,000 pixels a side."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunks = [head, b"IDAT" + zlib.compress(b"")]
    return png()[:8] + b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)


def test_a_good_picture_is_read():
    assert uploads.upload("a.png", png()).size == (20, 20)
    assert uploads.drawing(uploads.DRAWING_PREFIX + base64.b64encode(png()).decode()).size == (20, 20)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "no picture"), (b"hello", "no picture"), (png()[:40], "no picture"), (bomb(), "too many pixels")],
)
def test_bad_files_are_refused(content, says):
    with pytest.raises(StudyError, match=says):
        uploads.upload("../../<script>alert(1)</script>.png", content)


def test_a_file_that_is_too_large_is_not_opened(monkeypatch):
    monkeypatch.setattr(uploads, "LARGEST_FILE", 10)
    with pytest.raises(StudyError, match="at most 10 are read"):
        uploads.upload("a.png", png())


@pytest.mark.parametrize(
    "address", ["", "javascript:alert(1)", uploads.DRAWING_PREFIX + "%%%", "data:text/html;base64,AAAA"]
)
def test_a_drawing_that_is_none_is_refused(address):
    with pytest.raises(StudyError, match="is no picture"):
        uploads.drawing(address)


def test_the_rule_says_what_is_explained():
    rule = target.rule(Contrast("<b>", "7"), "pretraining").replace("\\", "")
    assert "*raise* the loss of “<b>” minus the loss of “7”" in rule
    assert "\\<b\\>" in target.rule(Contrast("<b>"), "pretraining")


def test_a_run_that_cannot_be_asked_says_what_to_do(open_app, small_root):
    app = open_app(small_root, page="try-it")
    assert not app.exception
    assert "cannot be asked anything new" in app.info[0].value
    assert "FILE" in app.info[0].value


class Fake:
    ready = True
    warnings = order_only = ()

    def __init__(self, run, lengths):
        self.form, self.classes, self.lengths = "text", run.classes, lengths
        self.sizes = {stage: len(run.examples(stage)) for stage in run.stages}

    def stored(self, position):
        return position

    def scores(self, item, wanted):
        assert wanted.of in self.classes
        return {stage: np.full(n, -0.25, np.float32) for stage, n in self.sizes.items()}

    def splits(self, stage):
        return stage in self.lengths

    def shares(self, item, wanted, stage, examples):
        return {row: np.full(self.lengths[stage][row], -0.25 / self.lengths[stage][row]) for row in examples}


def answer_by_fake(monkeypatch, run, lengths=None):
    fake = Fake(run, lengths or {})
    monkeypatch.setattr(live, "opened", lambda run: fake)


def test_explore_explains_a_margin_live(open_app, small_root, monkeypatch):
    run = Run.open(small_root / "small")
    answer_by_fake(monkeypatch, run)
    app = open_app(small_root)
    before = [m.value for m in app.markdown if "Helpful" in m.value]
    assert "on this prediction" in before[0]
    app.button_group(key="explained").set_value("Margin").run()
    assert not app.exception
    after = [m.value for m in app.markdown if "Helpful" in m.value]
    assert "minus the loss of" in after[0]
    said, other = app.selectbox(key="choose_against").label.split()[0], app.selectbox(key="choose_against").options[-1]
    copy = open_app(small_root, explained="Margin", against=other)
    assert f"“{said}” minus the loss of “{other}”" in next(m.value for m in copy.markdown if "Helpful" in m.value)
    wrong = open_app(small_root, explained="Margin", against="zebra")
    assert not wrong.exception
    assert "zebra" in wrong.warning[0].value


def test_a_margin_stays_chosen_from_prediction_to_prediction(open_app, small_root, monkeypatch):
    run = Run.open(small_root / "small")
    answer_by_fake(monkeypatch, run)
    table = run.queries()
    first, second = (table[table["prediction"] == name].iloc[0] for name in table["prediction"].unique()[:2])
    app = open_app(small_root, explained="Margin", against=str(second["prediction"]), query=str(first["id"]))
    assert app.selectbox(key="choose_against").value == second["prediction"]
    app.query_params["query"] = str(second["id"])  # said is what the first was compared with
    app.run()
    assert not app.exception
    assert app.selectbox(key="choose_against").value != second["prediction"]
    assert "minus the loss of" in next(m.value for m in app.markdown if "Helpful" in m.value)


def test_what_is_explained_live_is_split_over_tokens_too(open_app, small, tmp_path, monkeypatch, component):
    run = small.write_run(tmp_path, "words", text=True)
    answer_by_fake(monkeypatch, run, {"pretrain": run.tokens("pretrain")["starts"].map(len)})
    app = open_app(tmp_path)
    app.button_group(key="explained").set_value("Margin").run()
    assert not app.exception
    cards = [card for column in component(app, "cards")["columns"] for card in column["cards"]]
    assert cards
    for card in cards:
        shaded = [piece for piece in card["pieces"] if piece.get("sign")]
        assert {piece["sign"] for piece in shaded} == {"harmful"}
    app.button_group(key="of").set_value("finetune").run()
    legend = component(app, "cards")["legend"]
    assert "are not split over tokens" in legend["missing"]


def test_explore_keeps_the_stored_scores_where_the_run_cannot_be_asked(open_app, small_root):
    app = open_app(small_root)
    app.button_group(key="explained").set_value("Margin").run()
    assert not app.exception
    assert "instead" in app.warning[0].value
    assert "on this prediction" in next(m.value for m in app.markdown if "Helpful" in m.value)


def test_the_class_to_compare_with_follows_the_prediction_until_one_is_chosen(open_app, small_root, monkeypatch):
    run = Run.open(small_root / "small")
    answer_by_fake(monkeypatch, run)
    table = run.queries()
    wrong = table[table["prediction"] != table["label"]].drop_duplicates("label")
    first, second = (wrong.iloc[place] for place in (0, 1))
    app = open_app(small_root, explained="Margin", query=str(first["id"]))
    assert app.selectbox(key="choose_against").value == first["label"]
    assert "against" not in app.query_params
    app.query_params["query"] = str(second["id"])
    app.run()
    assert app.selectbox(key="choose_against").value == second["label"]
    other = next(name for name in app.selectbox(key="choose_against").options if name != second["label"])
    app.selectbox(key="choose_against").set_value(other).run()
    assert other in app.query_params["against"]
