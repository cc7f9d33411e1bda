"""All that the computation of a run says of its scores: whether they have a unit, its warnings, its notes."""

from __future__ import annotations

import streamlit as st

from explorer.ui import theme
from explorer.ui.escape import for_markdown
from influence.run import Run, slope_of


def draw(run: Run) -> None:
    """Draw warnings as such, and apart from them what is only how the scores were computed."""
    manifest = run.manifest
    lost = run.order_only(manifest.default_method)
    if lost:
        st.warning(
            "**Order only**: how large the scores are means nothing, only their order for a prediction does. "
            + " ".join(map(for_markdown, lost)),
            icon=":material/warning:",
        )
    for stage in run.stages:
        if slope := slope_of(run, manifest.default_method, stage):
            st.info(
                for_markdown(f"{theme.stage_word(stage).capitalize()}: {slope.words}"), icon=":material/straighten:"
            )
    for warning in manifest.warnings:
        if warning not in lost:
            st.warning(for_markdown(warning), icon=":material/warning:")
    if not lost and not manifest.warnings:
        st.caption("No warnings were raised while computing.")
    if manifest.notes:
        st.markdown("**How the scores were computed**")
        st.markdown("\n".join(f"- {for_markdown(note)}" for note in manifest.notes))
