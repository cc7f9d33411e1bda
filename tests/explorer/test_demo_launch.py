"""`upstream demo` as a process, with a small study in place of the embedded one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from influence.run.reading import Run

REPOSITORY = Path(__file__).parents[2]
COMPUTES = """
import sys, time
from pathlib import Path
from influence.precompute import runs, steps
from tiny import two_exhibits
root = Path(sys.argv[1])
def waits(vectors, others, seed):
    while not (root / "go").exists():
        time.sleep(0.1)
    return vectors[:, :2], others[:, :2], "two coordinates"
steps.map_of = waits
try:
    runs.precompute(two_exhibits(), ["tiny-frozen", "tiny-updated"], root, progress=False)
    print("Finished:")
except KeyboardInterrupt:
    sys.exit("Interrupted.")
"""
LAUNCHES = """
import sys
from explorer.__main__ import main
from explorer.jobs import demo
demo.command = lambda root, study: [sys.executable, "-c", sys.argv[1], str(root)]
sys.exit(main(sys.argv[2:]))
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def launch(tmp_path):
    """Start the explorer while a program computes; it and what it started are ended after the test."""
    begun = []

    def start(program=COMPUTES):
        path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "influence")])
        port = free_port()
        arguments = ["--runs", tmp_path, "--run", "tiny-frozen", "--compute", "tiny", "--port", port, "--no-browser"]
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHES, program, *map(str, arguments)], text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        begun.append(process)
        return process, f"http://localhost:{port}"

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def answers(address):
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_the_address_is_said_when_the_first_lists_stand_and_the_rest_follows(launch, tmp_path):
    process, address = launch()
    assert address in process.stdout.readline()
    assert Run.open(tmp_path / "tiny-frozen").pending == ["map", "identity"]
    assert not (tmp_path / "tiny-updated").exists()
    assert answers(address)
    assert "The rest is computed while you look" in process.stdout.readline()
    (tmp_path / "go").touch()
    assert process.stdout.readline() == "Everything is computed.\n"
    assert [Run.open(tmp_path / f"tiny-{name}").pending for name in ("frozen", "updated")] == [[], []]
    process.terminate()
    assert process.wait(30) == 0
    assert not answers(address)


def test_interrupted_meanwhile_both_end_and_the_same_command_goes_on(launch, tmp_path):
    process, address = launch()
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Finished steps are kept: the same command goes on." in errors
    assert "Traceback" not in errors
    assert not answers(address)
    assert Run.open(tmp_path / "tiny-frozen").pending == ["map", "identity"]
    (tmp_path / "go").touch()
    process, address = launch()
    assert address in process.stdout.readline()
    end = time.monotonic() + 60
    while not (tmp_path / "tiny-updated").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert Run.open(tmp_path / "tiny-frozen").pending == []


def test_interrupted_before_the_address(launch, tmp_path):
    process, address = launch("import sys, time; time.sleep(60)")
    end = time.monotonic() + 60
    while not answers(address) and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Finished steps are kept" in errors


def test_a_computation_that_fails_is_an_error_and_no_address(launch, tmp_path):
    process, address = launch("import sys; sys.exit('Error: Run x exists with other settings.')")
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "Error: Run x exists with other settings." in errors
    assert not answers(address)
