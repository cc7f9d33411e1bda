"""What the explorer's and the browser's tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from influence import Run
from influence.precompute.runs import precompute
from influence.studies.exhibit import Exhibit

LONGEST = (
    "test_repository", "test_try_it", "test_examples", "test_learn", "test_device", "test_explore", "test_text_pages",
    "test_demo_launch", "test_accessibility", "test_two_stages", "test_learn_page", "test_launch",
)  # fmt: skip
"""Files of half a minute and more, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest begin first: at the end no process waits for another's long file."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files are not forced to the disk, which takes a third of a small run's time; tests of that put in their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """The module that writes small runs."""
    return _module("small_run")


@pytest.fixture(scope="session")
def small_checks() -> ModuleType:
    """The module that puts checks into them."""
    return _module("small_checks")


@pytest.fixture(scope="session")
def completions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Exhibit]:
    """A finished run of the tiny language model that answers, read by many tests and changed by none, and its exhibit.

    The run is alone in its folder.
    """
    torch.set_num_threads(1)
    exhibit = _module("tiny_completions", "influence").exhibit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        (run,) = precompute([exhibit], ["completions"], tmp_path_factory.mktemp("completions"), progress=False)
    return run, exhibit


@pytest.fixture(scope="session")
def strongest_roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a run that keeps all scores, and of one of the same study that keeps the 10 strongest, called run."""
    torch.set_num_threads(1)
    found = []
    for keep in ("all", "strongest:10"):
        exhibit = _module("tiny", "influence").two_exhibits()[0]
        root = tmp_path_factory.mktemp("strongest")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("influence.precompute.pieces.keeping.SAMPLE", 14)
            patch.setattr("influence.precompute.steps.SAMPLE", 14)
            precompute([exhibit], ["run"], root, progress=False, keep=keep)
        found.append(root)
    return found[0], found[1]


def _module(name: str, folder: str = "explorer") -> ModuleType:
    path = Path(__file__).parent / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
