"""Text from data stays text: labels, ids and texts are never read as markdown or HTML."""

from __future__ import annotations

import html
import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])")


def for_markdown(text: object) -> str:
    """`text` so that Streamlit's markdown shows it letter by letter, on one line."""
    return _escaped(" ".join(str(text).split()))


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text.replace("\n", " "))


def message(error: object) -> str:
    """An error's words for Streamlit's markdown: only its `commands` are set as code, all else stays text."""
    parts = str(error).split("`")
    if len(parts) % 2 == 0:
        return for_markdown(error)
    return "".join(f"`{part}`" if place % 2 else _escaped(part) for place, part in enumerate(parts) if part)


def for_html(text: object) -> str:
    """`text` so that HTML shows it letter by letter, also inside a quoted attribute."""
    return html.escape(str(text), quote=True)
