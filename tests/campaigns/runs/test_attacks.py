"""The quick part of the campaigns on runs, and that a fall is seen."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest
from attacks import SITUATIONS, fall
from situation import Situation


@pytest.fixture(autouse=True)
def _environment():
    """What a situation sets for the pages that it draws, the next test does not have."""
    with patch.dict(os.environ):
        yield


@pytest.mark.parametrize("situation", [situation for situation in SITUATIONS if situation.quick], ids=str)
def test_nothing_falls(situation, tmp_path):
    situation.check(tmp_path)


def test_a_fall_is_told_with_its_reason():
    def check(folder):
        raise KeyError(folder.is_dir())

    assert fall(Situation("harness", "a missing key", check)) == "KeyError: True"
    assert fall(Situation("harness", "an empty folder", lambda folder: None)) == ""
