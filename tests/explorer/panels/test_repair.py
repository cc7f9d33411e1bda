"""The parts of Suspects as plain functions."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from explorer.panels.basket import corrected, effect
from explorer.panels.repair import again, judge, upload
from explorer.panels.repair.subject import Subject
from explorer.ui import theme
from explorer.view import criterion
from influence import Run
from influence.errors import StudyError
from influence.live import LEAVE_OUT, RELABEL, Alteration
from influence.run import SliceKind

NAT = theme.Unit("nat", 1.0)
HOSTILE = "<b>~50%</b>"


@pytest.fixture(scope="module")
def run(small_root):
    return Run.open(small_root / "small")


def subject(run, *basket, judged=None):
    return Subject(run, "pretrain", judged or criterion.of_slice(run, "all", 0), basket)


@pytest.mark.parametrize(
    ("total", "together", "apart"), [(1, 0.81, False), (1, 0.79, True), (1, 1.3, False), (0.7, 1, True), (1, -1, True)]
)
def test_sum_and_together_part_by_more_than_a_quarter(total, together, apart):
    assert effect.apart(total, together) is apart


def test_bars_share_a_scale_and_say_the_direction_in_words():
    html = effect.bars_html({"sum": -1.0, "together": -0.5}, NAT)
    assert 'width:100.0%"' in html
    assert 'width:50.0%"' in html
    assert "↓ 0.50 nat" in html
    both = effect.bars_html({"sum": 1.0, "together": -0.5}, NAT)
    assert "up-across" in both
    assert "↑ 1.0 nat" in both


def test_edits_of_every_kind_are_told_with_what_they_are_judged_by(run):
    out, label = Alteration(LEAVE_OUT, "pretrain", 3), Alteration(RELABEL, "pretrain", 4, "2")
    assert "Without it, the summed loss of these 40 is" in effect.effect_text(subject(run, out), -1.0, NAT)
    assert ", now " in effect.effect_text(subject(run, out), -1e6, NAT)  # and no part of more than all
    assert criterion.of_slice(run, SliceKind.QUERY, 0).words == "the loss of this prediction"
    both = effect.effect_text(subject(run, out, label), 1.0, NAT)
    assert "**2** in the basket. With these edits," in both
    assert "rise by **1.0 nat**" in both
    error = subject(run, out, judged=criterion.of_error(run, "8"))
    points = error.unit(pd.Series([0.1]).to_numpy())
    said = effect.effect_text(error, -0.031, points)
    assert "the error of class “8” is predicted to fall by **3.1 percentage points**, now 10 %" in said
    gap = subject(run, out, judged=criterion.of_gap(run, "label", "7", "9"))
    assert "the gap in mean loss" in effect.effect_text(gap, -0.1, NAT)
    assert "stay as it is" in effect.effect_text(gap, 0.0, NAT)


def test_leaving_out_needs_no_model(run):
    basket = [Alteration(LEAVE_OUT, "finetune", 503), Alteration(LEAVE_OUT, "pretrain", 3)]
    found = effect.alone(subject(run, *basket))
    assert found == pytest.approx([run.scores("finetune")[:, 3].sum(), run.scores("pretrain")[:, 3].sum()], abs=1e-6)


def test_two_groups_survive_the_link_whatever_they_are_called():
    table = pd.DataFrame({"a~%": [HOSTILE, "x", "x", HOSTILE], "loss": [1.0, 2.0, 3.0, 1.5]})
    text = judge.gap_text("a~%", HOSTILE, "x")
    assert judge.gap_parsed(table, text) == ("a~%", HOSTILE, "x")
    for bad in ("", "a~%", "loss~1~2", judge.gap_text("a~%", "x", "x"), judge.gap_text("a~%", "x", "y"), "b~x~y"):
        assert judge.gap_parsed(table, bad) is None
    assert judge.usual_gap(table, "a~%") == ("a~%", "x", HOSTILE)


def test_who_leaves_and_who_enters_the_list_is_said(run):
    of = subject(run, Alteration(LEAVE_OUT, "pretrain", 3))
    before, after = np.array([3, 4, 5]), np.array([5, 4, 9])
    assert again.words(of, before, after) == (
        "With this edit made, 1 of the first 3 leaves: #3 (edited). 1 enters: #9."
    )
    assert again.moves(before, after) == ["up 2", "stays", "enters"]
    assert again.words(of, before, before) == "With this edit made, the same 3 examples are listed."
    many = again.words(of, np.arange(12), np.array([], dtype=int))
    assert "12 of the first 12 leave" in many
    assert "and 4 more" in many


def test_what_is_left_out_has_no_rank():
    assert again.ranked(np.array([np.nan, -1.0, 2.0, -3.0]), helpful=False).tolist() == [3, 1]


def png(colour):
    buffer = io.BytesIO()
    Image.new("L", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_are_uploaded_into_a_folder_of_their_class():
    found = upload.pictures("7", [("../a.gif", png(0)), ("b.png", png(255))])
    assert list(found) == ["7/0.png", "7/1.png"]
    assert Image.open(io.BytesIO(found["7/1.png"])).getpixel((0, 0)) == 255
    for label, content, message in (
        ("a/b", png(0), "No folder can be called"),
        ("..", png(0), "No folder can be called"),
        ("7", b"<script>", "no picture"),
    ):
        with pytest.raises(StudyError, match=message):
            upload.pictures(label, [("a.png", content)])
    with pytest.raises(StudyError, match="at most"):
        upload.pictures("7", [("a.png", png(0))] * (upload.MOST_PICTURES + 1))


def test_a_part_of_an_uploaded_pool_is_a_pool_of_its_own(run, tmp_path):
    texts = pd.DataFrame({"text": ["=a", "b, b", "c"], "label": ["0", "1", "2"]})
    (edit,) = upload.part(subject(run), texts, [2, 1])
    assert pd.read_json(edit.value[0], lines=True, dtype=str).to_dict("list") == {
        "text": ["c", "b, b"],
        "label": ["2", "1"],
    }
    assert upload.part(subject(run), texts, [2, 1]) == [edit]
    assert upload.part(subject(run), texts, []) == []
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    pictures = pd.DataFrame({"label": ["0", "1"], "file": [tmp_path / "0.png", tmp_path / "1.png"]})
    (edit,) = upload.part(subject(run), pictures, [1])
    assert [str(file.relative_to(edit.value[0])) for file in Path(edit.value[0]).rglob("*.png")] == ["1/0.png"]


def test_corrected_data_keep_their_ids_and_say_what_was_changed(run):
    of = subject(run, Alteration(LEAVE_OUT, "pretrain", 3), Alteration(RELABEL, "pretrain", 4, "2"))
    data, changes = corrected.table(of, "pretrain"), corrected.table(of, "pretrain-changes")
    assert data["id"].tolist() == [name for name in range(60) if name != 3]
    assert data.set_index("id")["label"][4] == "2"
    assert "image" not in data
    assert changes["id"].tolist() == [3, 4]


def test_an_edit_that_cannot_be_made_is_told_in_the_file(run):
    of = subject(run, Alteration(LEAVE_OUT, "pretrain", 3), Alteration(RELABEL, "pretrain", 999, "2"))
    assert "999" in corrected.table(of, "pretrain")["problem"][0]
