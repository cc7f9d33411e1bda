"""The tiny study's run, which retraining adds to."""

from __future__ import annotations

import shutil

import pytest
from tiny_runs import TinyBuilt

from influence.precompute.runs import precompute
from influence.run.reading import Run
from influence.studies.built_in import STUDIES
from influence.studies.request import exhibits_for


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Of the variant "frozen"; nobody writes to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "tiny", TinyBuilt)
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        exhibits = exhibits_for("tiny", None, None, None, {}, {})
        return precompute(exhibits, ["frozen", "updated"], tmp_path_factory.mktemp("runs"), progress=False)[0].path


@pytest.fixture
def run(tiny_folder, tmp_path, monkeypatch):
    """A copy of one's own."""
    monkeypatch.setitem(STUDIES, "tiny", TinyBuilt)
    return Run.open(shutil.copytree(tiny_folder, tmp_path / "frozen"))
