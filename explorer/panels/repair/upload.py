"""More examples that a visitor uploads: a table of texts, or pictures of one class."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from explorer.panels.prediction import uploads
from explorer.panels.prediction.question import KINDS
from explorer.panels.repair.subject import Subject
from explorer.ui import escape, state, theme
from explorer.view import pools
from influence.errors import StudyError, UpstreamError
from influence.live import Alteration
from influence.run import Run

TABLES = ("csv", "tsv", "parquet", "jsonl")
"""Kinds of files of texts."""
MOST_PICTURES = 100
"""Pictures of one upload."""
FIELD, CLASS = "pool_files", "pool_class"
"""Session keys of the widgets."""


def possible(subject: Subject) -> bool:
    """Whether files can hold examples of the stage: texts, or pictures of classes."""
    examples = subject.examples
    return "text" in examples or ("image" in examples and bool(subject.run.stage(subject.stage).classes))


def draw(subject: Subject) -> None:
    """Draw the field for files, which are the pool from then on; nothing for stages that no file can add to."""
    if not possible(subject):
        return
    texts, classes = "text" in subject.examples, [str(name) for name in subject.run.stage(subject.stage).classes]
    with st.expander("Add from a file of yours", icon=":material/upload_file:", key="pool_upload", on_change="rerun"):
        if texts:
            columns = " and ".join(f"“{name}”" for name in _columns(subject.run)[: 1 + bool(classes)])
            st.caption(escape.for_markdown(f"A table with the column{'s' * bool(classes)} {columns}."))
        else:
            st.selectbox("Their class", classes, key=CLASS, format_func=theme.group_name, width=240)
        st.file_uploader(
            "A file of texts" if texts else "Pictures",
            type=list(TABLES if texts else KINDS),
            accept_multiple_files=not texts,
            key=FIELD,
            max_upload_size=uploads.LARGEST_FILE // 2**20,
        )
        st.button("Take it as the pool", key="pool_take", on_click=_take, args=(texts,))


def _take(texts: bool) -> None:
    files = st.session_state.get(FIELD)
    try:
        if not files:
            raise StudyError("Nothing is uploaded yet. Choose a file first.")
        digest = (
            pools.keep(files.name, {"": files.getvalue()})
            if texts
            else pools.keep("pictures", pictures(str(st.session_state[CLASS]), [(f.name, f.getvalue()) for f in files]))
        )
    except UpstreamError as error:
        state.notice(escape.message(error))
        return
    state.click(state.POOL, digest)


def pictures(label: str, given: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
    """Path within a folder of class folders -> PNG, of uploaded pictures of one class.

    Raises:
        StudyError: one is none, there are too many, or the class's name cannot be a folder's.
    """
    if len(given) > MOST_PICTURES:
        raise StudyError(f"{len(given)} pictures are uploaded at once, at most {MOST_PICTURES} are taken.")
    if label.startswith(".") or set("/\\\0") & set(label):
        raise StudyError(f"No folder can be called as the class {label!r}, so no picture of it can be uploaded.")
    found = {}
    for number, (name, content) in enumerate(given):
        buffer = io.BytesIO()
        uploads.upload(name, content).save(buffer, "PNG")
        found[f"{label}/{number}.png"] = buffer.getvalue()
    return found


def part(subject: Subject, pool: pd.DataFrame, rows: Sequence[int]) -> list[Alteration]:
    """The edit that adds some examples of an uploaded pool, which become a pool of their own."""
    chosen = pool.iloc[list(rows)]
    if not len(chosen):
        return []
    several = "s" if len(chosen) > 1 else ""
    if "file" in chosen:
        files = {
            f"{label}/{place}.png": Path(path).read_bytes()
            for place, (label, path) in enumerate(zip(chosen["label"], chosen["file"], strict=True))
        }
        kept = pools.keep(f"{len(chosen)}-picture{several}", files)
    else:
        text, label = _columns(subject.run)
        table = pd.DataFrame({text: chosen["text"].to_numpy(), label: chosen["label"].to_numpy()})
        lines = table.to_json(orient="records", lines=True)  # every text stays as it is, which as CSV it need not
        kept = pools.keep(f"{len(chosen)}-text{several}.jsonl", {"": lines.encode()})
    edit = pools.added(subject.stage, kept)
    return [] if edit is None else [edit]


def _columns(run: Run) -> tuple[str, str]:
    """Names of the columns of texts and labels, as the run's own files have them."""
    named = run.manifest.asked.get("options") or {}
    return str(named.get("text_column") or "text"), str(named.get("label_column") or "label")
