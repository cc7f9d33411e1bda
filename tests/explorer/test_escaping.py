"""Each text from a run is escaped for the place where it goes, exactly once: HTML, markdown, a component, a label."""

from __future__ import annotations

import json
import re

import pytest
from google.protobuf.json_format import MessageToDict

from explorer.export import notes
from influence.run.files import manifest_checksum
from influence.run.reading import Run

HOSTILE = "<b>*x*</b> & _y_ `z` $q$ \u202er\x1b"
STAGE = "a__b_"
"""Of a form that CONTRACT.md allows, and markdown would set in italics."""
PAGES = ("", "item", "suspects", "compare", "trust", "notes", "learn", "try-it")
MARKDOWN = re.compile(r"\\[<*_`$&>]")
HTML = re.compile(r"&(amp;)?(lt|gt|quot|#x27);")


def renamed(run: Run, old: str = "pretrain", new: str = STAGE) -> Run:
    """The run with another name for a stage."""
    for path in sorted(run.path.rglob(f"{old}*"), reverse=True):
        path.rename(path.with_name(path.name.replace(old, new)))
    text = (run.path / "run.json").read_text().replace(old, new)
    told = json.loads(text)
    for field in ("title", "summary", "measure", "variant", "study"):
        told[field] = HOSTILE
    told |= {"warnings": [HOSTILE], "notes": [HOSTILE], "versions": {HOSTILE: HOSTILE}, "timings": {HOSTILE: 1.0}}
    told["stages"][0]["parameters"]["new"] = [HOSTILE]
    told["checksum"] = manifest_checksum(told)
    (run.path / "run.json").write_text(json.dumps(told))
    return Run.open(run.path)


@pytest.fixture(params=[False, True], ids=["pictures", "texts"])
def root(request, small, tmp_path):
    run = renamed(small.write_run(tmp_path, "odd", text=request.param, hostile=HOSTILE))
    table, written = run.examples(STAGE), run.path.with_name("odd.notes.jsonl")
    said = {"table": STAGE, "id": int(table["id"].iloc[0]), "tags": [], "text": HOSTILE, "time": HOSTILE}
    written.write_text("".join(json.dumps(line) + "\n" for line in (said, said | {"id": 5, "text": "half \ud83d"})))
    read = notes.read(run)  # half a letter is no text, so its line is told as damaged
    assert (len(read.latest), read.damaged) == (1, (2,))
    return tmp_path


def strings(value):
    """Every text of a nested value that is shown: keys are not, and a `group` is what a press sends back."""
    if isinstance(value, dict):
        value = [each for name, each in value.items() if name != "group"]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []


WIDGETS = ("button", "selectbox", "multiselect", "download_button", "popover", "expander", "text_input")


def texts_by_place(app):
    """Where a text stands -> the texts that the app sent there; a widget's options are plain text."""
    markdown = [
        text
        for kind in ("markdown", "caption", "info", "warning", "error")
        for element in app.get(kind)
        for text in (element.value, getattr(element.proto, "help", ""))
    ]
    widgets = [MessageToDict(element.proto) for kind in WIDGETS for element in app.get(kind)]
    sent = [json.loads(element.proto.json or "null") for element in app.get("bidi_component")]
    cells = [frame.value.astype(object).to_numpy().tolist() for frame in app.dataframe]
    return {
        "html": [element.proto.body for element in app.get("html")],
        "markdown": [
            *markdown,
            *(told.get(name, "") for told in widgets for name in ("label", "help")),
            *(option.content for element in app.get("button_group") for option in element.proto.options),
        ],
        "plain": strings([sent, cells, [told.get("options", []) for told in widgets]])
        + [element.proto.alt for element in app.get("plotly_chart")],
    }


def opened(open_app, root, page):
    """The app with an example ringed, a class chosen, and everything unfolded that shows more of the run."""
    clicked = {"example": "1", "group": HOSTILE, "branch": HOSTILE, "of": "nothing"}
    chosen = {"lesson": "2"} if page == "learn" else clicked
    app = open_app(root, page=page, **chosen)
    for folded in ("tables", "compare_tables", "identity"):
        app.session_state[folded] = True
    app.query_params["of"] = "nothing"
    return app.run()


@pytest.mark.parametrize("page", PAGES)
def test_every_text_is_escaped_for_its_place_once(open_app, root, page):
    app = opened(open_app, root, page)
    assert not app.exception
    found = texts_by_place(app)
    for place, texts in found.items():
        for text in texts:
            assert not {"\x1b", "\u202e"} & set(text), (place, text)
    for text in found["html"]:
        body = re.sub(r"<style>.*?</style>", "", text, flags=re.S)
        assert not MARKDOWN.search(body), body
        assert not re.search("&amp;(lt|gt|quot|amp);", body), body
        assert "<b>*" not in body, body
        assert "%5C" not in body, body
    for text in found["markdown"]:
        assert not re.search(r"(?<!\\)<b|(?<!\\)\*x|&lt;|\\\\", text), text
    for text in found["plain"]:
        assert not MARKDOWN.search(text), text
        assert not HTML.search(text), text
        assert "%5C" not in text, text


def test_what_is_folded_away_is_looked_at_too(open_app, root):
    app = opened(open_app, root, "")
    assert len(app.dataframe) >= 8, "the tables behind the page, and those of the run's card"
    shown = [element.proto.body for element in app.get("html")]
    assert any("&lt;b&gt;*x*" in body for body in shown)
