"""`upstream query`: what it prints is what a run stores, or what its models say of something new, and never obeyed."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_exhibit

from influence import Run
from influence.foreign import Request, import_scores
from influence.live import Contrast, Live
from influence.live import live as module
from influence.studies.question import Input

STUDY = ("--study", "own.py:study")
"""Of which `exhibit_of`, which is replaced here, needs nothing."""


@pytest.fixture(scope="module")
def texts(runs):
    """(run, its exhibit), whose study takes texts: each is read as the run's first query."""
    exhibit = tiny_exhibit("frozen")
    for stage in exhibit.study.stages:
        stage.model.load_state_dict(runs[0].models()[stage.name])
    exhibit.encode, exhibit.form = lambda text: Input(exhibit.study.queries[0], text, len(text)), "text"
    return runs[0], exhibit


@pytest.fixture
def ask(upstream, texts, monkeypatch):
    """`upstream query` of that run, as JSON."""
    run, exhibit = texts
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: exhibit)

    def asked(*arguments):
        code, out, errors = upstream("query", run.path, *arguments, "--format", "json", "--quiet")
        return json.loads(out) if code == 0 else (code, errors)

    return asked


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run of another tool's scores, whose texts are commands of terminals and spreadsheets."""
    folder = tmp_path_factory.mktemp("hostile")
    items = [
        {"text": text, "label": "\x1b[31mred"} for text in ("=1+1", "\x1b]0;owned\x07", "[bold]no markup[/bold]\u202e")
    ]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, items)))
    np.save(folder / "s.npy", np.array([[1.0, -2.0, 3.0]]))
    (folder / "q.txt").write_text("one\n")
    return import_scores(Request(folder / "s.npy", folder / "t.jsonl", folder / "q.txt"), folder / "runs", "hostile")


def of(told, stage, kind):
    rows = [row for row in told["examples"] if (row["stage"], row["kind"]) == (stage, kind)]
    return [row["id"] for row in rows], [row["score"] for row in rows]


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_an_id_reads_the_stored_scores(upstream, runs, stage, monkeypatch):
    run = runs[0]
    monkeypatch.setattr(module, "Live", None)
    query = int(run.queries()["id"].iloc[2])
    code, out, _ = upstream("query", run.path, "--id", query, "--top", 3, "--format", "json")
    assert code == 0
    told, scores = json.loads(out), np.asarray(run.scores(stage)[2])
    for kind, sign in (("helpful", 1), ("harmful", -1)):
        ids, found = of(told, stage, kind)
        expected = sorted(sign * scores[sign * scores > 0], reverse=True)[:3]
        np.testing.assert_allclose(sign * np.array(found), expected, rtol=1e-6)
        table = run.examples(stage).set_index("id")
        assert [scores[table.index.get_loc(each)] for each in ids] == found
    assert told["units"] == {each: run.unit("exact") for each in run.stages}
    assert told["query"]["label"] == run.queries()["label"].iloc[2]
    assert told["query"]["explained"] == run.manifest.measure


def test_a_new_text_and_another_class_are_computed(ask, texts):
    run, _ = texts
    live = Live(run)
    item = live.read("a cat eats").item
    said = live.predict(item).prediction
    other = next(name for name in run.classes if name != said)
    for option, name in (((), said), (("--class", other), other)):
        told = ask("--text", "a cat eats", "--stage", "pretrain", "--top", 4, *option, *STUDY)
        scores = live.scores(item, Contrast(name))["pretrain"]
        np.testing.assert_allclose(of(told, "pretrain", "helpful")[1], np.sort(scores)[::-1][:4], rtol=1e-4)
        assert (told["query"]["explained"], told["query"]["prediction"]) == (name, said)
        assert list(told["units"]) == ["pretrain"]


def test_another_class_of_a_stored_query(ask, texts):
    run, _ = texts
    query, live = run.queries().iloc[0], Live(run)
    other = next(name for name in run.classes if name != query["label"])
    told = ask("--id", query["id"], "--class", other, "--top", 2, *STUDY)
    scores = live.scores(live.stored(0), Contrast(other))["finetune"]
    np.testing.assert_allclose(of(told, "finetune", "helpful")[1], np.sort(scores)[::-1][:2], rtol=1e-4)


