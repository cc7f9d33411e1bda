"""Every example runs, and the tutorial's commands and snippets are what the examples and the command line know."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from influence import Run, attribute
from influence.precompute import precompute
from influence.studies.exhibit import Exhibit
from influence.studies.userfile import from_file

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
TUTORIAL = (ROOT / "docs" / "your-own-model.md").read_text(encoding="utf-8")


def python(*arguments: object, folder: Path = ROOT) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
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


@pytest.fixture
def quick_map(monkeypatch):
    """Two coordinates in place of UMAP, which takes seconds."""
    monkeypatch.setattr("influence.precompute.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))


def test_folders_of_pictures(tmp_path):
    out = python(EXAMPLES / "image_folder.py", tmp_path)
    assert "Finished" in out
    run = Run.open(tmp_path / "runs" / "blots-frozen")
    assert run.stage("pretrain")["classes"] == ["green", "red"]
    assert len(run.queries()) == 8


@pytest.mark.usefixtures("quick_map")
def test_a_function_that_returns_an_exhibit(tmp_path):
    exhibit = from_file(f"{EXAMPLES / 'precompute_file.py'}:shapes")
    run = precompute([exhibit], ["shapes"], tmp_path, progress=False)[0]
    assert set(run.queries()["label"]) == {"left", "right"}
    assert run.queries()["image"][0].startswith(b"\x89PNG")
    assert run.stage("finetune")["test_accuracy"] > 0.8
    assert run.manifest["warnings"] == []


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


# The tutorial


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)


def test_the_tutorials_snippets_run_one_after_another(tmp_path):
    """Those that name a file are that file; the others continue each other."""
    assert len(snippets()) >= 4
    (tmp_path / "all.py").write_text("\n".join(snippets()))
    python("all.py", folder=tmp_path)


def test_the_tutorials_options_exist():
    known = python("-c", "import sys; from influence.cli import main; main()", "precompute", "--help")
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", TUTORIAL)) - {"--constraint"}:
        assert option in known, option


def test_the_tutorials_files_exist():
    for name in re.findall(r"(?:examples|influence|docs)/[\w./]+\.(?:py|md)", TUTORIAL):
        assert (ROOT / name).is_file(), name
