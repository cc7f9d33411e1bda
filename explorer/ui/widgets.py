"""Widgets that several pages draw in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import streamlit as st

Option = TypeVar("Option")


def choice(label: str, options: Sequence[Option], key: str, **more: Any) -> Option:
    """Draw a choice among a few options, the first of them unless the URL has another under `key`.

    `more` goes to `st.segmented_control`.
    """
    chosen = st.segmented_control(
        label, options, default=options[0], required=True, key=key, bind="query-params", **more
    )
    # What the session holds may be an option of another run or stage.
    return chosen if chosen in options else options[0]