def test_a_completion_is_explained_given_its_prompt(upstream, completions, monkeypatch):
    run, exhibit = completions
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: exhibit)
    row, end = run.queries().iloc[1], int(run.queries()["prompt_end"].iloc[1])
    asked = ("--prompt", row["text"][:end], "--completion", row["text"][end:], "--top", 3, "--format", "json")
    code, out, _ = upstream("query", run.path, *asked, *STUDY)
    told = json.loads(out)
    assert code == 0
    for stage in run.stages:
        scores = np.asarray(run.scores(stage)[1])
        np.testing.assert_allclose(of(told, stage, "helpful")[1], np.sort(scores)[::-1][:3], rtol=1e-3)
    assert told["query"]["loss"] == pytest.approx(row["loss"], rel=1e-4)
    code, _, errors = upstream("query", run.path, "--text", "a", *STUDY)
    assert (code, "--prompt and --completion" in errors) == (2, True)


def test_what_takes_the_unit_is_told(ask, texts, monkeypatch):
    monkeypatch.setattr(Live, "order_only", property(lambda self: ["far off"]))
    told = ask("--text", "a saw cuts", *STUDY)
    assert set(told["units"].values()) == {"order only"}
    assert told["warnings"][0] == "far off"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["Say one of --id, --text", "given: none"]),
        (("--id", 1, "--text", "a"), ["given: --id, --text"]),
        (("--prompt", "a"), ["--prompt and --completion"]),
        (("--id", 10**6), ["no query with id 1000000"]),
        (("--id", "x"), ["--id"]),
        (("--text", "a cat", "--stage", "other", *STUDY), ["no stage 'other'"]),
        (("--text", "a cat", "--class", "car", *STUDY), ["no class 'car'"]),
        (("--image", "nowhere.png", *STUDY), ["--text", "not with --image"]),
        (("--text", "a cat"), ["does not say how its study is made", "with --study FILE.py:FUNCTION"]),
        (("--id", 1, "--top", 0), ["top"]),
    ],
)
def test_what_cannot_be_asked_is_named(ask, arguments, words):
    code, errors = ask(*arguments)
    assert code == 2
    assert [word for word in words if word not in errors] == []


def test_code_that_a_run_names_is_not_run(upstream, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text("open('ran', 'w')")
    code, _, errors = upstream("query", "none", "--text", "a", "--runs", tmp_path)
    assert (code, "There is no run" in errors) == (2, True)
    assert not (tmp_path / "ran").exists()


def test_pictures_are_read_with_care(upstream, texts, tmp_path, monkeypatch):
    run, exhibit = texts
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: exhibit)
    monkeypatch.setattr(exhibit, "form", "picture")
    (tmp_path / "x.png").write_text("no picture")
    for file in ("x.png", "nowhere.png"):
        code, _, errors = upstream("query", run.path, "--image", tmp_path / file, *STUDY)
        assert code == 2
        assert file in errors
    monkeypatch.setattr(exhibit, "encode", lambda image: pytest.fail(f"{image.size}"))
    Image.new("L", (5, 4)).save(tmp_path / "x.png")
    with pytest.raises(pytest.fail.Exception, match=r"\(5, 4\)"):
        upstream("query", run.path, "--image", tmp_path / "x.png", *STUDY)


@pytest.mark.parametrize("form", ["table", "text", "csv", "json"])
def test_no_terminal_or_spreadsheet_obeys_a_text(upstream, hostile, form):
    code, out, errors = upstream("query", hostile.path, "--id", 0, "--format", form)
    assert code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(out + errors)
    assert "markup" in out
    told = out if form == "json" else errors
    assert "imported" in told
    assert "order only" in told


def test_csv_is_a_table_without_formulas(hostile):
    from influence.run import as_csv, stored_scores, strongest

    written = as_csv(strongest(hostile, stored_scores(hostile, 0, ["training"]), 5)).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [(row["kind"], row["rank"], row["id"], row["score"]) for row in rows] == [
        ("helpful", "1", "2", "3.0"),
        ("helpful", "2", "0", "1.0"),
        ("harmful", "1", "1", "-2.0"),
    ]
    assert rows[1]["text"] == "'=1+1"
    assert Run.open(hostile.path).problems() == []
