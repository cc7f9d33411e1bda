"""The tiny study's run, which retraining adds to."""

from __future__ import annotations

import shutil

import pytest
from tiny_runs import TinyBuilt

from influence.run.reading import Run
from influence.studies.built_in import STUDIES


@pytest.fixture(scope="session")
def tiny_folder(tiny_folders):
    return tiny_folders[0]


@pytest.fixture
def run(tiny_folder, tmp_path, monkeypatch):
    """A copy of one's own."""
    monkeypatch.setitem(STUDIES, "tiny", TinyBuilt)
    return Run.open(shutil.copytree(tiny_folder, tmp_path / "frozen"))
