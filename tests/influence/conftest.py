"""Fixtures of the tests that write runs; the study itself is in tiny.py."""

from __future__ import annotations

import pytest


@pytest.fixture
def quick_map(monkeypatch):
    """The two first coordinates in place of UMAP, which takes seconds."""
    monkeypatch.setattr(
        "influence.precompute.map_of",
        lambda vectors, others, seed: (vectors[:, :2].astype("f4"), others[:, :2].astype("f4"), "two coordinates"),
    )
