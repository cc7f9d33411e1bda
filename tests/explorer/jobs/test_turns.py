"""One computation at a time over all runs of a folder: in order, whatever becomes of those before, over servers too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from explorer.jobs import demo, line, live, process, turn
from explorer.panels.retraining import job as panel
from influence.errors import RunError

REPOSITORY = Path(__file__).parents[3]
COMPUTES = """
import os, sys, time
folder, name = sys.argv[1], sys.argv[-1]
with open(f"{folder}/begun", "a") as file: file.write(name + "\\n")
while not os.path.exists(f"{folder}/go-{name}"): time.sleep(0.01)
with open(f"{folder}/ended", "a") as file: file.write(name + "\\n")
"""


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Begin a job of a run that ends when the file go-NAME is there."""
    monkeypatch.setattr(
        process, "command", lambda arguments: [sys.executable, "-c", COMPUTES, str(tmp_path), *arguments]
    )
    return lambda name, *arguments: process.begin(tmp_path / name, "check", [*(arguments or ["validate"]), name])


def until(what, seconds=20.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def lines(path):
    return path.read_text().split() if path.exists() else []


def test_four_runs_are_computed_one_after_the_other_in_order(begin, tmp_path):
    names = ["a", "b", "c", "d"]
    jobs = []
    for name in names:
        jobs.append(begin(name))
        until(lambda: jobs[-1].running or jobs[-1].waits_for)  # it has its place
    until(lambda: lines(tmp_path / "begun"))
    assert [job.state for job in jobs] == [process.RUNNING, *[process.WAITING] * 3]
    assert [job.waits_for.removeprefix("upstream validate a") for job in jobs[1:]] == ["", " and 1 more", " and 2 more"]
    assert panel.text(jobs[2]).startswith("Waits for upstream validate a and 1 more: one computation at a time · ")
    for number, name in enumerate(names):
        until(lambda: len(lines(tmp_path / "begun")) > number)  # noqa: B023
        assert lines(tmp_path / "begun") == names[: number + 1]
        assert [job.state for job in jobs].count(process.RUNNING) == 1
        (tmp_path / f"go-{name}").touch()
    assert all(job.wait(20) for job in jobs)
    assert lines(tmp_path / "ended") == names
    assert [job.state for job in jobs] == [process.FINISHED] * 4


def test_whatever_becomes_of_one_the_next_has_its_turn(begin, tmp_path, monkeypatch):
    killed, cancelled, last = begin("killed"), begin("cancelled"), begin("last")
    until(lambda: lines(tmp_path / "begun"))
    cancelled.cancel()
    assert cancelled.wait(5)
    assert cancelled.state == process.CANCELLED
    killed._process.send_signal(signal.SIGKILL)
    until(lambda: last.running)
    assert killed.state == process.FAILED
    cannot = begin("\0impossible")  # no process can be given such an argument
    after = begin("after")
    (tmp_path / "go-last").touch()
    until(lambda: after.running)
    assert cannot.state == process.FAILED
    assert "could not be started" in cannot.problem
    until(lambda: lines(tmp_path / "begun") == ["killed", "last", "after"])


def test_a_run_that_asks_again_and_again_starves_nobody(begin, tmp_path):
    first, other = begin("greedy"), begin("other")
    until(lambda: other.waits_for)
    (tmp_path / "go-greedy").touch()
    assert first.wait(20)
    begin("greedy")
    until(lambda: len(lines(tmp_path / "begun")) > 1)
    assert lines(tmp_path / "begun") == ["greedy", "other"]
    assert other.running


SERVER = """
import sys, time
from pathlib import Path
from explorer.jobs import process
root = Path(sys.argv[1])
process.command = lambda arguments: [sys.executable, "-c", "import time; time.sleep(60)"]
job = process.begin(root / "old", "check", ["validate"])
while job._process is None: time.sleep(0.01)
print(job._process.pid, flush=True)
time.sleep(60)
"""


def test_what_a_killed_server_had_begun_keeps_the_turn_until_it_ends(begin, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    pid = int(server.stdout.readline())
    server.kill()
    server.communicate()
    job = begin("new")
    try:
        until(lambda: job.waits_for)
        assert job.step == "Waits for upstream validate old"
        with pytest.raises(RunError, match="upstream validate old is under way.*wait until it has ended"):
            demo.start(tmp_path)
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: job.running)


def test_a_check_waits_for_the_study_that_is_computed(begin, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "command", lambda root, study: [sys.executable, "-c", "import time; time.sleep(60)"])
    demo.start(tmp_path)
    job = begin("a")
    until(lambda: job.waits_for)
    assert job.step == "Waits for upstream precompute digits"
    demo.stop(tmp_path)
    until(lambda: job.running)
    with pytest.raises(RunError, match="upstream validate a is under way"):
        demo.start(tmp_path)


@pytest.mark.parametrize("what", ["a link", "a folder", "a pipe"])
def test_a_lock_that_is_no_plain_file_is_left_alone(begin, tmp_path, what):
    kept = tmp_path / "kept"
    kept.write_text("mine")
    place = turn.folder(tmp_path) / "turn"
    place.parent.mkdir()
    {"a link": lambda: place.symlink_to(kept), "a folder": place.mkdir, "a pipe": lambda: os.mkfifo(place)}[what]()
    job = begin("a")
    until(lambda: job.running)
    assert kept.read_text() == "mine"


def test_a_line_serves_who_came_first_and_forgets_who_gave_up():
    served, queue, go = [], line.Line(), threading.Event()

    def serve(number):
        def waiting(words, more):
            if number == 2:
                raise KeyError(number)

        try:
            with queue.turn(f"number {number}", waiting):
                served.append(number)
                go.wait(10)
        except KeyError:
            served.append(-number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=serve, args=(number,)))
        threads[-1].start()
        until(lambda: number in served or -number in served or len(queue._places) == len(threads) - (-2 in served))  # noqa: B023
    assert sorted(served) == [-2, 0]
    go.set()
    for thread in threads:
        thread.join(10)
    assert [number for number in served if number >= 0] == [0, 1, 3, 4]


def test_answers_of_all_runs_are_computed_one_at_a_time():
    now, most = [], []

    class Asked:
        ready = True

        def scores(self, item, target):
            now.append(item)
            most.append(len(now))
            time.sleep(0.02)
            now.remove(item)
            return {"pretrain": item}

    found = []
    visitors = [
        threading.Thread(target=lambda n=n: found.append(live.scores(Asked(), n, None)["pretrain"])) for n in range(6)
    ]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(20)
    assert sorted(found) == list(range(6))
    assert max(most) == 1
