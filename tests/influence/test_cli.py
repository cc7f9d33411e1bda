"""The command line: what it prints, and what it answers to what cannot be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from tiny import QUERIES, tiny_exhibit, two_exhibits

from influence import Run, cli
from influence.curvature import METHODS
from influence.draft import Draft
from influence.errors import StudyError
from influence.precompute import precompute
from influence.studies.texts import TextOptions, TextStudy


class TinyBuilt:
    """The tiny study as a built-in one."""

    name, summary, variants = "tiny", "made for tests", ("frozen", "updated")

    def __init__(self, seed=0):
        self.exhibits = dict(zip(self.variants, two_exhibits(seed=seed), strict=True))

    def exhibit(self, variant):
        return self.exhibits[variant]


@pytest.fixture
def upstream(monkeypatch, capsys, tmp_path, quick_map):
    """Run `upstream ...` in this process: exit code, output, errors, the last two with blanks made single."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(cli.STUDIES, "tiny", TinyBuilt)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(cli.out, "_width", 300)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["upstream", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, errors = capsys.readouterr()
        assert "Traceback" not in out + errors
        return stop.value.code or 0, " ".join(out.split()), " ".join(errors.replace("│", " ").split())

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        root = tmp_path_factory.mktemp("finished")
        return precompute([tiny_exhibit()], ["tiny-frozen"], root, progress=False)[0].path


@pytest.fixture
def runs(finished, tmp_path):
    """A folder of runs, ours to damage, with one run `tiny-frozen`."""
    shutil.copytree(finished, tmp_path / "runs" / finished.name)
    return tmp_path / "runs"


# Help


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["Which pretraining examples", "demo", "precompute", "studies", "methods", "runs", "check", "explore"]),
        (["demo"], ["digits", "open the explorer", "--study", "--runs", "--port", "--no-browser"]),
        (
            ["precompute"],
            [
                "built-in study",
                "resumes where it stopped",
                "--runs",
                "--name",
                "--images",
                "--texts",
                "--sample",
                "--method",
            ],
        ),
        (["studies"], ["List the built-in studies"]),
        (["methods"], ["List the methods with their cost"]),
        (["runs"], ["List the runs of a folder", "--runs", "UPSTREAM_RUNS"]),
        (["check"], ["Verify a run's format and every file's checksum", "or a path"]),
        (["explore"], ["Open the explorer", "default the first", "--port", "8501"]),
    ],
)
def test_help_says_what_each_command_and_option_is(upstream, command, words):
    code, out, _ = upstream(*command, "--help")
    assert code == 0
    assert [word for word in words if word not in out] == []


# Lists


def test_studies_lists_every_study_and_its_runs(upstream):
    code, out, _ = upstream("studies")
    assert code == 0
    for words in ("digits-frozen, digits-updated", "Chen et al. 2020", "tiny made for tests tiny-frozen, tiny-updated"):
        assert words in out


def test_methods_lists_every_method_with_cost_and_advice(upstream):
    _, out, _ = upstream("methods")
    for name, method in METHODS.items():
        assert f"{name} " in out
        for text in (method.summary, method.cost, method.advice):
            assert text.split()[0] in out
    assert {"cg", "exact", "identity"} <= METHODS.keys()


def test_runs_of_an_empty_folder(upstream, tmp_path):
    assert upstream("runs") == (0, "No runs in data/runs. `upstream demo` makes the first.", "")
    assert upstream("runs", "--runs", tmp_path / "nowhere")[:1] == (0,)


def test_runs_lists_good_and_bad(upstream, runs):
    (runs / "[red]bad").mkdir()
    code, out, _ = upstream("runs", "--runs", runs)
    assert code == 0
    accuracy = Run.open(runs / "tiny-frozen").stage("finetune")["test_accuracy"]
    assert f"tiny-frozen Tiny, frozen {accuracy:.1%}" in out
    assert "[red]bad" in out
    assert "is not a run: it holds no run.json" in out


