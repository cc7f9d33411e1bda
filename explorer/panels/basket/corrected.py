"""The corrected training data to take along: the examples as they would be, and what was changed of which."""

from __future__ import annotations

import pandas as pd

import influence.live
from explorer.export import spreadsheet
from explorer.panels.repair.subject import Subject
from explorer.ui import escape, theme
from influence.errors import UpstreamError

NO_TEXT = ("image",)
"""Columns that a table of text cannot hold; pictures stay as they are, and the changes say which part was blank."""
DATA_HELP = "The examples as they would be, with their ids: labels, texts and weights as edited."
CHANGES_HELP = "Which examples were changed, and how."


def draw(subject: Subject) -> None:
    """Draw a button for each table of each edited stage."""
    stages = list(dict.fromkeys(each.stage for each in subject.basket))
    for stage in stages:
        of = f" of {escape.for_markdown(theme.stage_word(stage))}" if len(stages) > 1 else ""
        _button(subject, stage, f"Corrected data{of}", DATA_HELP)
        _button(subject, f"{stage}-changes", f"Changes{of}", CHANGES_HELP)


def _button(subject: Subject, name: str, label: str, about: str) -> None:
    spreadsheet.button(lambda: table(subject, name), f"{subject.run.name}-{name}", f"corrected_{name}", label, about)


def table(subject: Subject, name: str) -> pd.DataFrame:
    """A table of the corrected data; one with the reason why there is none if an edit cannot be made."""
    try:
        found: pd.DataFrame = influence.live.altered_tables(subject.run, subject.basket)[name]
    except UpstreamError as error:
        return pd.DataFrame({"problem": [str(error)]})
    return found.drop(columns=list(NO_TEXT), errors="ignore")
