"""The command line: what it prints, and what it answers to what cannot be."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest

from influence import Run
from influence.curvature import METHODS
from influence.curvature.cards import CARDS
from influence.run.files import locked, manifest_checksum
from influence.run.manifest import read_manifest
from influence.run.records import json_of

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
    for card in CARDS:
        assert f"{card.name} " in out
        for text in (card.summary, card.cost, card.advice):
            assert text.split()[0] in out
    assert [*METHODS, "replay"] == [card.name for card in CARDS]


def test_runs_of_an_empty_folder(upstream, tmp_path):
    assert upstream("runs") == (0, "No runs in data/runs. `upstream demo` makes the first.", "")
    assert upstream("runs", "--runs", tmp_path / "nowhere")[:1] == (0,)


def test_runs_lists_good_and_bad(upstream, runs_folder):
    (runs_folder / "[red]bad").mkdir()
    code, out, _ = upstream("runs", "--runs", runs_folder)
    assert code == 0
    accuracy = Run.open(runs_folder / "tiny-frozen").stage("finetune").test_accuracy
    assert f"tiny-frozen Tiny, frozen {accuracy:.1%}" in out
    assert "[red]bad" in out
    assert "is not a run: it holds no run.json" in out


def test_runs_folder_from_the_environment(upstream, runs_folder, monkeypatch):
    monkeypatch.setenv("UPSTREAM_RUNS", str(runs_folder))
    assert "Tiny, frozen" in upstream("runs")[1]


# Check


def test_check_of_a_good_run_by_name_by_path_and_from_inside(upstream, runs_folder, monkeypatch):
    count = len(Run.open(runs_folder / "tiny-frozen").manifest.files)
    for arguments in (["tiny-frozen", "--runs", runs_folder], [runs_folder / "tiny-frozen"], ["runs/tiny-frozen"]):
        code, out, _ = upstream("check", *arguments)
        assert (code, f"{count} files, all as they were written" in out) == (0, True)
    monkeypatch.chdir(runs_folder)
    assert upstream("check", "tiny-frozen")[0] == 0


def test_a_run_that_is_still_being_computed_is_told(upstream, runs_folder):
    file = runs_folder / "tiny-frozen" / "run.json"
    manifest = json.loads(file.read_text()) | {"pending": ["map", "identity"]}
    file.write_text(json.dumps(manifest | {"checksum": manifest_checksum(manifest)}))
    assert upstream("check", file.parent)[1].endswith("Still to be computed: map, identity.")
    with locked(file.parent):
        assert "tiny-frozen (being computed)" in upstream("runs", "--runs", runs_folder)[1]
    left = runs_folder / ".tiny-frozen.lock"  # as a killed process leaves it
    left.touch()
    assert "tiny-frozen (not complete: the same command goes on)" in upstream("runs", "--runs", runs_folder)[1]
    for arguments in (["validate"], ["leave-out", "--study", "nowhere.py:f"]):
        code, _, errors = upstream(arguments[0], file.parent, *(["100"] if len(arguments) > 1 else []), *arguments[1:])
        assert (code, "is not complete: map, identity is still to be computed." in errors) == (2, True)


def test_what_cannot_be_verified_is_told(upstream, runs_folder):
    code, _, errors = upstream("verify", runs_folder / "tiny-frozen", "7")
    assert (code, "has no query with id 7" in errors) == (2, True)
    code, _, errors = upstream("verify", runs_folder / "tiny-frozen", "900")
    assert (code, "does not say" in errors, "Traceback" in errors) == (2, True, False)


def test_check_names_files_that_are_no_part_of_the_run(upstream, runs_folder):
    folder = runs_folder / "tiny-frozen"
    strange = ["scores/pretrain-exact.zarr/c/9/9", "examples/other.parquet", "stages/other.safetensors", "work/old"]
    for name in (*strange, "odd\x1b[31m\n.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    code, out, _ = upstream("check", folder)
    assert code == 0
    for name in (*strange, r"odd\x1b[31m\n.png"):
        assert f"No part of the run, and never read: {name}" in out
    told = read_manifest(folder)
    (folder / "run.json").write_text(json.dumps(json_of(dataclasses.replace(told, pending=("map",)))))
    out = upstream("check", folder)[1]
    assert "work/old" not in out, "a computation that is to go on keeps it there"
    assert "examples/other.parquet" in out


def test_check_tells_warnings_and_a_lost_unit(upstream, runs_folder):
    folder = runs_folder / "tiny-frozen"
    manifest = read_manifest(folder)
    lost = [dataclasses.replace(r, report={**r.report, "unit": "order only"}) for r in manifest.scores]
    told = json_of(dataclasses.replace(manifest, scores=tuple(lost), warnings=("[bold]far off[/bold]",)))
    (folder / "run.json").write_text(json.dumps(told))
    assert upstream("check", folder)[1].endswith(
        "Order only: the size of its scores means nothing, their order within a query does. "
        "Warning: [bold]far off[/bold]"
    )


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
def test_check_of_a_bad_run(upstream, runs_folder, change, words):
    change(runs_folder / "tiny-frozen")
    code, out, errors = upstream("check", "tiny-frozen", "--runs", runs_folder)
    assert (code, out) == (2, "")
    assert errors.startswith("Error: ")
    assert words in errors
    assert str(runs_folder / "tiny-frozen") in errors


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
            ["--image-size means nothing for tiny; it is for --images, --models with --images, cif"],
        ),
        (["precompute", "tiny", "--texts", "a", "b", "c"], ["Give one of: a built-in study", "--texts PRETRAIN"]),
        (["precompute", "--texts", "a", "b", "c", "--images", "a", "b", "c"], ["Give one of: a built-in study"]),
        (["precompute", "tiny", "--sample", "9"], ["--sample means nothing for tiny; it is for --texts, --models"]),
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
        (["precompute", "tiny", "--name", "../b", "--dry-run"], ["'../b-frozen' cannot be a run's name"]),
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
def test_explore_starts_the_explorer_and_passes_its_exit_code_on(upstream, explorer, arguments, expected):
    explorer.returncode = 2
    assert upstream("explore", *arguments)[0] == 2
    assert explorer.calls == [[sys.executable, "-P", "-m", "explorer", *expected]]


def test_explore_opens_the_run_that_the_demo_opens(upstream, explorer, tmp_path):
    for names, arguments in (
        (["digits-frozen", "digits-updated"], []),
        (["digits-scanner"], ["--run", "data/runs/digits-scanner"]),
        (["a-run-of-mine"], []),
    ):
        for name in names:
            (tmp_path / "data/runs" / name).mkdir(parents=True)
            (tmp_path / "data/runs" / name / "run.json").touch()
        upstream("explore")
        assert explorer.calls.pop() == [
            sys.executable, "-P", "-m", "explorer", "--runs", "data/runs", "--port", "8501", *arguments
        ]  # fmt: skip


def test_a_process_of_its_own_ends_with_code_2_and_no_traceback(tmp_path):
    script = "from influence.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "check", "no\npe"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: There is no run at data/runs/no")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["s3://bucket/runs", "memory://runs"])
def test_runs_at_a_url_are_refused_and_no_folder_is_made(upstream, tmp_path, url):
    code, _, errors = upstream("precompute", "tiny", "--runs", url)
    assert code == 2
    assert f"--runs is a URL ({url.split('//')[0]}), expected a folder." in errors
    assert not list(tmp_path.iterdir())
