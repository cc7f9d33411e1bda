"""A package's `__init__` exports its face, and imports nothing before it is used."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FACES = sorted(".".join(stub.parent.relative_to(ROOT).parts) for stub in (ROOT / "influence").rglob("__init__.pyi"))
PAPERS = [ROOT / "README.md", ROOT / "influence" / "CONTRACT.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("face", FACES)
def test_every_name_of_a_face_is_there_and_hides_no_module(face):
    package = importlib.import_module(face)
    modules = {path.stem for path in Path(package.__path__[0]).iterdir()}
    assert package.__all__
    for name in package.__all__:
        exported = getattr(package, name)
        assert inspect.ismodule(exported) or name not in modules, "importing that module would take the name's place"


def test_faces_import_nothing_before_they_are_used():
    script = f"import sys, {', '.join(FACES)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pandas", "zarr", "rich"} & set(loaded)


def test_names_that_the_papers_import_are_there():
    statements = [
        line for paper in PAPERS for line in re.findall(r"^from influence.*", paper.read_text(), re.MULTILINE)
    ]
    assert len(statements) > 5
    for statement in statements:
        exec(statement, {})
