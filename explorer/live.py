"""Live answers for pages: one opened study a run, shared by all visitors; pictures and drawings read with care."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from explorer import runs
from influence.errors import StudyError
from influence.live import Live, Target
from influence.run.reading import Run
from influence.studies.images.pictures import read_picture

LARGEST = 10 * 2**20
"""Bytes of the largest file that is looked at."""
DRAWN = "data:image/png;base64,"


class _Content(io.BytesIO):
    """Named in messages as people would, not by its address in memory."""

    def __repr__(self) -> str:
        return "its content"


def opened(run: Run) -> Live:
    """The run's study, ready to be asked.

    Raises:
        RunError, StudyError: it cannot be asked; the message says why and what to do.
    """
    return _opened(run, runs.computed(run))


@st.cache_resource(max_entries=2, show_spinner="Opening the run's models …")
def _opened(_run: Run, computed: int) -> Live:
    found = Live(_run)
    # While the visitor still thinks of a question; what goes wrong is told by the first question, which tries again.
    threading.Thread(target=_warm_up, args=(found,), daemon=True).start()
    return found


def _warm_up(opened: Live) -> None:
    with contextlib.suppress(Exception):
        opened.warm_up()


def scores(opened: Live, item: Any, target: Target) -> Mapping[str, np.ndarray]:
    """Stage -> scores of its examples; what is on the page already stays there while they are computed."""
    first = "" if opened.ready else "Before the first one an index is made, which may take a minute or two. "
    with st.spinner(f"{first}Following the answer back …"):
        return opened.scores(item, target)


def split(opened: Live, item: Any, target: Target, stage: str) -> Callable[[list[int]], Mapping[int, np.ndarray]]:
    """Rows of a stage's examples -> their scores split over tokens; empty where the stage has none."""
    return lambda examples: opened.shares(item, target, stage, examples) if opened.splits(stage) else {}


def uploaded(name: str, content: bytes) -> Image.Image:
    """The picture in an uploaded file.

    Raises:
        StudyError: it is too large, damaged, or no picture.
    """
    if len(content) > LARGEST:
        raise StudyError(f"The file has {len(content):,} bytes; at most {LARGEST:,} are read. Choose a smaller one.")
    return read_picture(Path(Path(name).name), _Content(content))


def drawn(address: str) -> Image.Image:
    """The drawing that the canvas sent.

    Raises:
        StudyError: what it sent is no picture.
    """
    try:
        if not address.startswith(DRAWN):
            raise ValueError
        content = base64.b64decode(address.removeprefix(DRAWN), validate=True)
    except (ValueError, binascii.Error) as error:
        raise StudyError("What was drawn is no picture. Clear the canvas and draw again.") from error
    return uploaded("drawing.png", content)
