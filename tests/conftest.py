"""What the explorer's and the browser's tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """The module that writes small runs."""
    path = Path(__file__).parent / "explorer" / "small_run.py"
    spec = importlib.util.spec_from_file_location("small_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
