"""The switch between a study's finetuned models; the prediction and all choices stay."""

from __future__ import annotations

import streamlit as st

from explorer.runs import folder, matching
from explorer.ui import escape, state
from explorer.view import switching
from influence.run import Run


def draw(run: Run) -> None:
    """Draw the switch, if the study has other finetuned models in the folder of runs."""
    family = matching.siblings(folder.manifests(state.runs_folder()), run)
    if len(family) < 2:
        return
    names = titles(family)
    st.session_state[state.MODEL] = run.name
    st.segmented_control(
        "Finetuned model",
        list(names),
        key=state.MODEL,
        required=True,
        format_func=lambda name: names[name],
        on_change=lambda: switching.to(st.session_state[state.MODEL]),
        help="Models that this study finetuned from the same pretraining. The prediction and all choices stay.",
    )


def titles(family: list[Run]) -> dict[str, str]:
    """Name of each run -> what it is called beside the others: its variant, where that tells it apart."""
    variants = [run.manifest.variant for run in family]
    telling = all(variants) and len(set(variants)) == len(variants)
    return {
        run.name: escape.for_markdown(variant.capitalize() if telling else run.name)
        for run, variant in zip(family, variants, strict=True)
    }
