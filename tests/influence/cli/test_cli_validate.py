"""`upstream validate`: what it prints, and what it answers to what cannot be."""

from __future__ import annotations

import sys

import pytest

from influence.cli.validate import seconds_of
from influence.engine import OnRay
from influence.errors import EngineError, RunError


def test_bad_budgets_and_runs_are_exit_code_2(upstream, runs_folder):
    code, _, errors = upstream("validate", "tiny-frozen", "--runs", runs_folder, "--budget", "soon")
    assert (code, errors) == (2, "Error: The budget is 'soon', expected a time such as 90s, 10m or 1h.")
    code, _, errors = upstream("validate", "nowhere", "--runs", runs_folder)
    assert code == 2
    assert "There is no run at" in errors
    code, _, errors = upstream("validate", "tiny-frozen", "--runs", runs_folder, "--check", "luck")
    assert code == 2
    assert "There is no check 'luck'; choose of" in errors


def test_a_run_that_was_made_from_python_says_so(upstream, runs_folder):
    code, _, errors = upstream("validate", "tiny-frozen", "--runs", runs_folder)
    assert code == 2
    assert "was computed from Python and does not say how its study is made" in errors


def test_what_was_found_is_told(upstream, tmp_path):
    assert upstream("precompute", "tiny", "--runs", tmp_path, "--quiet")[0] == 0
    arguments = ("validate", "tiny-frozen", "--runs", tmp_path, "--budget", "60s", "--check", "noise")
    code, out, errors = upstream(*arguments)
    assert code == 0
    assert "With nothing left out but another seed" in out
    assert "Of the budget" in errors
    assert upstream(*arguments, "--quiet") == (0, out, "")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2m ", 120)])
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "0s", "0.0h", "1d", "1m30s", "nan", "1e3s"])
def test_times_that_are_none(text):
    with pytest.raises(RunError, match="expected a time such as 90s, 10m or 1h"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "rey"], "There is no engine 'rey'; expected here, ray or ray://HOST:PORT."),
        (["--workers", "2"], "Workers are those of a cluster, and this process computes alone; add --engine ray."),
        (["--engine", "ray://somewhere"], "The address 'ray://somewhere' names no host and port"),
        (["--engine", "ray://127.0.0.1:1"], "No Ray cluster answers at ray://127.0.0.1:1: "),
    ],
)
def test_engines_that_cannot_be_are_exit_code_2(upstream, tmp_path, options, message):
    assert upstream("precompute", "tiny", "--runs", tmp_path, "--quiet")[0] == 0
    code, _, errors = upstream("validate", "tiny-frozen", "--runs", tmp_path, "--quiet", *options)
    assert code == 2
    assert message in errors


def test_an_engine_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"pip install 'upstream-explorer\[ray\]'"), OnRay():
        pass
