"""Files from which visitors add examples: kept by this server until it ends, each under a digest of what it holds."""

from __future__ import annotations

import atexit
import contextlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from influence.live import ADD, NONE, Alteration, addition

_DIGEST = re.compile(r"[0-9a-f]{16}")
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@st.cache_resource(show_spinner=False)
def _folder() -> Path:
    found = Path(tempfile.mkdtemp(prefix="upstream-pools-"))
    atexit.register(shutil.rmtree, found, ignore_errors=True)
    return found


def keep(name: str, files: Mapping[str, bytes]) -> str:
    """Keep a file (`files` has one entry, "") or a folder (path within it -> content) called `name`; its digest."""
    staged = Path(tempfile.mkdtemp(dir=_folder()))
    whole = staged / (_ODD.sub("-", Path(name).name).strip("-.") or "file")
    for inner, content in files.items():
        path = whole / inner if inner else whole
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    digest = str(addition("", whole).value[1])
    with contextlib.suppress(OSError):  # the same is kept already
        staged.rename(_folder() / digest)
    shutil.rmtree(staged, ignore_errors=True)
    return digest


def at(digest: str) -> Path | None:
    """Where the file or folder of this digest is; None if this server does not keep it."""
    place = _folder() / digest if _DIGEST.fullmatch(digest) else None
    if place is None or not place.is_dir():
        return None
    return next(iter(place.iterdir()), None)


def added(stage: str, digest: str) -> Alteration | None:
    """The edit that adds all examples of a kept file or folder to a stage; None if it is not kept."""
    path = at(digest)
    return None if path is None else Alteration(ADD, stage, NONE, (str(path.resolve()), digest))