def test_runs_folder_from_the_environment(upstream, runs, monkeypatch):
    monkeypatch.setenv("UPSTREAM_RUNS", str(runs))
    assert "Tiny, frozen" in upstream("runs")[1]


# Check


def test_check_of_a_good_run_by_name_by_path_and_from_inside(upstream, runs, monkeypatch):
    count = len(Run.open(runs / "tiny-frozen").manifest["files"])
    for arguments in (["tiny-frozen", "--runs", runs], [runs / "tiny-frozen"], ["runs/tiny-frozen"]):
        code, out, _ = upstream("check", *arguments)
        assert (code, f"{count} files, all as they were written" in out) == (0, True)
    monkeypatch.chdir(runs)
    assert upstream("check", "tiny-frozen")[0] == 0


def damage(folder):
    path = next((folder / "scores").rglob("c/0/0"))
    path.write_bytes(path.read_bytes()[::-1])


def from_the_future(folder):
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"format": 1', '"format": 99'))


def unfinish(folder):
    folder.rename(folder.with_name(f".{folder.name}.unfinished"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damage, "is damaged: scores/"),
        (lambda f: (f / "queries.parquet").unlink(), "queries.parquet is missing"),
        (
            lambda f: (f / "run.json").write_text("{}"),
            "names no format version. Delete the folder and compute it again",
        ),
        (from_the_future, "has format 99; this version of upstream reads format 1. Update upstream."),
        (unfinish, "is not finished. Run the same `upstream precompute` command to resume it."),
        (shutil.rmtree, "There is no run at"),
    ],
)
def test_check_of_a_bad_run(upstream, runs, change, words):
    change(runs / "tiny-frozen")
    code, out, errors = upstream("check", "tiny-frozen", "--runs", runs)
    assert (code, out) == (2, "")
    assert errors.startswith("Error: ")
    assert words in errors
    assert str(runs / "tiny-frozen") in errors


# Precompute


def test_precompute_writes_runs_and_says_where(upstream, tmp_path):
    code, out, _ = upstream("precompute", "tiny", "--name", "mine", "--seed", "3", "--quiet")
    assert code == 0
    assert out == (
        "Finished: data/runs/mine-frozen Finished: data/runs/mine-updated Look at them with `upstream explore`."
    )
    for variant in TinyBuilt.variants:
        run = Run.open(tmp_path / "data/runs" / f"mine-{variant}")
        assert (run.manifest["seed"], run.manifest["variant"], len(run.queries())) == (3, variant, QUERIES)
    code, _, errors = upstream("precompute", "tiny", "--name", "mine", "--seed", "4", "--quiet")
    assert code == 2
    assert "mine-frozen exists with other settings: seed is 3, asked for 4. Choose another --name" in errors


def test_dry_run_says_what_it_would_need_and_writes_nothing(upstream, tmp_path):
    code, out, _ = upstream("precompute", "tiny", "--dry-run", "--method", "cg")
    assert code == 0
    for words in ("tiny-frozen: method cg, 6 queries", "pretrain: 40 examples, 23 of 23 parameters trained", "disk "):
        assert words in out
    assert not (tmp_path / "data").exists()


