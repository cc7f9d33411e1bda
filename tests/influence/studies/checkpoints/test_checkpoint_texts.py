"""Two checkpoints and three files, by the command, as a run and as what answers new questions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch

from influence import Run
from influence.derivatives.objective import objectives_of
from influence.errors import StudyError
from influence.studies.checkpoints.options import CheckpointOptions
from influence.studies.checkpoints.texts.study import CheckpointTexts
from influence.studies.from_run import exhibit_of
from influence.studies.text_files.columns import Columns

TOPICS = {"num_labels": 2, "id2label": {0: "pet", 1: "tool"}, "label2id": {"pet": 0, "tool": 1}}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Checkpoints `gpt2`, `topics` (frozen but for its head), `lora`, `bert`, `bert-topics`, and files of texts."""
    peft = pytest.importorskip("peft")
    there = tmp_path_factory.mktemp("checkpoints")
    of_bytes, words = tiny.bytes_tokenizer(), tiny.words_tokenizer()
    base = tiny.gpt2("GPT2LMHeadModel", of_bytes)
    tiny.saved(there / "gpt2", base, of_bytes)
    classifier = tiny.gpt2("GPT2ForSequenceClassification", of_bytes, seed=1, **TOPICS)
    classifier.transformer.load_state_dict(base.transformer.state_dict())
    tiny.saved(there / "topics", classifier, of_bytes)
    adapted = peft.get_peft_model(
        base, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True, r=2)
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(there / "lora")
    masked = tiny.bert("BertForMaskedLM", words)
    tiny.saved(there / "bert", masked, words)
    tuned = tiny.bert("BertForSequenceClassification", words, seed=1, **TOPICS)
    tuned.bert.load_state_dict(masked.bert.state_dict(), strict=False)
    with torch.no_grad():
        tuned.bert.encoder.layer[0].output.dense.weight += 0.003
    tiny.saved(there / "bert-topics", tuned, words)
    for name, count, seed in (("pre", 24, 1), ("fin", 12, 2), ("test", 5, 3)):
        rows = tiny.sentences(count, seed)
        (there / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{topic}\n" for text, topic in rows))
        parts = [{"prompt": text[:5], "text": text[5:]} for text, _ in rows]
        (there / f"{name}.jsonl").write_text("\n".join(map(json.dumps, parts)))
    return there


def study(folder, pretrained, finetuned, suffix="csv", **options):
    files = [folder / f"{name}.{suffix}" for name in ("pre", "fin", "test")]
    return CheckpointTexts((folder / pretrained, folder / finetuned), files, CheckpointOptions(**options))


@pytest.fixture(scope="session")
def run(folder, tmp_path_factory):
    """The command's run of a frozen GPT-2 with a new head."""
    from influence import cli

    runs = tmp_path_factory.mktemp("runs")
    files = [str(folder / f"{name}.csv") for name in ("pre", "fin", "test")]
    given = ["--models", str(folder / "gpt2"), str(folder / "topics"), "--texts", *files, "--runs", str(runs)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["upstream", "precompute", *given, "--quiet", "--l2", "0.01"])
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code
    return Run.open(runs / "texts-frozen")


def test_the_run_shows_texts_classes_and_tokens(run):
    assert run.stage("pretrain").classes == ()
    assert run.stage("finetune").classes == ("pet", "tool")
    assert run.stage("finetune").parameters.new == ("score.weight",)
    assert set(run.queries()["prediction"]) <= {"pet", "tool"}
    assert (run.scores("pretrain")[:] != 0).any()
    assert not run.pending
    shares, scores = run.shares("pretrain", run.manifest.default_method, 0), run.scores("pretrain")[0]
    assert [len(run.tokens("pretrain")["starts"][example]) for example in shares] == [*map(len, shares.values())]
    # Scores are compressed, shares are not: they differ by as much as the report says, which saw all these examples.
    apart = np.array([shares[example].sum() - scores[example] for example in shares])
    report = next(record.report for record in run.manifest.scores if record.stage == "pretrain")
    assert len(apart) == len(scores)
    assert np.linalg.norm(apart) <= 1.01 * report["compression"]["error"] * np.linalg.norm(scores)
    assert (run.path / "tokenizer.json").is_file()


def test_its_study_is_made_again_with_the_terms_that_it_had(run, monkeypatch):
    monkeypatch.setattr("influence.studies.checkpoints.options.statement", None)  # nothing is estimated again
    exhibit = exhibit_of(run)
    assert [stage.l2 for stage in exhibit.study.stages] == [0.01, 0.01]
    read = exhibit.encode("a cat runs home")
    assert read.item["input_ids"].tolist() == tiny.bytes_tokenizer()("a cat runs home")["input_ids"]
    assert (exhibit.form, read.shown, read.read) == ("text", "a cat runs home", 15)
    with pytest.raises(StudyError, match="There is no text"):
        exhibit.encode(" ")


def test_what_no_one_stated_is_estimated_and_told(folder):
    built = study(folder, "bert", "bert-topics")
    assert built.variants == ("updated",)
    assert any("inherited and trained" in line for line in built.lines)
    exhibit = built.exhibit("updated")
    assert exhibit.study.stages[1].proximity > 0
    assert any("--proximity says otherwise" in note for note in exhibit.notes)
    assert exhibit.classes["pretrain"] == []


def test_a_completion_is_the_query_of_a_finetuned_language_model(folder):
    exhibit = study(folder, "gpt2", "lora", "jsonl", l2=["0.01"]).exhibit("frozen")
    assert exhibit.form == "completion"
    assert exhibit.classes == {"pretrain": [], "finetune": []}
    assert set(exhibit.queries["prompt_end"]) == {5}
    assert exhibit.tokens.keys() == {"pretrain", "finetune", "queries"}
    assert all(
        name.split(".")[-2] == "default" for name in exhibit.study.stages[1].model.state_dict() if "lora" in name
    )
    row = exhibit.queries.iloc[0]
    again = exhibit.encode((row["text"][:5], row["text"][5:]))
    assert all(torch.equal(again.item[key], value) for key, value in exhibit.study.queries[0].items())
    assert (again.shown, again.prompt_end) == (row["text"], 5)
    objective = objectives_of(exhibit.study)[1]
    _, batch = next(objective.batches(exhibit.study.queries))
    assert (batch["labels"][:, 0] == -100).all()


def test_lora_leaves_the_pretrained_model_as_it_is(folder):
    built = study(folder, "gpt2", "lora", "jsonl", l2=["0.01"])
    names = [name for name, _ in built.checkpoints["pretrain"].model.named_parameters()]
    assert not any("lora" in name for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": Columns(label="topic")}, "--label-column: no file has a column 'topic'"),
        ({"l2": ["much"]}, "--l2 is 'much', expected a number, or PATTERN=NUMBER"),
        ({"l2": ["nothing.*=1"]}, "matches none of"),
        ({"inherits": ["a"]}, "--inherits is 'a', expected HERE=THERE"),
        ({"frozen": ["nothing"]}, "'nothing' matches no parameter"),
        ({"objective": "masked"}, "is 'masked', but a GPT2LMHeadModel is trained by 'causal'"),
        ({"objective": "chat"}, "expected causal, masked, classification"),
        ({"context": 99}, "The context is 99, but .* reads 16 tokens"),
    ],
)
def test_options_that_do_not_fit_are_named(folder, options, message):
    with pytest.raises(StudyError, match=message):
        study(folder, "gpt2", "topics", **options).exhibit("frozen")


def test_labels_of_another_head_end_the_command_at_once(folder, upstream, tmp_path):
    (tmp_path / "test.csv").write_text("text,label\na cat eats,plant\n")
    files = [folder / "pre.csv", folder / "fin.csv", tmp_path / "test.csv"]
    code, _, errors = upstream("precompute", "--models", folder / "gpt2", folder / "topics", "--texts", *files)
    assert code == 2
    assert "test.csv, line 2: the label is 'plant', which the model's head has not" in errors
    code, _, errors = upstream("precompute", "--models", folder / "gpt2", folder / "topics", "digits")
    assert code == 2
    assert "with --models PRETRAINED FINETUNED one of the last two" in errors
    code, _, errors = upstream(
        "precompute", "--models", folder / "gpt2", folder / "topics", "--texts", *files, "--epochs", "3"
    )
    assert code == 2
    assert "--epochs means nothing for --models with --texts" in errors
