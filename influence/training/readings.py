"""`Readings`: what a data set's examples were when they were first read, so that data which change are found."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.errors import StudyError, printable
from influence.study.study import Study

EXAMPLES = 32
"""Examples of a data set that are compared: the first, the last, and others evenly spaced."""
MOST_LINKS = 8
"""Data sets within data sets (`Subset` and the like) that are looked through for files."""


class Readings:
    """Some examples of a data set, and size and time of the files that it is read from, as they were first.

    Examples that are not the same when they are read twice at once are not compared: whether that matters is judged by
    their losses. The files are those that the data set names itself: paths in its attribute `files`, or in that of the
    data set that it is a part of (`Subset.dataset`); `cache_files` of Hugging Face `datasets`.

    Args:
        data: a map-style data set.
        what: it is, for messages.

    Attributes:
        examples: position, as JSON has it (text) -> hash of what was read.
    """

    def __init__(self, data: Any, what: str):
        self.data, self.what = data, what
        places = np.linspace(0, len(data) - 1, min(EXAMPLES, len(data))).round().astype(int).tolist()
        first = {str(place): self._hash(place) for place in places}
        self.examples = {place: found for place, found in first.items() if found and found == self._hash(int(place))}
        self.files = {path: stamp for path in _files_of(data) if (stamp := _stamp(path)) is not None}

    def refuse_changed(self) -> None:
        """Compare with the data as they are now.

        Raises:
            StudyError: an example or a file is not what it was; the message says which.
        """
        for path, before in self.files.items():
            now = _stamp(path)
            if now != before:
                state = "is not there any more" if now is None else "was changed"
                raise StudyError(f"{self.what}: {printable(path)} {state} since it was first read. {ADVICE}")
        self._compare({place: self._hash(int(place)) for place in self.examples}, self.examples)

    def refuse_others(self, then: Mapping[str, str]) -> None:
        """Compare with the `examples` that another process began with.

        Raises:
            StudyError: an example is another.
        """
        self._compare(self.examples, then)

    def _compare(self, now: Mapping[str, str | None], then: Mapping[str, str]) -> None:
        for place, before in then.items():
            if now.get(place, before) != before:
                raise StudyError(f"{self.what}: example {place} is not what it was when it was first read. {ADVICE}")

    def _hash(self, place: int) -> str | None:
        try:
            return _hash(self.data[place])
        except Exception:  # of a user's code: whoever reads all examples says what it was, and where
            return None


@contextlib.contextmanager
def unchanged(study: Study, first: int) -> Iterator[None]:
    """Compare the queries and the data of the stages from number `first` on after the context with those before it.

    Raises:
        StudyError: an example or a file is not what it was.
    """
    named = [(stage.data, f"Stage {stage.name!r}") for stage in study.stages[first:]]
    readings = [Readings(data, what) for data, what in (*named, (study.queries, "The queries"))]
    yield
    for each in readings:
        each.refuse_changed()


ADVICE = "Data must stay as they are from training to the last score: put them back, or begin anew with those of now."


def _hash(example: Any) -> str:
    """Of the numbers, texts and tensors in an example; other objects are told by their types alone."""
    digest = hashlib.sha256()
    for path, leaf in pytree.tree_flatten_with_path(example)[0]:
        digest.update(str(path).encode())
        if isinstance(leaf, Tensor):
            value = leaf.detach().cpu().contiguous()
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(leaf, np.ndarray) and leaf.dtype != object:
            digest.update(f"{leaf.dtype} {leaf.shape}".encode() + np.ascontiguousarray(leaf).tobytes())
        elif isinstance(leaf, str | bytes | int | float | complex | bool | np.generic | None):
            digest.update(f"{type(leaf)} {leaf!r}".encode(errors="surrogatepass"))
        else:
            digest.update(str(type(leaf)).encode())
    return digest.hexdigest()[:16]


def _files_of(data: Any) -> Iterable[str]:
    """Paths that a data set says it is read from, each once."""
    for _ in range(MOST_LINKS):
        named = getattr(data, "files", None) or getattr(data, "cache_files", None)
        if isinstance(named, list | tuple):
            paths = [each.get("filename") if isinstance(each, Mapping) else each for each in named]
            return dict.fromkeys(os.fspath(path) for path in paths if isinstance(path, str | os.PathLike))
        data = getattr(data, "dataset", None)
    return ()


def _stamp(path: str) -> tuple[int, int] | None:
    """Size and time of a file; None: there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
