"""Live answers that the page asks for again whenever it is drawn: computed once for all visitors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import streamlit as st

Value = TypeVar("Value")
LARGEST = 16
"""Answers that are kept; the oldest are dropped."""
_lock = threading.Lock()


@st.cache_resource(show_spinner=False)
def _known() -> OrderedDict[Hashable, Any]:
    return OrderedDict()


def once(key: Hashable, compute: Callable[[], Value]) -> Value:
    """The answer under `key`; `compute` may draw what it waits for. Nobody may change an answer."""
    known = _known()
    with _lock:
        if key in known:
            known.move_to_end(key)
            return known[key]
    found = compute()
    with _lock:
        known[key] = found
        while len(known) > LARGEST:
            known.popitem(last=False)
    return found
