"""The chosen edit of an example, which the URL keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import streamlit as st

from explorer.ui import escape, state
from explorer.view import edits
from influence.live import RELABEL, Alteration
from influence.run import Run


def chosen(run: Run, stage: str, row: int) -> list[Alteration]:
    """The edit of this example that the URL names; one of another example is let go."""
    example = run.examples(stage).iloc[row]
    number, label, named = int(example["id"]), str(example["label"]), state.clicked(state.EDIT)

    def refusal(said: str) -> str:
        with contextlib.suppress(ValueError):  # no link holds so long a label
            if named == edits.text_of([Alteration(RELABEL, stage, number, label)], run):
                return f"Example #{number} has the label “{escape.for_markdown(label)}” already: nothing would change."
        return f"The link's edit “{said}” is none that can be made of this run's examples; nothing is edited."

    found = state.parsed(state.EDIT, lambda said: edits.parse(said, run)[0] or None, refusal)
    return [each for each in found or [] if (each.stage, each.id) == (stage, number)]


def choose(run: Run, made: Sequence[Alteration]) -> None:
    """Choose an edit, or none; for use in a callback. One that no link holds is told, and not chosen."""
    try:
        state.click(state.EDIT, edits.text_of(made, run))
    except ValueError as error:
        st.toast(escape.message(error))
