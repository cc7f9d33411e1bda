"""The house as CONTRIBUTING draws it: imports of packages run downwards, modules form no circle, folders are small."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = {
    "influence": [
        {"__main__"},
        {"cli"},
        {"validation"},
        {"live"},
        {"precompute", "foreign", "huggingface"},
        {"studies"},
        {"attribution"},
        {"training", "curvature"},
        {"derivatives"},
        {"progress"},
        {"study", "run", "engine"},
        {"errors", "threads", "version"},
    ],
    "explorer": [
        {"__main__", "app"},
        {"app_pages"},
        {"panels"},
        {"components", "export", "lesson", "jobs"},
        {"trust"},
        {"charts"},
        {"view"},
        {"runs"},
        {"ui", "vendor"},
    ],
}
"""Top to bottom: a package imports from packages below it. Those of one level do not know each other."""
DOZEN = 12


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules(house: str) -> dict[str, Path]:
    return {name_of(file): file for file in sorted((ROOT / house).rglob("*.py"))}


@cache
def face(package: str) -> dict[str, str]:
    """What a package's face exports -> the module that it comes from."""
    stub = ROOT.joinpath(*package.split("."), "__init__.pyi")
    tree = ast.parse(stub.read_text(encoding="utf-8")) if stub.is_file() else ast.Module([], [])
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"{package}.{node.module}" for node in froms for alias in node.names}


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of the house that a module imports, also within functions and for type checkers."""
    house, found = module.split(".")[0], set()
    for node in ast.walk(ast.parse(modules(house)[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = ((f"{node.module}.{alias.name}", alias.name) for alias in node.names)
            found |= {
                full if full in modules(house) else face(node.module).get(name, node.module) for full, name in inside
            }
    return frozenset(found & modules(house).keys()) - {module}


@pytest.mark.parametrize("house", LEVELS)
def test_packages_import_from_packages_below_them(house):
    level = {package: place for place, packages in enumerate(LEVELS[house]) for package in packages}
    rooms = {name.split(".")[1] for name in modules(house) if "." in name}
    assert rooms <= level.keys(), "a new package has its place in LEVELS"
    upwards = [
        f"{module} imports {other}"
        for module in modules(house)
        for other in imports(module)
        if module != house and other != house
        for here, there in [(module.split(".")[1], other.split(".")[1])]
        if here != there and level[here] >= level[there]
    ]
    assert upwards == []


@pytest.mark.parametrize("house", LEVELS)
def test_modules_form_no_circle(house):
    TopologicalSorter({module: imports(module) for module in modules(house)}).prepare()  # raises CycleError


@pytest.mark.parametrize("house", LEVELS)
def test_no_folder_holds_more_than_a_dozen_files(house):
    files = [f for f in (ROOT / house).rglob("*") if f.suffix in (".py", ".js", ".css") and f.stem != "__init__"]
    counts = {
        str(folder.relative_to(ROOT)): sum(f.parent == folder for f in files) for folder in {f.parent for f in files}
    }
    assert {folder: count for folder, count in counts.items() if count > DOZEN} == {}
