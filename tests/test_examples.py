"""Every example runs, and the tutorial's commands and snippets are what the examples and the command line know."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from influence import Run, attribute
from influence.cli import main
from influence.precompute.runs import precompute
from influence.studies.exhibit import Exhibit
from influence.studies.from_file import from_file

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
TUTORIAL, TEXTS = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("your-own-model.md", "texts.md"))
QUERIES_AND_SETS, WHAT_IF = (
    (ROOT / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("new-queries-and-sets", "what-if")
)
COMMANDS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))


def python(*arguments: object, folder: Path = ROOT) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Models as small as these are many times slower on several threads of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick_map(monkeypatch):
    """Two coordinates in place of UMAP, which takes seconds."""
    monkeypatch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))


def test_folders_of_pictures(tmp_path):
    out = python(EXAMPLES / "image_folder.py", tmp_path)
    assert "Finished" in out
    run = Run.open(tmp_path / "runs" / "blots-frozen")
    assert run.stage("pretrain").classes == ("green", "red")
    assert len(run.queries()) == 8


@pytest.mark.usefixtures("quick_map")
def test_a_function_that_returns_an_exhibit(tmp_path):
    exhibit = from_file(f"{EXAMPLES / 'precompute_file.py'}:shapes")
    run = precompute([exhibit], ["shapes"], tmp_path, progress=False)[0]
    assert set(run.queries()["label"]) == {"left", "right"}
    assert run.queries()["image"][0].startswith(b"\x89PNG")
    assert run.stage("finetune").test_accuracy > 0.8
    assert run.manifest.warnings == ()


@pytest.mark.usefixtures("quick_map")
def test_a_text_classifier_with_an_adapter(tmp_path):
    out = python(EXAMPLES / "text_transformer.py")
    assert out.count("score  rank") == 2
    exhibit = from_file(f"{EXAMPLES / 'text_transformer.py'}:texts")
    assert isinstance(exhibit, Exhibit)
    run = precompute([exhibit], ["opinions"], tmp_path, progress=False)[0]
    assert run.queries()["text"][0].startswith("the food was")
    scores = attribute(exhibit.study, method=exhibit.method, progress=False)
    assert abs(scores.values - run.scores()[:]).max() <= 1e-5 * abs(scores.values).max()


@pytest.mark.usefixtures("quick_map")
def test_files_of_texts(tmp_path, monkeypatch):
    out = python(EXAMPLES / "own_texts.py", tmp_path)
    assert "150 of the 200 texts of sentences.txt were taken, drawn by the seed." in out
    run = Run.open(tmp_path / "runs" / "texts-frozen")
    lines = (tmp_path / "sentences.txt").read_text(encoding="utf-8").splitlines()
    shown = run.examples("pretrain")
    assert len(shown) == 150
    assert list(shown["text"]) == [lines[i] for i in shown["id"]], "a text is found again by its id"
    assert run.stage("finetune").classes == ("food", "weather")
    # The command that it prints makes the same run.
    command = next(line for line in out.splitlines() if line.startswith("upstream ")).split()[1:]
    monkeypatch.setattr(sys, "argv", ["upstream", *command, "--name", "again", "--quiet"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    again = Run.open(tmp_path / "runs" / "again-frozen")
    assert abs(again.scores()[:] - run.scores()[:]).max() <= 1e-4 * abs(run.scores()[:]).max()


@pytest.fixture(scope="module")
def hugging_face():
    """The example as a module."""
    pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location("hugging_face", EXAMPLES / "hugging_face.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hugging_face_model_in_python():
    pytest.importorskip("transformers")
    out = python(EXAMPLES / "hugging_face.py")
    right, count = map(int, re.match(r"(\d+) of (\d+) queries are right", out).groups())
    assert count / 2 < right < count
    assert out.count("score  rank") == 2


@pytest.mark.usefixtures("quick_map")
def test_a_run_of_a_hugging_face_model(tmp_path, hugging_face, monkeypatch):
    monkeypatch.setattr(hugging_face, "STEPS", 60)
    exhibit = hugging_face.study()
    run = precompute([exhibit], ["hugging-face"], tmp_path, progress=False)[0]
    assert run.stage("pretrain").classes == ()
    assert run.stage("pretrain").accuracy is None
    assert {"text", "loss"} <= set(run.examples("pretrain").columns)
    assert "prediction" not in run.examples("pretrain").columns
    assert set(run.queries()["prediction"]) <= {"sea", "wood"}
    parameters = run.stage("finetune").parameters
    assert parameters.new == ("score.weight",)
    assert "transformer.wte.weight" in parameters.frozen
    assert "lm_head.weight" not in run.stage("pretrain").parameters.new, "tied to the embedding"
    assert (run.scores()[:] != 0).any()


# The tutorials


def snippets(page: str = TUTORIAL) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_the_tutorials_snippets_run_one_after_another(tmp_path):
    """Those that name a file are that file; the others continue each other."""
    assert len(snippets()) >= 4
    (tmp_path / "all.py").write_text("\n".join(snippets()))
    python("all.py", folder=tmp_path)


def test_new_queries_and_sets_run_after_the_example(tmp_path):
    assert len(snippets(QUERIES_AND_SETS)) >= 4
    example = (EXAMPLES / "own_model.py").read_text(encoding="utf-8")
    (tmp_path / "all.py").write_text("\n".join([example, *snippets(QUERIES_AND_SETS)]))
    assert python("all.py", folder=tmp_path).count("score  rank") == 4


def test_what_if_runs_after_the_example(tmp_path):
    assert len(snippets(WHAT_IF)) >= 4
    example = (EXAMPLES / "own_model.py").read_text(encoding="utf-8")
    (tmp_path / "all.py").write_text("\n".join([example, *snippets(WHAT_IF), "print(measured.shape)"]))
    out = python("all.py", folder=tmp_path)
    assert "(4, 500)" in out
    assert "(50,)" in out


def upstream(*arguments: str) -> str:
    return python("-c", "import sys; from influence.cli import main; main()", *arguments)


def test_the_tutorials_options_exist():
    commands = set(re.findall(r"\bupstream ([a-z][a-z-]+) [\w-]", TUTORIAL + TEXTS)) | {"precompute"}
    known = "".join(upstream(command, "--help") for command in sorted(commands))
    benchmarks = set(re.findall(r"\bbenchmarks/\w+\.py", TUTORIAL + TEXTS))
    known += "".join((ROOT / name).read_text(encoding="utf-8") for name in sorted(benchmarks))
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", TUTORIAL + TEXTS)) - {"--constraint"}:
        assert option in known, option


def test_the_commands_that_papers_show_exist_with_their_options():
    shown: dict[str, set[str]] = {}
    for command, rest in re.findall(r"\bupstream ([a-z][a-z-]+)([^\n`]*)", COMMANDS):
        shown.setdefault(command, set()).update(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", rest))
    assert {"demo", "precompute", "validate", "leave-out", "explore"} <= set(shown)
    for command, options in shown.items():
        known = upstream(command, "--help")
        assert not {option for option in options if option not in known}, command


def test_the_tutorials_files_exist():
    for name in re.findall(r"(?:examples|influence|docs)/[\w./]+\.(?:py|md)", TUTORIAL + TEXTS):
        assert (ROOT / name).is_file(), name
