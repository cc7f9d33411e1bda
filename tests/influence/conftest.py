"""Fixtures of the tests that write runs; the study itself is in tiny.py."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import compute


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Networks as small as these are many times slower on several threads of a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture
def quick_map(monkeypatch):
    """The two first coordinates in place of UMAP, which takes seconds."""
    monkeypatch.setattr(
        "influence.precompute.map_of",
        lambda vectors, others, seed: (vectors[:, :2].astype("f4"), others[:, :2].astype("f4"), "two coordinates"),
    )


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Both variants, computed without interruption; nobody writes to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        return compute(tmp_path_factory.mktemp("runs"))
