"""Formulas of the documentation as MathML, which browsers draw by themselves: no script, no font, no network."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


class MathML(Postprocessor):
    """Turn what `pymdownx.arithmatex` found, LaTeX in the HTML of a page, into MathML."""

    def run(self, text: str) -> str:
        return FORMULA.sub(_mathml, text)


class Formulas(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802, the name is Markdown's
        md.postprocessors.register(MathML(md), "mathml", 0)


def makeExtension(**options: object) -> Formulas:  # noqa: N802, the name is Markdown's
    return Formulas(**options)


def _mathml(found: re.Match[str]) -> str:
    display = "block" if found[1] == "div" else "inline"
    return convert(html.unescape(found[2]).strip(), display=display)
