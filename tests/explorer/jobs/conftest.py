"""No job outlives the test that began it."""

from __future__ import annotations

import pytest

from explorer.jobs import process


@pytest.fixture(autouse=True)
def _no_jobs():
    process._jobs.clear()
    yield
    process._end_all()
    process._jobs.clear()
