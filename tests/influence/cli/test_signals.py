"""Ctrl+C and requests to end, at any moment of a command: one line, the usual exit code, no traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from influence.cli.start import LINE

BEGUN = """
import sys
from influence.cli import start
expect = start.expect
def said():
    expect()
    print("begun", flush=True)
start.expect = said
sys.exit(start.main())
"""
COMPUTES = """
import sys
sys.argv = ["upstream", "precompute", "tiny", "--quiet", "--runs", sys.argv[1]]
from influence.cli import main
print("begun", flush=True)
from influence.studies import STUDIES
from influence.studies.cards import CARDS
from tiny_runs import TinyBuilt
STUDIES["tiny"], CARDS["tiny"] = TinyBuilt, TinyBuilt.card
print("loaded", flush=True)
main()
"""
SWALLOWED = """
import gc, os, signal, sys
import influence.cli.app
def run():
    class Held:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
    Held()
    print("went on")
influence.cli.app.run = run
from influence.cli import main
main()
"""


def start(script, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip


def ends(process, number):
    _, errors = process.communicate(timeout=60)
    told = re.sub("Loading PyTorch and the study.\n|Error: .*\n", "", errors)
    assert (process.returncode, told) in ((128 + number, LINE), (2, ""), (0, "")), errors
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.1, 0.4])
def test_while_modules_are_loaded(tmp_path, number, delay):
    process = start(BEGUN, "precompute", "digits", "--runs", tmp_path)
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(number)
    assert ends(process, number) == 128 + number


def test_a_command_that_computes_leaves_a_run_that_goes_on(tmp_path):
    path = os.pathsep.join([str(next(p for p in sys.path if p.endswith("tests/influence"))), *sys.path])
    process = start(COMPUTES, tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert process.stdout.readline() == "begun\n"
    assert process.stdout.readline() == "loaded\n"
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".*.unfinished/journal.jsonl")) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert ends(process, signal.SIGTERM) == 143
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith((".lock", ".tmp", ".partial"))]


def test_where_python_would_only_print_it_the_process_ends_too():
    process = start(SWALLOWED)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (130, "", LINE)


def test_what_a_shell_put_into_the_background_is_not_interrupted():
    script = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {BEGUN}"
    process = start(script, "studies")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert ends(process, signal.SIGINT) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["studies", "runs", "--help"])
def test_what_is_printed_into_a_full_disk_ends_with_a_message(command):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "influence", command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: No space left on device")
    assert done.stderr.count("\n") == 1
