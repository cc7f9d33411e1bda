"""Imports inside the explorer run one way: no module, and no package, needs one that needs it."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "explorer").rglob("*.py"):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imports() -> dict[str, set[str]]:
    """Module -> modules of the explorer that it imports, inside functions too."""
    known, found = modules(), {}
    for module, path in known.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = [(node.module or "", alias.name) for node in nodes for alias in node.names]
        places = [f"{base}.{name}" if f"{base}.{name}" in known else base for base, name in names]
        found[module] = {place for place in places if place in known} - {module}
    return found


@pytest.mark.parametrize("depth", [2, 3, 9], ids=["packages", "packages of panels", "modules"])
def test_imports_have_no_circle(depth):
    graph: dict[str, set[str]] = {}
    for module, needed in imports().items():
        name = ".".join(module.split(".")[:depth])
        graph.setdefault(name, set()).update({".".join(other.split(".")[:depth]) for other in needed} - {name})
    assert len(list(TopologicalSorter(graph).static_order())) > 9
