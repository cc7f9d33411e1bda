"""The template's colours are the theme's, in both modes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from streamlit.elements.lib import streamlit_plotly_theme

from explorer.charts import template
from explorer.ui import theme

CONFIG = Path(template.__file__).parents[1] / ".streamlit" / "config.toml"


@pytest.mark.parametrize(("mode", "palette"), [("light", theme.LIGHT), ("dark", theme.DARK)])
def test_placeholders_stand_for_the_colours_of_the_theme(mode, palette):
    of = tomllib.loads(CONFIG.read_text())["theme"][mode]
    names = (template.HELPFUL, template.HARMFUL, template.GREY, template.TEXT, *template.LINES, template.QUIET,
             template.BACKGROUND)  # fmt: skip
    shown = dict(zip(names, of["chartCategoricalColors"], strict=True))
    assert (shown[template.HELPFUL], shown[template.HARMFUL]) == (palette.helpful, palette.harmful)
    assert shown[template.GREY] == of["grayColor"]
    assert (shown[template.TEXT], shown[template.QUIET]) == (of["textColor"], palette.text)
    assert shown[template.BACKGROUND] == of["backgroundColor"]
    assert [shown[colour] for colour in template.LINES] == list(theme.CLASS_COLOURS[:4])


def test_streamlit_fills_in_these_placeholders():
    known = [getattr(streamlit_plotly_theme, f"CATEGORY_{place}") for place in range(10)]
    assert known == [template.HELPFUL, template.HARMFUL, template.GREY, template.TEXT, *template.LINES,
                     template.QUIET, template.BACKGROUND]  # fmt: skip


def test_a_drag_scrolls_the_page():
    assert template.figure([], 100, {}, {}).layout.template.layout.dragmode is False
