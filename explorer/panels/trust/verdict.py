"""The verdict on a run's lists, and the findings that it follows from."""

from __future__ import annotations

import streamlit as st

from explorer.trust import verdict
from explorer.trust.verdict import Finding, Verdict
from explorer.ui import escape, theme


def draw(found: Verdict) -> None:
    st.html(html(found))


def html(found: Verdict) -> str:
    """The verdict as HTML; a mark says the answer by its shape, its word and its colour."""
    answers = "".join(finding_html(finding) for finding in found.findings)
    return (
        f'<section class="up-verdict up-{found.level}" aria-label="Verdict">'
        f'<p class="up-headline"><span class="up-mark" aria-hidden="true">{verdict.MARKS[found.level]}</span> '
        f"{escape.for_html(found.headline)}</p><p>{escape.for_html(found.advice)}{so_far(found)}</p>"
        f'<dl class="up-answers">{answers}</dl></section>'
    )


def so_far(found: Verdict) -> str:
    """How many of the questions are answered, where some are not."""
    known = sum(finding.mark != verdict.UNKNOWN for finding in found.findings)
    if known in (0, len(found.findings)):
        return ""
    return f' <span class="up-quiet">{known} of {len(found.findings)} questions are answered so far.</span>'


def finding_html(finding: Finding) -> str:
    """One question, the finding in a word, and its figures."""
    mark = f'<span class="up-mark">{verdict.MARKS[finding.mark]}</span> {MARK_WORDS[finding.mark]}'
    return (
        f"<dt>{escape.for_html(finding.question)}</dt>"
        f'<dd><b class="up-{finding.mark}">{mark}</b> {escape.for_html(finding.words)}</dd>'
    )


MARK_WORDS = {verdict.YES: "yes.", verdict.PARTLY: "partly.", verdict.NO: "no.", verdict.UNKNOWN: "not known."}
RULES = (
    f"Rules: a correlation counts as yes from {verdict.AGREES[0]} (sums over subsets: {verdict.ORDERS[0]}), as partly "
    f"from {verdict.AGREES[1]} ({verdict.ORDERS[1]}), both at the low end of its 95 % interval; a list stays if "
    f"{theme.percent(verdict.STAYS[0])} of it do, partly from {theme.percent(verdict.STAYS[1])}; sizes are "
    "right within a factor of two. The headline follows the worse of the first two answers, and a no to one of the "
    "next two; the last says for which models it holds."
)
