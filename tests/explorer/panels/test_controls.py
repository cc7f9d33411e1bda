"""The controls above the lists: names from data are labels letter by letter."""

import pytest

from explorer.panels.lists import controls


@pytest.mark.parametrize("stage", ["pretrain", "my_first-stage", "Größe 2", "a__b_", "x_-y"])
def test_usual_names_stand_in_the_address_as_they_are(stage):
    assert "\\" not in controls.stage_title(stage)


@pytest.mark.parametrize("stage", ["**bold**", ":red[x]", "[link](http://x)", "_x_", "a-_b_", "a $y$"])
def test_markdown_in_a_name_stays_text(stage):
    assert controls.stage_title(stage).replace("\\", "") == stage.capitalize()
    assert "\\" in controls.stage_title(stage)
