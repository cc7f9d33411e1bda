"""Fixtures of the tests that write runs; the study itself is in tiny.py."""

from __future__ import annotations

import pytest
import torch


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
