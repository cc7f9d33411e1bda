"""`upstream precompute` and `upstream demo`: what they compute, what they say, and how they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image
from tiny import QUERIES
from tiny_runs import TinyBuilt

from influence import Run
from influence.errors import CurvatureError, StudyError
from influence.run.draft import Draft
from influence.studies import STUDIES, exhibits_for
from influence.studies.cards import CARDS
from influence.studies.from_run import exhibit_of
from influence.studies.texts import TextOptions, TextStudy


def test_precompute_writes_runs_and_says_where(upstream, tmp_path):
    code, out, _ = upstream("precompute", "tiny", "--name", "mine", "--seed", "3", "--quiet")
    assert code == 0
    assert out == (
        "Finished: data/runs/mine-frozen Finished: data/runs/mine-updated Look at them with `upstream explore`."
    )
    for variant in TinyBuilt.variants:
        run = Run.open(tmp_path / "data/runs" / f"mine-{variant}")
        assert (run.manifest.seed, run.manifest.variant, len(run.queries())) == (3, variant, QUERIES)
    code, _, errors = upstream("precompute", "tiny", "--name", "mine", "--seed", "4", "--quiet")
    assert code == 2
    assert "mine-frozen exists with other settings: seed is 3, asked for 4. Choose another --name" in errors


def test_dry_run_says_what_it_would_need_and_writes_nothing(upstream, tmp_path):
    code, out, _ = upstream("precompute", "tiny", "--dry-run", "--method", "cg")
    assert code == 0
    assert "tiny-frozen: method cg, 6 queries pretrain: 40 examples, 23 of 23 parameters trained" in out
    for words in (
        "of disk when it is finished",
        "time about ",
        "by a rehearsal on 60 of 60 examples",
        "the longest step is ",
    ):
        assert out.count(words) == 2  # of both runs
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("workers", "counts"), [((), [2, 8, 32]), (("--workers", "5"), [5])])
def test_dry_run_says_how_long_workers_take(upstream, workers, counts):
    code, out, _ = upstream("precompute", "tiny", "--dry-run", "--engine", "ray", *workers)
    assert code == 0
    assert out.count("workers: about ") == 2
    for count in counts:
        assert f" with {count}," in out


def test_workers_without_an_engine_are_refused(upstream):
    code, _, errors = upstream("precompute", "tiny", "--workers", "2")
    assert (code, errors.strip()) == (
        2,
        "Error: Workers are those of a cluster, and this process computes alone; add --engine ray.",
    )


def test_dry_run_says_why_time_and_memory_are_not_known(upstream, monkeypatch):
    def fail(*_):
        raise CurvatureError("the matrix is singular")

    monkeypatch.setattr("influence.precompute.forecasts.rehearsal.Steps", fail)
    code, out, _ = upstream("precompute", "tiny", "--dry-run")
    assert code == 0
    assert out.count("time and memory are not known, since the rehearsal failed: the matrix is singular") == 2
    assert "disk " in out


def test_a_function_in_a_file_with_a_method_of_ones_own(upstream, tmp_path):
    (tmp_path / "mine.py").write_text("from tiny import tiny_study\ndef f():\n    return tiny_study()\n")
    code, out, _ = upstream("precompute", "mine.py:f", "--quiet", "--method", "cg", "--damping", "0.5", "--seed", "3")
    assert (code, out) == (0, "Finished: data/runs/tiny Look at them with `upstream explore`.")
    run = Run.open(tmp_path / "data/runs/tiny")
    record = run.manifest.scores[0]
    assert (record.method, record.report["damping"], run.manifest.seed) == ("cg", 0.5, 3)
    assert run.manifest.versions["device"] == "cpu"
    assert {"label", "prediction", "confidence"} <= set(run.queries().columns)


def test_folders_of_pictures(upstream, tmp_path):
    for part, classes in (("pre", ("red", "[bold]")), ("fine", ("cat", "<b>dog")), ("test", ("cat",))):
        for k, name in enumerate(classes):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (9, 7), (80 * k, 40 * i, 7)).save(tmp_path / part / name / f"{i}.png")
    arguments = ["precompute", "--images", "pre", "fine", "test", "--epochs", "1", "--image-size", "8", "--quiet"]
    assert upstream(*arguments, "--method", "identity")[0] == 0
    frozen, updated = (Run.open(tmp_path / "data/runs" / f"images-{v}") for v in ("frozen", "updated"))
    assert frozen.stage("finetune").classes == ("<b>dog", "cat")
    assert list(frozen.queries()["label"]) == ["cat"] * 3
    assert frozen.stage("finetune").training.gradient_norm < 1e-4  # a last layer goes to its minimum
    body = frozen.models()["pretrain"]["features.0.weight"]
    assert torch.equal(frozen.models()["finetune"]["features.0.weight"], body)
    assert torch.equal(updated.models()["pretrain"]["features.0.weight"], body)
    assert not torch.equal(updated.models()["finetune"]["features.0.weight"], body)
    assert any("gradient norm" in warning for warning in updated.manifest.warnings)


@pytest.fixture
def untrained_texts(monkeypatch):
    """What `--texts` reads and is told, in place of a language model; the tiny study is computed."""
    made = []
    monkeypatch.setattr(
        TextStudy, "__init__", lambda _, name, subject, parts, options: made.append((name, parts, options))
    )
    monkeypatch.setattr(TextStudy, "exhibit", lambda _, variant: TinyBuilt().exhibit(variant))
    return made


@pytest.fixture
def texts(tmp_path):
    """Names of three files in the current folder."""
    (tmp_path / "old.txt").write_text("\n".join(f"line {i}" for i in range(60)))
    (tmp_path / "new.csv").write_text("body,topic,head\na,x,A\n,,\nb,y,B\n")
    (tmp_path / "test.jsonl").write_text('{"body": "c", "topic": "y", "where": "[bold]"}')
    return ["old.txt", "new.csv", "test.jsonl"]


def test_files_of_texts(upstream, untrained_texts, texts, tmp_path):
    options = ["--text-column", "body", "--label-column", "topic", "--title-column", "head", "--source-column", "where"]
    options += [
        "--sample",
        "20",
        "--vocabulary",
        "300",
        "--context",
        "16",
        "--epochs",
        "2",
        "--l2",
        "0.5",
        "--queries",
        "9",
    ]
    options += ["--seed", "3", "--finetuning", "frozen", "--method", "cg", "--damping", "0.5", "--quiet"]
    code, out, _ = upstream("precompute", "--texts", *texts, *options, "--name", "mine")
    assert (code, out) == (0, "Finished: data/runs/mine-frozen Look at them with `upstream explore`.")
    ((name, parts, made),) = untrained_texts
    assert name == "texts"
    assert made == TextOptions(vocabulary=300, context=16, epochs=2, l2=0.5, queries=9, seed=3)
    assert len(parts["pretrain"]) == 20
    assert (parts["finetune"].ids, parts["finetune"].titles) == ((0, 2), ("A", "B"))
    assert parts["queries"].sources == ("[bold]",)
    run = Run.open(tmp_path / "data/runs/mine-frozen")
    assert (run.manifest.scores[0].method, run.manifest.scores[0].report["damping"]) == ("cg", 0.5)
    assert run.manifest.warnings[:2] == (
        "20 of the 60 texts of old.txt were taken, drawn by the seed.",
        "Empty texts left out of new.csv: 1, the first at line 3.",
    )


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        (["none.csv", "new.csv", "test.jsonl"], [], "none.csv does not exist; expected a file of texts: .csv"),
        ([".", "new.csv", "test.jsonl"], [], ". holds files of several kinds ("),
        (["no*.csv", "new.csv", "test.jsonl"], [], "no*.csv matches no file."),
        (["old.txt", "new.csv", "test.jsonl"], [], "new.csv has no column 'text'; it has 'body', 'topic', 'head'."),
        (["old.txt", "old.txt", "test.jsonl"], [], "old.txt is plain lines, which have no labels"),
        (["old.txt", "new.csv", "test.jsonl"],
         ["--text-column", "body", "--label-column", "topic", "--title-column", "[b]"],
         "--title-column: no file has a column '[b]'; new.csv has 'body', 'topic', 'head'."),
    ],
)  # fmt: skip
def test_files_of_texts_that_are_not_in_order(upstream, texts, files, options, words):
    code, out, errors = upstream("precompute", "--texts", *files, *options)
    assert (code, out) == (2, "")
    assert words in errors
    assert errors.startswith("Error: ")


class TextsBuilt(TinyBuilt):
    """A built-in study whose constructor takes an option."""

    def __init__(self, seed=0, queries=0):
        super().__init__(seed)
        assert queries in (0, 7)


def test_a_built_in_study_takes_the_options_of_its_constructor(upstream, monkeypatch, tmp_path):
    monkeypatch.setitem(STUDIES, "worded", TextsBuilt)
    assert upstream("precompute", "worded", "--queries", "7", "--finetuning", "updated", "--quiet")[0] == 0
    assert [path.name for path in (tmp_path / "data/runs").glob("tiny-*")] == ["tiny-updated"]
    code, _, errors = upstream("precompute", "worded", "--vocabulary", "7")
    assert (code, "--vocabulary means nothing for worded; it is for --texts." in errors) == (2, True)


def test_demo_of_another_study_is_computed_by_the_explorer(upstream, explorer):
    assert upstream("demo", "--study", "tiny", "--no-browser")[0] == 0
    assert explorer.calls[0][-5:] == ["--run", "tiny-frozen", "--compute", "tiny", "--no-browser"]


def test_threads_of_the_demo_reach_the_process_that_computes(upstream, explorer, monkeypatch):
    monkeypatch.setenv("UPSTREAM_THREADS", "1")  # put back afterwards
    assert upstream("demo", "--study", "tiny", "--no-browser", "--threads", "3")[0] == 0
    assert os.environ["UPSTREAM_THREADS"] == "3"


@pytest.mark.parametrize("name", [card.name for card in CARDS.values() if card.shipped])
def test_the_run_that_the_demo_opens_is_the_first_that_is_computed(name):
    first = exhibits_for(name, None, None, 0, {}, {})[0]
    assert first.variant == CARDS[name].variants[0]


def test_interrupt_says_that_nothing_finished_is_lost(upstream, tmp_path, monkeypatch):
    mark = Draft.mark

    def interrupted(self, step, record=None):
        mark(self, step, record)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "mark", interrupted)
        code, _, errors = upstream("precompute", "tiny", "--quiet")
    assert (code, errors) == (130, "Interrupted. Finished steps are kept: the same command resumes.")
    code, _, errors = upstream("check", "tiny-frozen")
    assert (code, "is not finished" in errors) == (2, True)
    assert upstream("precompute", "tiny", "--quiet")[0] == 0


def test_folder_that_cannot_be_written(upstream, tmp_path):
    (tmp_path / "file").touch()
    code, _, errors = upstream("precompute", "tiny", "--runs", tmp_path / "file" / "runs")
    assert code == 2
    assert f"Cannot write runs to {tmp_path}/file/runs: Not a directory. Choose another folder with --runs." in errors


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(13, "Permission denied", "runs/x"),
            "Error: Permission denied (runs/x). Finished steps are kept",
        ),
        (OSError(28, "No space left on device"), "Error: No space left on device. Finished steps are kept"),
        (StudyError("Stage 'a[b]': [bold]"), "Error: Stage 'a[b]': [bold]"),  # not taken for markup
    ],
)
def test_failures_under_way(upstream, monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("influence.precompute.precompute", fail)
    code, _, errors = upstream("precompute", "tiny")
    assert code == 2
    assert words in errors


@pytest.mark.parametrize("threads", ["0", "1025", "99999999999999999999", "many"])
def test_a_number_of_threads_that_cannot_be_is_refused(upstream, threads):
    code, _, errors = upstream("precompute", "tiny", "--threads", threads)
    assert code == 2
    assert "Invalid value for '--threads'" in errors


def test_threads_are_chosen_by_the_size_of_the_models_or_given(upstream, tmp_path):
    before, few = torch.get_num_threads(), ["--finetuning", "frozen", "--method", "identity"]
    try:
        for number, options in enumerate(([], ["--threads", "2"])):
            runs = tmp_path / str(number)
            assert upstream("precompute", "tiny", "--runs", runs, "--quiet", *few, *options)[0] == 0
            assert Run.open(runs / "tiny-frozen").manifest.versions["threads"] == number + 1
    finally:
        torch.set_num_threads(before)


COMPUTING = [("precompute", "digits"), ("validate", "nowhere"), ("leave-out", "nowhere", "1"), ("what-if", "nowhere")]


@pytest.mark.parametrize("command", COMPUTING)
def test_what_is_done_is_said_before_pytorch_is_loaded(command, tmp_path):
    """A torch that says so when it is imported stands in the place of the real one."""
    (tmp_path / "torch.py").write_text("import sys\nprint('torch', file=sys.stderr)\nsys.exit(7)\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "influence", *command, "--device", "nowhere"], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 7
    assert done.stderr.splitlines() == ["Loading PyTorch and the study.", "torch"]


@pytest.mark.parametrize("command", COMPUTING)
def test_a_device_that_is_not_there_is_refused_first(upstream, command):
    code, _, errors = upstream(*command, "--device", "nowhere")
    assert (code, errors.startswith("Error: ")) == (2, True)
    assert "nowhere" in errors
    assert "no run" not in errors


def test_several_seeds_are_kept_with_the_run_and_asked_for_again(upstream, tmp_path):
    wanted = ("--finetuning", "frozen", "--seeds", 2, "--runs", tmp_path)
    code, _, errors = upstream("precompute", "tiny", *wanted, "--quiet")
    assert code == 0, errors
    run = Run.open(tmp_path / "tiny-frozen")
    assert run.trainings("pretrain", run.manifest.default_method) == 2
    assert run.manifest.asked["solving"]["seeds"] == exhibit_of(run).seeds == 2
    code, out, _ = upstream("precompute", "tiny", *wanted, "--name", "other", "--dry-run")
    assert code == 0
    assert "--seeds 2 trains and scores 2 times" in out
