"""What the README shows is what the repository runs; benchmarks and examples run in their smallest setting."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import influence

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAPERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""What people read: the links of each hold on a forge page and on the site."""


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


FORKS = """
import os, runpy, sys
import pandas, scipy.stats, sklearn.datasets, torch
import influence.attribution.scores, influence.precompute.runs, influence.training.retraining
import influence.validation.suite
for line in sys.stdin:
    script, out, errors = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child == 0:
        for number, path in enumerate((os.devnull, out, errors)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
        sys.argv, sys.path[0] = [script, "--smoke"], os.path.dirname(script)
        runpy.run_path(script, run_name="__main__")
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""A process for each script, all of them born with what takes seconds to import."""


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Run a benchmark in its smallest setting: exit code, output, errors."""
    folder, environment = tmp_path_factory.mktemp("smoke"), {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as forks:

        def run(script):
            out, errors = (folder / f"{script.stem}.{kind}" for kind in ("out", "errors"))
            forks.stdin.write(f"{script}\t{out}\t{errors}\n")
            forks.stdin.flush()
            code = forks.stdout.readline().strip()
            return code, out.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8")

        yield run


@pytest.mark.timeout(620)  # a minute or two, unless the machine is busy with something else
@pytest.mark.parametrize("benchmark", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_run_in_their_smallest_setting(benchmark, smoke):
    code, out, errors = smoke(benchmark)
    assert code == "0", errors
    assert "━" in out, "a table is printed"


@pytest.fixture(scope="module")
def own_model():
    """What the example prints that the README names."""
    done = python(str(ROOT / "examples" / "own_model.py"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_that_the_readme_names_runs(own_model):
    assert own_model.count("score  rank") == 2


def test_what_the_readme_shows_runs_in_its_place_of_the_example(own_model, tmp_path):
    """Models and data are the example's; stages, study, loss and scores are the README's, and nothing else of it."""
    example = (ROOT / "examples" / "own_model.py").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    before, _ = example.split("study = Study(")
    for piece in ("from influence import Stage, Study, attribute\n", "study = Study(", "def loss(outputs, batch):"):
        assert piece in shown, piece
        assert piece in example, piece
    (tmp_path / "readme.py").write_text(
        f"{before}\n{shown}\nassert scores.values.shape == (50, 500)\n", encoding="utf-8"
    )
    done = python(str(tmp_path / "readme.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("score  rank") == 2
    assert own_model.startswith(done.stdout), "the README's lists are the example's"


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_files_that_papers_name_exist(paper):
    text = paper.read_text(encoding="utf-8")
    for name in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[\w-]+)?\)", text):
        assert (paper.parent / name).exists(), name
    for name in re.findall(r"`((?:examples|benchmarks|influence|explorer|tests|docs)/[\w./]+)`", text):
        assert (ROOT / re.sub(r"[\w.]*(NAME|KIND)[\w.]*$", "", name)).exists(), name


@pytest.mark.parametrize("package", ["influence", "explorer"])
def test_the_picture_of_the_house_has_every_door(package):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split(f"`{package}/`, arrows point down:")[1].split("\n\n")[1]
    named = {
        name.removesuffix(".py")
        for first in re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)
        for name in re.findall(r"`([\w.]+)`", first)
    }
    doors = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert named == doors - {"__init__"}


def test_the_changelog_names_this_version():
    assert f"## [{influence.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_backend_never_imports_the_explorer():
    for path in (ROOT / "influence").rglob("*.py"):
        assert not re.search(
            r"^\s*(from|import) (explorer|streamlit)", path.read_text(encoding="utf-8"), re.MULTILINE
        ), path


def test_pins_name_no_address():
    for name in ("constraints.txt", "pyproject.toml", "zensical.toml", "Makefile", ".ci/run"):
        assert not re.search(r"https?://|index-url|find-links", (ROOT / name).read_text(encoding="utf-8")), name


def test_the_explorer_enters_the_backend_by_three_doors():
    doors = {"influence.run", "influence.live", "influence.errors"}
    for path in (ROOT / "explorer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            entered = {name for name in names if name.split(".")[0] == "influence"}
            assert entered <= doors, f"{path} enters by {entered - doors}"
