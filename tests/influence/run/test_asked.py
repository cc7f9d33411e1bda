"""What run.json says of how a run's study is made again: of one form, or refused by the name of its place."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from influence.errors import RunError
from influence.run.asked import OPTIONS, asked_of
from influence.studies import request

DIGITS = {"study": "digits", "images": None, "texts": None, "seed": 3, "options": {}, "solving": {"damping": 0}}
PATHS = ["a/b", "/c", "d.csv"]


def run_of(asked):
    return SimpleNamespace(name="odd", manifest=SimpleNamespace(asked=asked, imported={}))


@pytest.mark.parametrize(
    "asked",
    [
        DIGITS,
        DIGITS | {"study": None, "images": PATHS, "options": {"size": 8, "l2": 0.0, "model": "cnn", "weights": "w"}},
        DIGITS | {"study": None, "texts": PATHS, "options": {"context": 2, "sample": 2, "text_column": "texte é"}},
        DIGITS | {"seed": None, "options": None, "solving": {"method": "cg", "damping": 1e-3, "curvature": None}},
    ],
)
def test_what_commands_write_is_taken(asked):
    assert asked_of(run_of(asked)) == asked


def test_every_option_of_every_study_has_a_form():
    known = set().union(*request._takes().values())
    assert known <= set(OPTIONS), "an option without a form could not be retrained"
    assert set(OPTIONS) <= known


def test_keys_that_nobody_knows_are_ignored():
    assert asked_of(run_of(DIGITS | {"later": [1]})) == DIGITS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"study": 5}, "study is 5"),
        ({"study": "d" * 10**6}, "study is 'ddd"),
        ({"images": ["a", "b"]}, "images is a list"),
        ({"texts": ["a", "b", "c\0"]}, "texts is a list"),
        ({"seed": True}, "seed is True"),
        ({"seed": float("nan")}, "seed is nan"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"options": "x"}, "options is 'x'"),
        ({"options": {"data": 5}}, "options data is 5"),
        ({"options": {"data": "a" * 300}}, "options data is 'aaa"),
        ({"options": {"context": 10**9}}, "options context is 1000000000"),
        ({"options": {"l2": float("inf")}}, "options l2 is inf"),
        ({"options": {"queries": {"a": 1}}}, "options queries is an object"),
        ({"options": {"evil": 1}}, "options evil is 1"),
        ({"solving": {"damping": "much"}}, "solving damping is 'much'"),
        ({"solving": {"encode": "os.system"}}, "solving encode is 'os.system'"),
    ],
)
def test_other_forms_are_refused_by_the_name_of_their_place(changes, words):
    with pytest.raises(RunError, match=re.escape(words)) as refused:
        asked_of(run_of(DIGITS | changes))
    assert len(str(refused.value)) < 500
    assert "can be looked at" in str(refused.value)


def test_code_that_a_run_names_is_called_only_if_it_is_given():
    asked = DIGITS | {"study": "evil.py:study"}
    with pytest.raises(RunError, match="is not executed by itself"):
        asked_of(run_of(asked))
    assert asked_of(run_of(asked), "mine.py:study")["study"] == "mine.py:study"
    with pytest.raises(RunError, match="computed from Python"):
        asked_of(run_of({}))
