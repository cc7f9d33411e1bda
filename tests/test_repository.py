"""What the README shows is what the repository runs; benchmarks and examples run in their smallest setting."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import influence

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=600,
        check=False,
    )


@pytest.mark.timeout(620)  # a minute or two, unless the machine is busy with something else
@pytest.mark.parametrize("benchmark", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_run_in_their_smallest_setting(benchmark):
    done = python(str(benchmark), "--smoke")
    assert done.returncode == 0, done.stderr
    assert "━" in done.stdout, "a table is printed"


def test_the_readme_shows_the_example_that_runs():
    text = (ROOT / "examples" / "own_model.py").read_text(encoding="utf-8")
    assert text.strip() in README
    done = python(str(ROOT / "examples" / "own_model.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("score  rank") == 2


def test_the_readmes_files_exist():
    for name in re.findall(r"\]\(([^)#]+)\)|`((?:examples|benchmarks|influence|explorer)/[\w./]+)`", README):
        path = next(filter(None, name))
        assert (ROOT / path).exists(), path


def test_the_changelog_names_this_version():
    assert f"## [{influence.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_backend_never_imports_the_explorer():
    for path in (ROOT / "influence").rglob("*.py"):
        assert not re.search(
            r"^\s*(from|import) (explorer|streamlit)", path.read_text(encoding="utf-8"), re.MULTILINE
        ), path


def test_pins_name_no_address():
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run"):
        assert not re.search(r"https?://|index-url|find-links", (ROOT / name).read_text(encoding="utf-8")), name