def test_a_function_in_a_file_with_a_method_of_ones_own(upstream, tmp_path):
    (tmp_path / "mine.py").write_text("from tiny import tiny_study\ndef f():\n    return tiny_study()\n")
    code, out, _ = upstream("precompute", "mine.py:f", "--quiet", "--method", "cg", "--damping", "0.5", "--seed", "3")
    assert (code, out) == (0, "Finished: data/runs/tiny Look at them with `upstream explore`.")
    run = Run.open(tmp_path / "data/runs/tiny")
    record = run.manifest["scores"][0]
    assert (record["method"], record["report"]["damping"], run.manifest["seed"]) == ("cg", 0.5, 3)
    assert run.manifest["versions"]["device"] == "cpu"
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
    assert frozen.stage("finetune")["classes"] == ["<b>dog", "cat"]
    assert list(frozen.queries()["label"]) == ["cat"] * 3
    assert frozen.stage("finetune")["training"]["gradient_norm"] < 1e-4  # a last layer goes to its minimum
    body = frozen.models()["pretrain"]["features.0.weight"]
    assert torch.equal(frozen.models()["finetune"]["features.0.weight"], body)
    assert torch.equal(updated.models()["pretrain"]["features.0.weight"], body)
    assert not torch.equal(updated.models()["finetune"]["features.0.weight"], body)
    assert any("gradient norm" in warning for warning in updated.manifest["warnings"])


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
    assert (run.manifest["scores"][0]["method"], run.manifest["scores"][0]["report"]["damping"]) == ("cg", 0.5)
    assert run.manifest["warnings"][:2] == [
        "20 of the 60 texts of old.txt were taken, drawn by the seed.",
        "Empty texts left out of new.csv: 1, the first at line 3.",
    ]


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        (["none.csv", "new.csv", "test.jsonl"], [], "none.csv does not exist; expected a file of texts: .csv"),
        ([".", "new.csv", "test.jsonl"], [], ". is a folder; expected a file of texts"),
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
    monkeypatch.setitem(cli.STUDIES, "worded", TextsBuilt)
    assert upstream("precompute", "worded", "--queries", "7", "--finetuning", "updated", "--quiet")[0] == 0
    assert [path.name for path in (tmp_path / "data/runs").glob("tiny-*")] == ["tiny-updated"]
    code, _, errors = upstream("precompute", "worded", "--vocabulary", "7")
    assert (code, "--vocabulary means nothing for worded; it is for --texts." in errors) == (2, True)


def test_demo_of_another_study(upstream, monkeypatch):
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda call, check: calls.append(call) or SimpleNamespace(returncode=0))
    assert upstream("demo", "--study", "tiny", "--no-browser")[0] == 0
    assert calls[0][-3:] == ["--run", "data/runs/tiny-frozen", "--no-browser"]


