"""Odd `asked`: what run.json says of how its study is made again, in forms that no command of ours writes.

A run may be looked at whatever it says there; what makes its study again (Try it, checks, retraining) refuses it by a
named error, before anything is read or computed by it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from situation import EXPLORER, Situation, small_runs

from influence import cli
from influence.errors import UpstreamError
from influence.run import asked_of
from influence.run.files import manifest_checksum
from influence.run.reading import Run
from influence.studies.from_run import exhibit_of

DIGITS = {"study": "digits", "images": None, "texts": None, "seed": None, "options": {}, "solving": {}}
SAME = "/nowhere"
NESTED: Any = json.loads("[" * 400 + "]" * 400)

ODD: dict[str, Mapping[str, Any]] = {
    # Kinds
    "a study that is a number": {"study": 5},
    "a study that is true": {"study": True},
    "a study that is a list": {"study": ["digits"]},
    "a study that is an object": {"study": {"digits": 1}},
    "images that are a text": {"study": None, "images": "abc"},
    "images that are numbers": {"study": None, "images": [1, 2, 3]},
    "images that are an object": {"study": None, "images": {"0": "a", "1": "b", "2": "c"}},
    "images that are nothing three times": {"study": None, "images": [None] * 3},
    "texts that are false": {"study": None, "texts": False},
    "texts that are lists": {"study": None, "texts": [["a.csv"], ["b.csv"], ["c.csv"]]},
    "a seed that is a text": {"seed": "7"},
    "a seed that is a list": {"seed": [7]},
    "a seed that is true": {"seed": True},
    "options that are a list": {"options": ["queries"]},
    "options that are a text": {"options": "queries"},
    "an option that is an object": {"options": {"queries": {"most": 5}}},
    "an option that is a list": {"options": {"queries": [5]}},
    "data that is a number": {"study": "cifar10", "options": {"data": 5}},
    "weights that are a list": {"study": "fashion", "options": {"weights": ["a"], "data": SAME}},
    "a model that is a number": {"study": "fashion", "options": {"model": 18, "data": SAME}},
    "solving that is a text": {"solving": "exact"},
    "solving that is a list": {"solving": [["method", "exact"]]},
    "damping that is a text": {"solving": {"damping": "much"}},
    "a method that is a list": {"solving": {"method": ["exact"]}},
    "nothing but null": {"study": None, "options": None, "solving": None},
    # Lengths and numbers
    "two images": {"study": None, "images": ["a", "b"]},
    "ten thousand images": {"study": None, "images": ["a"] * 10_000},
    "no texts": {"study": None, "texts": []},
    "a seed that is no number": {"seed": float("nan")},
    "a seed below zero": {"seed": -1},
    "a seed of many digits": {"seed": 10**300},
    "a seed that is a fraction": {"seed": 0.5},
    "infinite damping": {"solving": {"damping": float("inf")}},
    "damping that is no number": {"solving": {"damping": float("nan")}},
    "a billion tokens of context": {"study": None, "texts": [f"{SAME}.csv"] * 3, "options": {"context": 10**9}},
    "pictures a kilometre wide": {"study": "fashion", "options": {"size": 10**6, "data": SAME}},
    "epochs below zero": {"study": "fashion", "options": {"epochs": -3, "data": SAME}},
    "l2 that is no number": {"study": "fashion", "options": {"l2": float("nan"), "data": SAME}},
    "a study of 10 MB": {"study": "d" * 10_000_000},
    "a path of 10 MB": {"study": None, "images": ["a" * 10_000_000, "b", "c"]},
    "a path of long parts": {"study": "cifar10", "options": {"data": "/" + "a" * 300}},
    "options by the thousand": {"options": {f"option{i}": i for i in range(5000)}},
    # Names
    "code": {"study": "evil.py:study"},
    "code far away": {"study": "../../../tmp/evil.py"},
    "code with lines in its name": {"study": "a\nb.py:f\n"},
    "a path with a null": {"study": None, "images": ["a\0b", "a", "b"]},
    "a data folder with a null": {"study": "cifar10", "options": {"data": "a\0b"}},
    "devices": {"study": None, "images": ["/dev", "/proc/self/fd", "/dev/zero"]},
    "a device as texts": {"study": None, "texts": ["/dev/zero", "/dev/stdin", "/dev/tty"]},
    "an empty name": {"study": ""},
    "a name that a terminal obeys": {"study": "\x1b]0;owned\x07 [red]x[/red]"},
    "a part of the exhibit as solving": {"solving": {"study": None, "classes": 5, "encode": "os.system"}},
    "an option with a name of Python's": {"options": {"__class__": "x", "self": 1}},
    "everything at once": {"study": "digits", "images": ["a", "b", "c"], "texts": ["a", "b", "c"]},
    "brackets in brackets": {"options": {"queries": NESTED}},
    "brackets as a study": {"study": NESTED},
}
"""What is asked, beside what `digits` asks."""
PAGES = ("trust", "try-it", "item")
EVERY = 5
"""One in so many is quick."""


def run_that_asks(folder: Path, odd: Mapping[str, Any]) -> Path:
    """A small run with this `asked`, whole by its checksum."""
    run = small_runs().write_run(folder, "odd").path
    manifest = json.loads((run / "run.json").read_text()) | {"asked": {**DIGITS, **odd}}
    manifest["checksum"] = manifest_checksum(manifest)
    (run / "run.json").write_text(json.dumps(manifest))
    return run


def command(*arguments: str) -> None:
    """Run `upstream ...`; it ends well, or with a named error of one line."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    before, sys.argv = sys.argv, ["upstream", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = before
    said = out.getvalue() + err.getvalue()
    assert code in (0, 2, None), f"{arguments[0]} ended with {code}"
    assert not set(said) & set("\x1b\x07\0\r"), f"{arguments[0]} let the terminal obey"
    assert len(said) < 10_000, f"{arguments[0]} printed {len(said):,} characters"


