"""The scripts of the app's own components."""

from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "explorer" / "components").rglob("*.js"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_elements_are_made_in_one_place_and_never_from_markup(script):
    source = script.read_text(encoding="utf-8")
    assert "document.createElement" not in source or script.name == "dom.js"
    assert not any(word in source for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"))
