"""Caches of what is computed from a run: one copy serves all visitors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import streamlit as st

from influence.run import MAP, SHARES, Run, belongs_to

P = ParamSpec("P")
R = TypeVar("R")


def per_run(max_entries: int, show_spinner: str | bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function of runs and of values that can be hashed: each call is computed once for all visitors.

    Runs are told apart by their checksums: one that is computed again is another run. Results are shared, so nobody may
    change them.
    """
    by_checksum: dict[str | type[Any], Callable[[Any], Any]] = {Run: lambda run: run.manifest.checksum}
    decorated = st.cache_resource(max_entries=max_entries, show_spinner=show_spinner, hash_funcs=by_checksum)
    return cast(Callable[[Callable[P, R]], Callable[P, R]], decorated)


def computed(run: Run) -> int:
    """A hash of the run's files without those that are added to it later, by checks or as its pending parts."""
    methods = {record.method for record in run.manifest.scores} - {run.manifest.default_method}
    files = {name: digest for name, digest in run.manifest.files.items() if not name.startswith("validation/")}
    return hash(frozenset(item for item in files.items() if not belongs_to(item[0], (MAP, SHARES, *methods))))
