"""Fixtures of the tests that write runs; the study itself is in tiny.py."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from tiny import tiny_exhibit
from tiny_runs import TinyBuilt, compute

from influence import cli
from influence.cli.start import SIGNALS
from influence.precompute.runs import precompute
from influence.studies import STUDIES
from influence.studies.cards import CARDS
from influence.studies.request import exhibits_for


def pytest_runtest_setup():
    """Networks as small as these are slower on several threads; and whatever a test before set, runs say how many."""
    torch.set_num_threads(1)


@pytest.fixture
def quick_map(monkeypatch):
    """The two first coordinates in place of UMAP, which takes seconds."""
    for user in ("steps", "forecasts.rehearsal"):
        monkeypatch.setattr(
            f"influence.precompute.{user}.map_of",
            lambda vectors, others, seed: (vectors[:, :2].astype("f4"), others[:, :2].astype("f4"), "two coordinates"),
        )


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Both variants, computed without interruption; nobody writes to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        return compute(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory):
    """Both variants, as of the built-in study `TinyBuilt`: validated and asked anew. Nobody writes to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "tiny", TinyBuilt)
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        exhibits = exhibits_for("tiny", None, None, None, {}, {})
        runs = precompute(exhibits, ["frozen", "updated"], tmp_path_factory.mktemp("runs"), progress=False)
    return [run.path for run in runs]


@pytest.fixture
def upstream(monkeypatch, capsys, tmp_path, quick_map):
    """Run `upstream ...` in this process: exit code, output, errors, the last two with blanks made single."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(STUDIES, "tiny", TinyBuilt)
    monkeypatch.setitem(CARDS, "tiny", TinyBuilt.card)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back afterwards, as the signals are
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["upstream", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, errors = capsys.readouterr()
        assert "Traceback" not in out + errors
        return stop.value.code or 0, " ".join(out.split()), " ".join(errors.replace("│", " ").split())

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


class Explorer:
    """In place of its process: `calls` that began it; it is interrupted once, then ends with `returncode`."""

    def __init__(self):
        self.calls, self.returncode, self.interrupted = [], 0, False

    def __call__(self, command, **_):
        self.calls.append(command)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self):
        if not self.interrupted:
            os.kill(os.getpid(), signal.SIGINT)
        return self.returncode

    def terminate(self):
        self.interrupted = True


@pytest.fixture
def explorer(monkeypatch):
    explorer = Explorer()
    monkeypatch.setattr(subprocess, "Popen", explorer)
    return explorer


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        root = tmp_path_factory.mktemp("finished")
        return precompute([tiny_exhibit()], ["tiny-frozen"], root, progress=False)[0].path


@pytest.fixture
def runs_folder(finished, tmp_path):
    """A folder of runs, ours to damage, with one run `tiny-frozen`."""
    shutil.copytree(finished, tmp_path / "runs" / finished.name)
    return tmp_path / "runs"
