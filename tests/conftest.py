"""What the explorer's and the browser's tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """The module that writes small runs."""
    return _module("small_run")


@pytest.fixture(scope="session")
def small_checks() -> ModuleType:
    """The module that puts checks into them."""
    return _module("small_checks")


def _module(name: str) -> ModuleType:
    path = Path(__file__).parent / "explorer" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
