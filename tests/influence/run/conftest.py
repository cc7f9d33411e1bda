"""What tests of the run on disk share."""

from __future__ import annotations

import pytest
from two_stages import write


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path).path
