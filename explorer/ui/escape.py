"""Text from data stays text: labels, ids and texts are never read as markdown or HTML."""

from __future__ import annotations

import html
import re

from influence.errors import UNSEEN

# Newlines and tabs do what they do everywhere; other characters that cannot be seen are written as a symbol or by their
# number: those of bidirectional text would turn round what stands beside them.
_SYMBOLS = (
    {code: f"[U+{code:04X}]" for code in UNSEEN}
    | {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
    | {0x7F: "\N{SYMBOL FOR DELETE}", ord("\n"): "\n", ord("\t"): "\t"}
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])")
_READ_LATER = re.compile(
    r"(?<=://)(?=[-\w]*\.)|(?<=www)(?=\.)|(?<=[-.\w+])(?=@[-\w]+\.)"  # addresses
    r"|(?<=\s[-<>~])(?=(?:[-=>]|->)(?:\s|$))",  # arrows
    re.IGNORECASE,
)
"""Where Streamlit makes links of addresses, and `→` of `->`, in what was escaped, too: in the text that comes out."""
_JOINER = "\N{WORD JOINER}"
"""A character that is nothing but in the way."""


def visible(text: object) -> str:
    """`text` with control characters written as symbols; all else, markup and newlines included, is left as it is."""
    return str(text).replace("\r\n", "\n").translate(_SYMBOLS)


def beginning(text: object, longest: int) -> str:
    """The first `longest` characters of a text as `visible` shows them, and a sign if there are more."""
    whole = str(text)
    return visible(whole if len(whole) <= longest else whole[:longest].rstrip() + " …")


def isolated(name: object) -> str:
    """A name from data as HTML that keeps its own direction of reading, whichever way it is written."""
    return f"<bdi>{for_html(name)}</bdi>"


def for_markdown(text: object) -> str:
    """`text` so that Streamlit's markdown shows it letter by letter, on one line."""
    return _escaped(" ".join(str(text).split()).translate(_SYMBOLS))


def _escaped(line: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _READ_LATER.sub(_JOINER, line))


def message(error: object) -> str:
    """An error's words for Streamlit's markdown: only its `commands` are set as code, all else stays text."""
    text = " ".join(str(error).split()).translate(_SYMBOLS)
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return for_markdown(text)
    return "".join(f"`{part}`" if place % 2 else _escaped(part) for place, part in enumerate(parts) if part)


def for_html(text: object) -> str:
    """`text` so that HTML shows it letter by letter, also inside a quoted attribute."""
    return html.escape(visible(text), quote=True)


def for_plotly(text: object) -> str:
    """`text` so that a plotly figure shows it letter by letter, on one line.

    Plotly reads some HTML in names, labels and hover texts, and `%{...}` as what is to be filled in; Streamlit's theme
    takes `#000001` and the like for a colour.
    """
    whole = html.escape(" ".join(visible(text).split()), quote=False)
    return whole.replace("#", "&#35;").replace("%{", "&#37;{")
