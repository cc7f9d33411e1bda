"""Words struck of a run's texts, and texts and pictures that come in from a file: predicted, trained, kept, told."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_texts import sentences
from tokenizers import Tokenizer

from influence import edit_effect, edit_scores, edits, targets
from influence.errors import RunError, StudyError, TrainingError
from influence.live import Criterion, Live
from influence.live.alterations import ADD, RELABEL, STRIKE, Alteration, addition
from influence.live.edits import edits_of
from influence.live.tables import altered_tables
from influence.precompute.runs import precompute
from influence.run.reading import Run
from influence.studies.request import exhibits_for
from influence.studies.texts.tokenizing import tokenize
from influence.training.retraining import Retrainer
from influence.validation.bench import bench_of
from influence.validation.preview import NAME, row_of, what_if
from influence.validation.preview import sentences as sentences_of
from influence.validation.slices import Slice


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Of three files; in the first the text's column is called otherwise."""
    folder = tmp_path_factory.mktemp("texts")
    files = [folder / f"{name}.csv" for name in ("old", "new", "test")]
    for seed, (file, count) in enumerate(zip(files, (30, 16, 5), strict=True)):
        texts, topics = sentences(count, seed)
        pd.DataFrame({"body": texts, "topic": topics}).to_csv(file, index=False)
    options = {"vocabulary": 30, "context": 5, "epochs": 2, "finetuning": "frozen"}
    options |= {"text_column": "body", "label_column": "topic"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        (exhibit,) = exhibits_for(None, None, files, 0, options, {"method": "identity"})
        return precompute([exhibit], ["texts"], folder / "runs", progress=False)[0].path


@pytest.fixture
def run(finished, tmp_path):
    return Run.open(shutil.copytree(finished, tmp_path / "texts"))


def texts_with(run: Run, stage: str, word: str) -> list[tuple[int, str]]:
    table = run.examples(stage)
    return [(int(name), text) for name, text in zip(table["id"], table["text"], strict=True) if word in text.split()]


def written(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_struck_text_is_what_the_study_makes_of_the_new_text(run, stage):
    (name, text), bench = texts_with(run, stage, "a")[-1], bench_of(run, stage)
    noun = text.split()[1]
    asked = [Alteration(STRIKE, stage, name, "A"), Alteration(STRIKE, stage, name, noun)]
    (made,) = edits_of(run, bench.exhibit, asked)
    row = run.examples(stage)["id"].tolist().index(name)
    assert made.rows == (row,)
    (ids, label) = made.examples[0]
    tokenizer = Tokenizer.from_str(bench.exhibit.tokenizer)
    expected = tokenize(tokenizer, [" ".join(text.split()[2:])], 5, "it").ids[0]
    assert torch.equal(ids, expected)
    assert label == bench.study.stages[bench.study.position(stage)].data[row][1]


def test_texts_that_come_in_are_what_the_study_makes_of_them(run, tmp_path):
    file = written(tmp_path / "more.csv", body=["a hen runs", "a saw"], topic=["pet", "tool"])
    exhibit = bench_of(run, "finetune").exhibit
    (made,) = edits_of(run, exhibit, [addition("finetune", file)])
    expected = tokenize(Tokenizer.from_str(exhibit.tokenizer), ["a hen runs", "a saw"], 5, "it").ids
    assert [label for _, label in made.examples] == [0, 1]
    assert all(torch.equal(ids, other) for (ids, _), other in zip(made.examples, expected, strict=True))


def test_each_text_of_a_file_is_worth_what_adding_it_does(run, tmp_path):
    """One by its place, or all of the file one by one."""
    file = written(tmp_path / "more.csv", body=["a hen runs", "a saw", "a cat eats"], topic=["pet", "tool", "pet"])
    live, criterion, path = Live(run), Criterion((0, 1)), addition("finetune", file).value
    exhibit, asked = live.exhibit, [Alteration(ADD, "finetune", place, path) for place in (2, 0)]
    made = edits_of(run, exhibit, asked)
    whole = edits_of(run, exhibit, [addition("finetune", file)])[0].examples
    for edit, place in zip(made, (2, 0), strict=True):
        ((ids, label),) = edit.examples
        assert torch.equal(ids, whole[place][0])
        assert label == whole[place][1]
    each = [edits.add("finetune", [example]) for example in whole]
    settings = {"method": exhibit.method, "damping": exhibit.damping, "progress": False}
    expected = edit_scores(exhibit.study, each, targets=[targets.mean([0, 1])], **settings).values[0]
    found = live.what_if.additions(criterion, "finetune", file)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(live.what_if.alone(criterion, asked), expected[[2, 0]], rtol=1e-4, atol=1e-7)
    assert altered_tables(run, asked)["finetune"]["text"].tolist()[-2:] == ["a cat eats", "a hen runs"]
    with pytest.raises(RunError, match="no example in .* at place 3 to add to stage 'finetune'"):
        edits_of(run, exhibit, [Alteration(ADD, "finetune", 3, path)])


def test_it_is_what_the_study_gives_and_training_again(run):
    name, _ = texts_with(run, "pretrain", "a")[0]
    asked = [Alteration(STRIKE, "pretrain", name, "a")]
    found, _ = what_if(run, asked, really=True, progress=False)
    row, bench = row_of(found.validation(NAME), asked, "solution"), bench_of(run, "pretrain")
    made = edits_of(run, bench.exhibit, asked)
    expected = edit_effect(bench.study, made, method="identity", steps=0, progress=False)
    np.testing.assert_allclose(row["together"], expected.total, rtol=1e-4, atol=1e-6)
    retrainer = Retrainer(bench.study, recipes=bench.retrainer.recipes)
    measured = retrainer.retrain(edits=made).losses - retrainer.retrain().losses
    np.testing.assert_allclose(row["measured"], measured, atol=1e-5)
    assert np.abs(measured).max() < 0.1  # one word of thirty texts, in the same batches
    assert "training it again is noisy" in "\n".join(sentences_of(found, asked, "solution", Slice(found, "loss")))
    assert json.loads(row["edits"]) == [["pretrain", name, "strike", "a"]]


def test_what_comes_in_is_predicted_though_mini_batches_cannot_be_trained_with_it(run, tmp_path):
    file = written(tmp_path / "more.csv", body=["a hen runs", "a saw"])
    found, _ = what_if(run, [addition("pretrain", file)], progress=False)
    row = row_of(found.validation(NAME), [addition("pretrain", file)], "solution")
    bench = bench_of(run, "pretrain")
    made = edits.add("pretrain", [bench.exhibit.encode(text).item for text in ("a hen runs", "a saw")])
    expected = edit_effect(bench.study, made, method="identity", steps=0, progress=False)
    np.testing.assert_allclose(row["together"], expected.total, rtol=1e-4, atol=1e-6)
    with pytest.raises(TrainingError, match=r"mini-batches.*predicted all the same"):
        what_if(found, [addition("pretrain", file)], really=True, progress=False)
    written(file, body=["a dog runs"])
    assert row_of(found.validation(NAME), [addition("pretrain", file)], "solution") is None


def test_the_edited_examples_are_told(run, tmp_path):
    file = written(tmp_path / "more.csv", body=["a hen runs", "a saw"], topic=["pet", "tool"])
    (name, text), *_, (other, _) = texts_with(run, "finetune", "a")
    asked = [Alteration(STRIKE, "finetune", name, "a"), Alteration(RELABEL, "finetune", other, "pet")]
    tables = altered_tables(run, [*asked, addition("finetune", file)])
    left, changes = (tables[each].set_index("id") for each in ("finetune", "finetune-changes"))
    assert left.loc[name, "text"] == text.removeprefix("a ")
    assert left.loc[[16, 17], "text"].tolist() == ["a hen runs", "a saw"]
    assert left.loc[[16, 17], "label"].tolist() == ["pet", "tool"]
    assert changes.loc[[name, other, 16, 17], "change"].tolist() == ["strike 'a'", "relabel as 'pet'", ADD, ADD]


def test_what_cannot_be_struck_or_come_in_is_named(run, tmp_path):
    exhibit, (name, _) = bench_of(run, "finetune").exhibit, texts_with(run, "finetune", "a")[0]
    for asked, error, message in (
        ([Alteration(STRIKE, "finetune", name, "gnu")], StudyError, "word 'gnu' stands nowhere in the text"),
        ([Alteration(STRIKE, "finetune", 99, "a")], RunError, "no example with id 99"),
        ([Alteration(STRIKE, "finetune", name, "a")] * 2, RunError, "altered twice"),
        ([Alteration(k, "finetune", name, "pet") for k in (STRIKE, RELABEL)], RunError, "altered twice"),
        (
            [addition("finetune", written(tmp_path / "a.csv", text=["x"]))],
            StudyError,
            "no column 'body'; it has 'text'",
        ),
        (
            [addition("finetune", written(tmp_path / "b.csv", body=["x"]))],
            StudyError,
            "no column 'topic'; it has 'body'",
        ),
        (
            [addition("finetune", written(tmp_path / "c.csv", body=["x"], topic=["gnu"]))],
            StudyError,
            "the class 'gnu' is none of",
        ),
        ([addition("finetune", written(tmp_path / "d.csv", body=[" "], topic=["pet"]))], StudyError, "too few texts"),
        ([addition("finetune", tmp_path / "d.csv")] * 2, RunError, "altered twice"),
    ):
        with pytest.raises(error, match=message):
            edits_of(run, exhibit, asked)
    with pytest.raises(StudyError, match="cannot be read"):
        addition("finetune", tmp_path / "nowhere.csv")


def test_by_the_command_line(upstream, run, tmp_path):
    name, _ = texts_with(run, "pretrain", "a")[0]
    file = written(tmp_path / "more.csv", body=["a hen runs"])
    code, out, _ = upstream(
        "what-if", run.path, "--strike", f"{name}=a", "--add", file, "--export", tmp_path / "out", "--quiet"
    )
    assert code == 0
    assert "With these 2 edits the mean loss of all queries is predicted to change by" in out
    assert len(pd.read_parquet(tmp_path / "out" / "pretrain.parquet")) == 31
    again = upstream("what-if", "--quiet", "--strike", f"{name}=a", "--add", f"pretrain:{file}", run.path)
    assert again[:2] == (0, out.partition(" Written")[0]), "a run is no file to add"
    for odd, message in {
        ("--strike", f"{name}=gnu"): "stands nowhere",
        ("--strike", "12"): "--strike is '12', expected ID=WORD",
        ("--add", tmp_path / "nowhere.csv"): "cannot be read",
        ("--add", file, "--really"): "mini-batches",
    }.items():
        code, _, errors = upstream("what-if", run.path, *odd, "--quiet")
        assert code == 2
        assert message in errors
