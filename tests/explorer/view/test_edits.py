"""The basket of edits, as the URL keeps it."""

import pytest

from explorer.view import edits
from influence import Run
from influence.live import ADD, LEAVE_OUT, MASK, RELABEL, STRIKE, UPWEIGHT, Alteration

HOSTILE = "<b>2</b>,50%"


@pytest.fixture(scope="module")
def run(small_root):
    return Run.open(small_root / "small")


@pytest.fixture(scope="module")
def texts(small, tmp_path_factory):
    return small.write_run(tmp_path_factory.mktemp("texts"), "texts", text=True)


@pytest.fixture(scope="module")
def hostile(small, tmp_path_factory):
    return small.write_run(tmp_path_factory.mktemp("hostile"), "hostile", hostile=HOSTILE)


def of_every_kind(run):
    return [
        Alteration(LEAVE_OUT, "pretrain", 3),
        Alteration(RELABEL, "pretrain", 4, "2"),
        Alteration(MASK, "pretrain", 40, (8, 8, 7, 7)),
        Alteration(UPWEIGHT, "finetune", 501, 1.0),
        Alteration(UPWEIGHT, "finetune", 502, -0.25),
        Alteration(ADD, "finetune", 1003),
    ]


def test_edits_survive_the_link(run):
    basket = of_every_kind(run)
    text = edits.text_of(basket, run)
    assert text == "3,4-as-2,40-mask-8.8.7.7,in-finetune,501-by-1,502-by--0.25,add-1003"
    assert edits.parse(text, run) == (basket, [])
    assert edits.parse(edits.text_of(reversed(basket), run), run)[0][-1].stage == "finetune"


def test_what_is_added_is_another_than_an_example_of_the_same_number(run):
    out, more = Alteration(LEAVE_OUT, "finetune", 501), Alteration(ADD, "finetune", 501)
    assert edits.merged([out], [more]) == ([out, more], [])


def test_an_empty_basket_takes_no_place(run):
    assert edits.text_of([], run) is None
    assert edits.parse(None, run) == edits.parse("", run) == edits.parse(",,", run) == ([], [])


def test_words_and_names_survive_the_link_whatever_they_hold(hostile, texts):
    relabel = Alteration(RELABEL, "pretrain", 0, HOSTILE)
    assert edits.parse(edits.text_of([relabel], hostile), hostile) == ([relabel], [])
    strikes = [Alteration(STRIKE, "finetune", 501, word) for word in ("rivers and", "about")]
    assert edits.parse(edits.text_of(strikes, texts), texts) == (strikes, [])


@pytest.mark.parametrize(
    "bad",
    [
        "<b>x</b>", "99999", "3.5", "3-as-", "3-as-17", "0-as-0", "3-by-nan", "3-by-inf", "3-by--2", "3-by-0", "3-by-x",
        "3-mask-1.2.3", "3-mask-0.0.0.4", "3-mask-a.b.c.d", "3-strike-river", "3-melt-1", "in-nowhere", "in-nowhere,3",
        "add-/etc/passwd", "add-", "add-3", "add-1003", "9" * 400, "3-mask-٣.٣.٣.٣",
    ],
)  # fmt: skip
def test_what_is_no_edit_of_the_run_is_told_and_left_out(run, bad):
    found, notices = edits.parse(f"in-pretrain,7,{bad}", run)
    assert [each.id for each in found] == [7]
    (notice,) = notices
    assert "<b>" not in notice


def test_a_mask_needs_a_picture_and_a_word_a_text(run, texts):
    assert edits.parse("3-mask-1.1.2.2", run)[0]
    assert not edits.parse("3-mask-1.1.2.2", texts)[0]
    assert not edits.parse("in-finetune,501-strike-absent", texts)[0]


def test_a_stage_without_classes_takes_no_label(texts):
    found, (notice,) = edits.parse("3-as-noun.group01", texts)
    assert not found
    assert "no edit" in notice


def test_of_an_example_the_later_edit_holds_and_this_is_said(run):
    found, (notice,) = edits.parse("3,4,3-as-1", run)
    assert [(each.id, each.kind) for each in found] == [(4, LEAVE_OUT), (3, RELABEL)]
    assert "\\#3 had another edit" in notice
    assert edits.parse("3,3", run) == ([Alteration(LEAVE_OUT, "pretrain", 3)], [])


def test_several_words_may_be_struck_of_one_text():
    one, two = (Alteration(STRIKE, "pretrain", 3, word) for word in ("red", "blue"))
    assert edits.merged([one], [two, one]) == ([one, two], [])
    out = Alteration(LEAVE_OUT, "pretrain", 3)
    assert edits.merged([one, two], [out]) == ([out], [one, two])


def test_a_basket_too_long_for_a_link_is_refused(run):
    many = [Alteration(LEAVE_OUT, "pretrain", number) for number in range(edits.LARGEST_BASKET + 1)]
    with pytest.raises(ValueError, match="at most 200"):
        edits.text_of(many, run)
    long = [Alteration(STRIKE, "pretrain", 3, "x" * edits.LONGEST_BASKET)]
    with pytest.raises(ValueError, match="characters"):
        edits.text_of(long, run)
    found, notices = edits.parse(",".join(str(each.id) for each in many), run)
    assert len(found) == 60  # as many examples as there are
    assert any("more than 200" in notice for notice in notices)


def test_rows_that_are_left_out_are_of_one_stage(run):
    basket = [*of_every_kind(run), Alteration(LEAVE_OUT, "finetune", 505)]
    assert edits.left_out(basket, run, "pretrain") == [3]
    assert edits.left_out(basket, run, "finetune") == [5]


def test_words_say_what_is_changed(run, texts):
    told = [edits.words(each, run) for each in of_every_kind(run)]
    assert told[0] == "#3: 0 left out"
    assert told[1] == "#4: 1 → 2"
    assert told[2] == "#40: 1 blank at 8, 8 (7 by 7)"
    assert told[3] == "#501: 8 counted twice (finetuning)"
    assert told[4] == "#502: 9 with weight 0.75 (finetuning)"
    assert told[5] == "prediction #1003: 7 added (finetuning)"
    assert edits.words(Alteration(STRIKE, "pretrain", 5, "a\x00b"), texts) == "#5: (none) without “a␀b”"
