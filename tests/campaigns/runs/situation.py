"""One situation of a campaign on runs: what is done to a run, and what must hold afterwards."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

EXPLORER = Path(__file__).parents[2] / "explorer"


@dataclass(frozen=True)
class Situation:
    """`check` gets an empty folder of its own, and raises where the product falls.

    The suite tries the quick ones, at most a second each; `make campaigns` tries all.
    """

    campaign: str
    name: str
    check: Callable[[Path], None]
    quick: bool = False

    def __str__(self) -> str:
        return f"{self.campaign}: {self.name}"


def small_runs() -> ModuleType:
    """The module whose `write_run(root, name, seed=0)` writes a small finished run."""
    spec = importlib.util.spec_from_file_location("small_run", EXPLORER / "small_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
