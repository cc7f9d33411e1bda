"""What the app says when there is no run to show, or when some of them cannot be shown."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from explorer import plain
from influence.errors import RunError
from influence.run import read_manifest


def draw(root: Path, bad: dict[str, str]) -> None:
    """The start page: no run can be opened."""
    with st.container(width=720):
        _words(root, bad)


def _words(root: Path, bad: dict[str, str]) -> None:
    st.title("No run to show yet" if not bad else "No run can be shown")
    st.markdown(
        f"The explorer looks for runs in {plain.for_markdown(root)}. A run is a folder that the backend writes; it "
        "holds one finetuned model and what each of its predictions came from."
    )
    st.markdown("Make the built-in example, which takes a few minutes, and reload this page:")
    st.code("upstream demo", language="bash")
    st.markdown("Or open another folder of runs:")
    st.code("upstream explore --runs FOLDER", language="bash")
    for message in bad.values():
        st.error(plain.message(message), icon=":material/error:")


def missing(root: Path, wanted: str, bad: dict[str, str]) -> None:
    """The link names a run that cannot be opened: say why."""
    message = bad.get(wanted)
    if message is None:
        try:
            # A name from the URL must not lead out of the folder of runs.
            read_manifest(root / Path(wanted).name)
            message = f"The link names run {wanted}, which is not in {root}."
        except RunError as error:
            message = str(error)
    st.error(plain.message(message) + " Another run is shown below.", icon=":material/error:")


def others(bad: dict[str, str]) -> None:
    """Runs beside the shown one that cannot be opened."""
    with st.expander(f"{len(bad)} more {'run' if len(bad) == 1 else 'runs'} in this folder cannot be shown"):
        for message in bad.values():
            st.warning(plain.message(message), icon=":material/warning:")