def commands_hold(folder: Path, odd: Mapping[str, Any]) -> None:
    run = run_that_asks(folder, odd)
    with contextlib.suppress(UpstreamError):
        asked_of(Run.open(run))
    command("runs", "--runs", str(folder))
    command("check", str(run))
    command("validate", "--quiet", "--budget", "1s", str(run))
    command("leave-out", "--quiet", str(run), "3")
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == ["odd"]
    try:
        exhibit_of(Run.open(run))
    except UpstreamError:
        return
    raise AssertionError("a small run is none of the studies that it asks for")


def pages_hold(folder: Path, odd: Mapping[str, Any]) -> None:
    """Every page that asks how the study is made draws itself, and says what it cannot offer."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest
    from streamlit.util import calc_hash

    (folder / "runs").mkdir()
    run_that_asks(folder / "runs", odd)
    known = {"UPSTREAM_RUNS": str(folder / "runs"), "UPSTREAM_STATIC": str(folder)}
    before = {name: os.environ.get(name) for name in known}
    os.environ.update(known)
    try:
        for page in PAGES:
            st.cache_resource.clear()
            app = AppTest.from_file(str(EXPLORER.parents[1] / "explorer" / "app.py"), default_timeout=60)
            app._page_hash = calc_hash(page)
            app.run()
            assert not app.exception, f"{page}: {app.exception[0].value}"
            told = " ".join(str(element.value) for element in app.error)
            assert "cannot be drawn" not in told, f"{page}: {told}"
            assert len(told) < 10_000, f"{page} says {len(told):,} characters"
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder / "runs", ignore_errors=True)


SITUATIONS = [
    Situation("asked", f"{name}, by commands", partial(commands_hold, odd=odd), quick=place % EVERY == 0)
    for place, (name, odd) in enumerate(ODD.items())
] + [Situation("asked", f"{name}, on pages", partial(pages_hold, odd=odd)) for name, odd in ODD.items()]
