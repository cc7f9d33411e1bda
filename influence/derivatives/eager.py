"""Compiled code runs as it was written: the compiler would begin anew for every way in which derivatives are taken."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import torch

_LOCK = threading.Lock()
_BEFORE = contextlib.ExitStack()
"""Takes the setting back to what it was."""
_INSIDE: list[int] = []
"""Threads within the context, once for each time that they entered it."""


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Whatever went through `torch.compile` (a model, a part of one, a function, a loss) runs without it in here.

    The setting is global to the process; it is taken back when the last thread leaves.
    """
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and loading the compiler takes seconds
        yield
        return
    with _LOCK:
        if not _INSIDE:
            _BEFORE.enter_context(torch.compiler.set_stance("force_eager"))
        _INSIDE.append(threading.get_ident())
    try:
        yield
    finally:
        with _LOCK:
            _INSIDE.pop()
            if not _INSIDE:
                _BEFORE.close()
