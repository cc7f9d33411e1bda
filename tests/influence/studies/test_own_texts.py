"""One's own three files of texts: columns, labels, samples, and files that do not fit together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from influence.errors import StudyError
from influence.live import Live
from influence.precompute.runs import precompute
from influence.studies.own_texts import from_files
from influence.studies.request import exhibits_for
from influence.studies.text_files import columns as text_files
from influence.studies.text_files.columns import Columns, corpora
from influence.studies.texts import TextOptions

TOPICS = ["sea", "wood", "sea", "wood"]


def saved(path: Path, columns: dict) -> Path:
    table = pd.DataFrame(columns)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".jsonl":
        records = table.astype(object).to_dict("records")
        path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.fixture
def files(tmp_path):
    """Three good files: to pretrain on without labels."""
    (tmp_path / "old.txt").write_text("fish swim\ntrees stand\nwaves break\n", encoding="utf-8")
    saved(tmp_path / "new.csv", {"text": ["a fish", "an oak", "a wave", "a leaf"], "label": TOPICS})
    saved(tmp_path / "test.jsonl", {"text": ["some fish", "some oak"], "label": TOPICS[:2]})
    return [tmp_path / name for name in ("old.txt", "new.csv", "test.jsonl")]


def test_three_files_of_different_formats(files):
    parts, notes = corpora(files)
    assert notes == []
    assert list(parts["pretrain"].texts) == ["fish swim", "trees stand", "waves break"]
    assert (list(parts["pretrain"].labels), list(parts["finetune"].labels)) == ([], TOPICS)
    assert list(parts["queries"].texts) == ["some fish", "some oak"]
    assert [list(part.ids) for part in parts.values()] == [[0, 1, 2], [0, 1, 2, 3], [0, 1]]
    assert not parts["queries"].titles


def test_named_columns_titles_and_sources(tmp_path, files):
    columns = {"body": ["x y", "z"], "topic": ["sea", "wood"], "head": ["X", None], "from": [7, 8]}
    old = saved(tmp_path / "a.parquet", columns)
    new, test = (saved(tmp_path / name, columns) for name in ("b.tsv", "c.jsonl"))
    parts, _ = corpora([old, new, test], Columns("body", "topic", "head", "from"))
    for part in parts.values():
        assert list(part.texts) == ["x y", "z"]
        assert list(part.labels) == ["sea", "wood"]
        assert list(part.titles) == ["X", ""]
        assert list(part.sources) == ["7", "8"]
    with pytest.raises(
        StudyError, match=r"a.parquet has no column 'text'; it has 'body', 'topic', .*--text-column NAME"
    ):
        corpora([old, new, test])
    with pytest.raises(
        StudyError, match=r"b.tsv has no column 'label'; it has .* holds the labels with --label-column"
    ):
        corpora([old, new, test], Columns("body"))
    with pytest.raises(StudyError, match=r"--title-column: no file has a column 'caption'; .*b.tsv has 'body'"):
        corpora([old, new, test], Columns("body", "topic", "caption"))


def test_titles_may_be_in_one_file_only(tmp_path, files):
    saved(files[1], {"text": ["a", "b"], "label": ["sea", "wood"], "name": ["A", "B"]})
    parts, _ = corpora(files, Columns(title="name"))
    assert [list(part.titles) for part in parts.values()] == [[], ["A", "B"], []]


def test_one_class_whatever_the_format_made_of_its_number(tmp_path, files):
    whole = saved(tmp_path / "a.parquet", {"text": ["a", "b"], "label": [1.0, 2.0]})
    other = saved(tmp_path / "b.jsonl", {"text": ["a", "b"], "label": [1, "2"]})
    parts, _ = corpora([files[0], whole, other])
    assert list(parts["finetune"].labels) == list(parts["queries"].labels) == ["1", "2"]


def test_empty_texts_are_left_out_and_counted(tmp_path, files):
    files[0].write_text("a\n\n \t\nb\n\n")
    files[2] = saved(tmp_path / "t.parquet", {"text": [None, "c", ""], "label": [None, "sea", None]})
    parts, notes = corpora(files)
    assert list(parts["pretrain"].ids) == [0, 3]
    assert list(parts["queries"].ids) == [1]
    assert len(notes) == 2
    assert notes[0] == "Empty texts left out of old.txt: 3, the first at line 2."
    assert notes[1] == "Empty texts left out of t.parquet: 2, the first at row 0."


def test_pretraining_labels_may_be_missing_here_and_there(tmp_path, files):
    files[0] = saved(tmp_path / "old.csv", {"text": ["a", "b", "c"], "label": ["sea", None, "nan"]})
    assert list(corpora(files)[0]["pretrain"].labels) == ["sea", "", ""]


# The sample


def test_a_sample_is_the_seeds_and_can_be_found_again(tmp_path, files):
    lines = [f"number {i}" for i in range(500)]
    files[0].write_text("\n".join(lines))
    first, again, other = (corpora(files, sample=40, seed=seed) for seed in (5, 5, 6))
    part = first[0]["pretrain"]
    assert len(part) == 40
    assert list(part.ids) == sorted(part.ids)
    assert [lines[i] for i in part.ids] == list(part.texts)
    assert first == again
    assert part.ids != other[0]["pretrain"].ids
    assert len(first[0]["finetune"]) == 4
    assert first[1] == ["40 of the 500 texts of old.txt were taken, drawn by the seed."]


@pytest.mark.parametrize("limit", ["MAX_TEXTS", "MAX_CHARACTERS"])
def test_what_is_large_is_not_taken_whole_unasked(files, monkeypatch, limit):
    monkeypatch.setattr(text_files, limit, {"MAX_TEXTS": 50, "MAX_CHARACTERS": 400}[limit])
    files[0].write_text("\n".join(["some text"] * 300))
    with pytest.raises(StudyError, match=r"old.txt holds 300 texts, 2,700 characters together; .*--sample 20000 draws"):
        corpora(files)
    assert len(corpora(files, sample=30)[0]["pretrain"]) == 30


# What does not fit


@pytest.mark.parametrize(
    ("which", "columns", "words"),
    [
        (1, {"text": ["a", "b"], "label": ["x", None]}, r"b.csv, line 3: 'label' is '', expected a class"),
        (1, {"text": ["a", "b"], "label": ["x", "NaN"]}, r"b.csv, line 3: 'label' is 'NaN', expected a class"),
        (1, {"text": ["a", "b"], "label": ["x", "x"]}, r"'label' has the classes 'x', that is 1; .*--label-column"),
        (1, {"text": ["a"], "label": ["x"]}, r"b.csv holds too few texts: 1; expected at least 2"),
        (1, {"text": [" ", "\n"], "label": ["x", "y"]}, r"too few texts: 0, beside 2 empty ones; expected at least 2"),
        (1, {"text": [], "label": []}, r"b.csv holds too few texts: 0; expected at least 2"),
        (1, {"text": [f"t{i}" for i in range(1001)], "label": range(1001)}, r"that is 1,001; .* takes 2 to 1,000"),
        (1, {"body": ["a"], "label": ["x"]}, r"b.csv has no column 'text'; it has 'body', 'label'"),
        (0, {"text": ["a"]}, r"b.csv holds too few texts: 1; expected at least 2"),
        (2, {"text": ["a", "b"]}, r"b.csv has no column 'label'; it has 'text'"),
        (2, {"text": ["a\nb", "c"], "label": ["sea", "ice"]},
         r"b.csv, line 4: the class 'ice' is none of those .*: 'sea', 'wood'. It can only be asked about these.$"),
        (2, {"text": [], "label": []}, r"b.csv holds too few texts: 0; expected at least 1"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(tmp_path, files, which, columns, words):
    files[which] = saved(tmp_path / "b.csv", columns)
    with pytest.raises(StudyError, match=words):
        corpora(files)


@pytest.mark.parametrize("value", [float("nan"), None])
def test_labels_that_are_none_in_parquet_and_json(tmp_path, files, value):
    labels = ["sea", "wood", value]
    files[1] = saved(tmp_path / "b.parquet", {"text": list("abc"), "label": labels})
    with pytest.raises(StudyError, match=r"b.parquet, row 2: 'label' is '(None|nan)', expected a class"):
        corpora(files)
    files[1] = saved(tmp_path / "b.jsonl", {"text": list("abc"), "label": pd.Series(labels, dtype=object)})
    with pytest.raises(StudyError, match=r"b.jsonl, line 3: 'label' is '(None|nan)', expected a class"):
        corpora(files)


def test_labels_that_are_no_text(tmp_path, files):
    files[1].with_name("b.jsonl").write_text('{"text": "a", "label": ["x"]}')
    with pytest.raises(StudyError, match=r"line 1: .* is a list, expected a text"):
        corpora([files[0], files[1].with_name("b.jsonl"), files[2]])


def test_plain_lines_are_for_pretraining(files):
    with pytest.raises(StudyError, match=r"old.txt is plain lines, which have no labels; .* give a .csv"):
        corpora([files[1], files[0], files[2]])


def test_two_columns_of_one_name(files):
    files[1].write_text("text,label,text\na,x,b\n")
    with pytest.raises(StudyError, match=r"new.csv has 2 columns 'text'; give each its own name"):
        corpora(files)


def test_a_class_that_the_sample_did_not_draw(tmp_path, files):
    files[1] = saved(tmp_path / "b.csv", {"text": list("abcd"), "label": ["sea", "wood", "ice", "air"]})
    files[2] = saved(tmp_path / "c.csv", {"text": list("abcd"), "label": ["sea", "wood", "ice", "air"]})
    with pytest.raises(StudyError, match=r"is none of those .* A larger --sample may draw it."):
        corpora(files, sample=3)


def test_a_wrong_file_is_named_before_the_large_one_is_read(files, monkeypatch):
    monkeypatch.setattr(text_files._Source, "corpus", lambda *_: pytest.fail("was read"))
    with pytest.raises(StudyError, match="nowhere.csv does not exist"):
        corpora([*files[:2], files[0].with_name("nowhere.csv")])


# A sentence model of the user's own


class Counting:
    """Stands in for the library: a text is its numbers of letters and of spaces."""

    def __init__(self, folder, **options):
        if not (Path(folder) / "config.json").is_file():
            raise OSError("no config.json")
        assert options["local_files_only"]
        assert options["model_kwargs"] == {"use_safetensors": True}

    def encode(self, texts, **_):
        return np.array([[len(text), text.count(" "), 1] for text in texts])


@pytest.fixture
def own_model(tmp_path, monkeypatch):
    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = Counting
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def test_a_sentence_model_makes_the_embedding(files, own_model, tmp_path):
    options = {"vocabulary": 30, "epochs": 1, "finetuning": "frozen", "sentence_model": own_model}
    (exhibit,) = exhibits_for(None, None, files, 0, options, {})
    assert exhibit.all_settings["sentence_model"] == str(own_model)
    (run,) = precompute([exhibit], ["t"], tmp_path / "runs", progress=False)
    vectors, others = (np.asarray(array[:]) for array in run.embedding())
    for table, found in ((run.examples("pretrain"), vectors), (run.queries(), others)):
        np.testing.assert_array_equal(found, Counting(own_model, **KWARGS).encode(table["text"]))
    assert run.manifest.map.of == "a sentence model's embedding"
    live = Live(run)
    assert live.predict(live.stored(0)).embedding.shape == (0,)


KWARGS = {"local_files_only": True, "model_kwargs": {"use_safetensors": True}}


def test_a_sentence_model_that_cannot_be_used_is_told_before_training(files, own_model, tmp_path, monkeypatch):
    def computed(folder):
        options = TextOptions(vocabulary=30, context=8, width=8, layers=1, epochs=1, sentence_model=folder)
        precompute([from_files("topics", files, options).exhibit("frozen")], ["t"], tmp_path / "runs", progress=False)

    monkeypatch.setattr("influence.precompute.steps.fit", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(StudyError, match="nowhere is no folder"):
        computed(tmp_path / "nowhere")
    (own_model / "config.json").unlink()
    with pytest.raises(StudyError, match="cannot be read: no config.json"):
        computed(own_model)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(StudyError, match="pip install sentence-transformers"):
        computed(own_model)
