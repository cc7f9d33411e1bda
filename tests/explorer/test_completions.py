"""A run of a language model that answers, whose predictions have no class: pages draw it, and spans are chosen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from explorer.jobs import live
from explorer.panels.prediction import completed, completion, explain, question
from explorer.runs import completions as spans
from explorer.runs import queries
from explorer.runs.completions import Completion
from explorer.view import sides
from influence.errors import StudyError
from influence.live import Input, Span
from influence.live import live as module
from influence.run import confusion


@pytest.fixture
def answering(completions, monkeypatch):
    """The run, whose study can be asked."""
    run, exhibit = completions
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: exhibit)
    monkeypatch.setattr(live, "_warm_up", lambda opened: None)  # a thread would outlive the test
    return run


def told(app):
    """What a page warns of, but for what every live answer of this run does: it stands at no minimum."""
    return [warning.value for warning in app.warning if "minimum" not in warning.value]


@pytest.mark.parametrize("page", ["", "item", "suspects", "compare", "trust", "try-it", "learn", "notes"])
def test_every_page_draws_without_classes(answering, open_app, page):
    app = open_app(answering.path.parent, page=page)
    assert not app.exception
    assert not app.error
    assert told(app) == []


def texts_of(app):
    return " ".join(each.proto.body for each in app.get("html"))


def test_explore_opens_on_the_largest_loss_and_says_loss_where_there_is_no_class(answering, open_app, component):
    table = answering.queries()
    app = open_app(answering.path.parent)
    largest = table.iloc[int(table["loss"].to_numpy().argmax())]
    assert "What does the loss on this completion come from?" in texts_of(app)
    assert "Predicted" not in texts_of(app)
    (current,) = [item for item in component(app, "strip")["items"] if item["current"]]
    assert current["id"] == str(largest["id"])
    assert current["verdict"].startswith("loss 24 nat")
    sent = component(app, "completion")
    assert "".join(piece["text"] for piece in sent["pieces"]) == largest["text"]
    assert next(piece["text"] for piece in sent["pieces"] if piece.get("kind") == "prompt").startswith("what does")
    with pytest.raises(LookupError):
        component(app, "confusion")


def listed(component, app):
    return [card["id"] for column in component(app, "cards")["columns"] for card in column["cards"]]


def test_the_lists_are_those_of_the_span_that_the_link_names(answering, open_app, component):
    position = queries.position_by_id(answering.queries(), "101")
    app = open_app(answering.path.parent, query="101", span="101-31-39")
    assert not app.exception
    assert told(app) == []
    assert "the loss on “<bdi>the corn</bdi>”" in texts_of(app)
    assert [p["text"] for p in component(app, "completion")["pieces"] if p.get("chosen")] == ["the", "corn"]
    opened = live.opened(answering)
    scores = opened.scores(opened.stored(position), Span((8, 9)))["pretrain"]
    ids = answering.examples("pretrain")["id"].to_numpy()
    helpful = ids[np.argsort(-scores, kind="stable")][: (scores > 0).sum()][:5]
    assert listed(component, app)[: len(helpful)] == [str(each) for each in helpful]
    assert "span=101-31-39" in component(app, "cards")["what_if"]
    app.button(key="clear_span").click().run()
    assert "span" not in app.query_params
    assert not any(piece.get("chosen") for piece in component(app, "completion")["pieces"])


@pytest.mark.parametrize(
    ("span", "says"),
    [
        ("101-0-5", "only of the prompt"),
        ("101-40-90", "ends at character 90 of a text of"),
        ("101-x-3", "is none of this text"),
        ("<b>", "is none of this text"),
        ("102-26-30", None),
    ],
)
def test_a_span_that_is_none_is_told_and_the_whole_explained(answering, open_app, span, says):
    app = open_app(answering.path.parent, query="101", span=span)
    assert not app.exception
    assert "the loss on this completion" in texts_of(app)
    assert "span" not in app.query_params
    found = [words.replace("\\", "") for words in told(app)]
    assert (not found) if says is None else (says in found[0])


def test_edits_are_judged_by_the_span(answering, open_app, component):
    app = open_app(answering.path.parent, page="item", what_if="true", query="101", span="101-31-39", example="103")
    assert not app.exception
    assert not app.info
    assert "the loss on “the corn” on prediction #101" in component(app, "alternatives")["about"]


def test_a_new_completion_is_asked_about_and_a_span_of_it(answering, open_app, component):
    url = {"prompt": "what does the cat do ?", "text": " it eats the corn"}
    app = open_app(answering.path.parent, page="try-it", **url)
    assert not app.exception
    assert [area.label for area in app.text_area] == ["Prompt", "Completion"]
    whole = component(app, "cards")["columns"][0]["cards"]
    name = spans.parse(f"{_name(url)}-23-25")[0]
    app = open_app(answering.path.parent, page="try-it", span=f"{name}-26-30", **url)
    assert "the loss on “<bdi>eats</bdi>”" in texts_of(app)
    assert component(app, "cards")["columns"][0]["cards"] != whole
    app = open_app(answering.path.parent, page="try-it", prompt="what", text=" ")
    assert not app.exception
    assert any("Write a completion" in caption.value for caption in app.caption)


def _name(url):
    text = url["prompt"] + url["text"]
    return completed.name(question.Question(None, text, completion=Input(None, text, prompt_end=len(url["prompt"]))))


def without_classes():
    return pd.DataFrame({"id": [1, 2, 3], "label": "", "loss": [0.5, np.nan, 2.0], "text": ["a b", "b", "c"]})


def test_lists_go_by_loss_where_there_is_no_class():
    table = without_classes()
    assert queries.shows(table) == ("All", "Largest loss", "Smallest loss")
    assert queries.opening(table) == 2
    assert queries.another(table, 2) == 0
    assert queries.positions_in_list(table, queries.LARGEST) == [2, 0, 1]
    assert queries.positions_in_list(table, queries.SMALLEST) == [0, 2, 1]
    assert queries.positions_in_list(table, queries.WRONG, ("a", "b"), "b") == [0, 1]
    assert confusion(table).empty
    assert queries.opening(table.assign(opening=[1, 0, 0])) == 0


def test_compare_explains_the_loss_alone(completions):
    run, _ = completions
    assert sides.target_of(sides.Choice(run, 0, "exact", sides.MARGIN)) is None
    assert not sides.can_be_asked(run)


HOSTILE = "<b>a</b> \u202e👩\u200d👧 tail"


def hostile():
    return Completion(HOSTILE, np.array([0, 9, 10]), np.array([8, 12, 12]), np.array([0.0, 1.0, 2.0]), 8)


def test_text_stays_text_and_bytes_of_one_letter_are_one_piece():
    found = hostile()
    parts = completion.pieces(found, found.span(9, 12))
    own = [piece for piece in parts if "start" in piece]
    assert [(piece["start"], piece["stop"], piece["said"], piece["chosen"]) for piece in own] == [
        (9, 12, "loss 3.0 nat", True)
    ]
    assert parts[-1]["kind"] == "unread"
    shown = completion.html(found, found.span(9, 12))
    assert "<b>" not in shown
    assert "&lt;b&gt;a&lt;/b&gt;" in shown
    assert "<mark>[U+202E]" in shown
    assert found.loss(found.span(9, 12)) == 3
    with pytest.raises(StudyError):
        found.span(0, 8)


@pytest.mark.parametrize("name", [7, -7, "9f3ac012"])
def test_a_span_in_the_link_names_its_query(name):
    text = spans.written(name, 9, 12)
    assert spans.parse(text) == (str(name), 9, 12)
    assert spans.chosen(hostile(), name, text).tokens == (1, 2)
    assert spans.chosen(hostile(), 8, text) is None
    assert spans.chosen(None, name, text) is None


@pytest.mark.parametrize("text", ["", "1", "1-2", "1-3-2", "1-2-2", "1--2-3", "1-a-b", "1-²-3", "1-1-9999999999"])
def test_what_is_no_span(text):
    found = spans.parse(text)
    assert found is None or found[0] == "1-"


def test_questions_name_what_is_explained():
    assert (
        explain.question(pd.Series({"text": "a b", "loss": 1.0}), None) == "What does the loss on this text come from?"
    )
    row = pd.Series({"text": "a b", "prompt_end": 1, "loss": 1.0})
    assert explain.question(row, Span((1,), "b")) == "What does the loss on “b” come from?"
    assert explain.question(pd.Series({"loss": 1.0}), None) == "What does the loss on this item come from?"
    assert "loss on “b”" in explain.rule(row, Span((1,), "b"), "pretraining")
    assert "loss on this completion" in explain.rule(row, None, "pretraining")