def test_interrupt_says_that_nothing_finished_is_lost(upstream, tmp_path, monkeypatch):
    mark = Draft.mark

    def interrupted(self, step, record=None):
        mark(self, step, record)
        raise KeyboardInterrupt

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


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["No such command 'nonsense'"]),
        (["precompute"], ["Give one of: a built-in study", "FILE.py:FUNCTION, --images", "or --texts PRETRAIN"]),
        (["precompute", "tiny", "--images", "a", "b", "c"], ["Give one of: a built-in study"]),
        (["precompute", "tiny", "--data", "x"], ["--data means nothing for tiny; it is for cifar10, fashion."]),
        (
            ["precompute", "tiny", "--image-size", "16"],
            ["--image-size means nothing for tiny; it is for --images, cif"],
        ),
        (["precompute", "tiny", "--texts", "a", "b", "c"], ["Give one of: a built-in study", "--texts PRETRAIN"]),
        (["precompute", "--texts", "a", "b", "c", "--images", "a", "b", "c"], ["Give one of: a built-in study"]),
        (["precompute", "tiny", "--sample", "9"], ["--sample means nothing for tiny; it is for --texts."]),
        (["precompute", "tiny", "--finetuning", "half"], ["--finetuning is 'half', expected frozen, updated or both"]),
        (["precompute", "fashion", "--text-column", "a"], ["--text-column means nothing for fashion"]),
        (
            ["precompute", "no.py:f", "--epochs", "3"],
            ["--epochs means nothing for no.py:f; it is for --images, --texts"],
        ),
        (["precompute", "--images", "a", "b", "c", "--context", "9"], ["--context means nothing for --images; it is"]),
        (["precompute", "--texts", "a", "b", "c", "--model", "cnn"], ["--model means nothing for --texts; it is for"]),
        (["precompute", "--texts", "a", "b", "c", "--data", "d"], ["--data means nothing for --texts; it is for cif"]),
        (["precompute", "--texts", "a", "b"], ["--texts", "requires 3 arguments"]),
        (["precompute", "--texts", "a", "b", "c", "--sample", "1"], ["Invalid value for '--sample'"]),
        (["precompute", "tiny", "--method", "magic"], ["There is no method 'magic'; the methods are exact"]),
        (["precompute", "tiny", "--curvature", "flat"], ["There is no curvature 'flat'; choose one of ggn, hessian"]),
        (["precompute", "tiny", "--damping", "-1"], ["Damping is -1.0, expected a finite number"]),
        (["precompute", "tiny", "--damping", "nan"], ["Damping is nan"]),
        (["precompute", "tiny", "--device", "warp"], ["Device 'warp' cannot be used here"]),
        (["precompute", "--images", "a", "b"], ["--images", "requires 3 arguments"]),
        (["precompute", "--images", "a", "b", "c"], ["Folder a does not exist; expected a folder with one folder"]),
        (["precompute", "cifar10"], ["needs CIFAR-10", "--data"]),
        (["precompute", "cifar10", "--finetuning", "half"], ["--finetuning is 'half'"]),
        (["precompute", "fashion", "--epochs", "0"], ["Invalid value for '--epochs'"]),
        (["precompute", "no.py:f"], ["There is no file no.py"]),
        (["precompute", "mnist"], ["There is no built-in study 'mnist'; the studies are digits", "upstream studies"]),
        (["precompute", "tiny", "--sead", "1"], ["No such option: --sead", "--seed"]),
        (["precompute", "tiny", "--seed", "-1"], ["Invalid value for '--seed'", " 0"]),
        (["precompute", "tiny", "--seed", str(2**32)], ["Invalid value for '--seed'", "4294967295"]),
        (["precompute", "tiny", "--seed", "one"], ["Invalid value for '--seed'", "valid int"]),
        (["precompute", "tiny", "--name", "a/b"], ["'a/b-frozen' cannot be a run's name: use letters, digits"]),
        (["check"], ["Missing argument", "run"]),
        (["check", "nope"], ["There is no run at data/runs/nope. `upstream runs` lists what is there"]),
        (["check", "x" * 300], ["There is no run at"]),
        (["explore", "--port", "99999"], ["Invalid value for '--port'", "65535"]),
        (["demo", "--port", "http"], ["Invalid value for '--port'", "valid int"]),
        (["demo", "--study", "cifar10"], ["--study 'cifar10' needs data that is not embedded; the demo takes digits"]),
        (["demo", "--study", "[b]"], ["--study '[b]' is not among the built-in studies; the demo takes digits"]),
    ],
)
def test_what_cannot_be_is_answered_with_what_can(upstream, arguments, words):
    code, out, errors = upstream(*arguments)
    assert (code, out) == (2, "")
    assert [word for word in words if word.lower() not in errors.lower()] == []


# The explorer, which is a process of its own


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["--runs", "data/runs", "--port", "8501"]),
        (["r", "--port", "9000", "--no-browser"],
         ["--runs", "data/runs", "--port", "9000", "--run", "data/runs/r", "--no-browser"]),
        (["some/r"], ["--runs", "data/runs", "--port", "8501", "--run", "some/r"]),
    ],
)  # fmt: skip
def test_explore_starts_the_explorer_and_passes_its_exit_code_on(upstream, monkeypatch, arguments, expected):
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda call, check: calls.append(call) or SimpleNamespace(returncode=2))
    assert upstream("explore", *arguments)[0] == 2
    assert calls == [[sys.executable, "-m", "explorer", *expected]]


def test_a_process_of_its_own_ends_with_code_2_and_no_traceback(tmp_path):
    script = "from influence.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "check", "no\npe"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: There is no run at data/runs/no")
    assert "Traceback" not in done.stderr
