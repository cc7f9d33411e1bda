"""Long work in the background: progress, success, failure, cancelling, joining."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from explorer.jobs import process
from influence.run import PROGRESS

RUN = Path("/nowhere/run")


def script(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(process, "command", lambda arguments: [sys.executable, "-c", code, *arguments])


def until(what, seconds=10.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_progress_is_heard_and_the_end_noticed(monkeypatch, tmp_path):
    go = tmp_path / "go"
    script(
        monkeypatch,
        f'import os, time\nopen(os.environ[{PROGRESS!r}], \'w\').write(\'{{"step": "half way", "fraction": 0.5}}\')\n'
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)",
    )
    job = process.begin(RUN, "a", [])
    until(lambda: job.step == "half way")
    assert job.running
    assert job.share == 0.5
    go.touch()
    assert job.wait(10)
    assert (job.state, job.problem) == (process.FINISHED, "")
    assert process.of(RUN) is job


def test_arguments_reach_the_command(monkeypatch, tmp_path):
    script(monkeypatch, f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(' '.join(sys.argv[1:]))")
    process.begin(RUN, "a", ["validate", "--", "x; rm y"]).wait(10)
    assert (tmp_path / "got").read_text() == "validate -- x; rm y"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.stderr.write('noise\\nError: The budget is soon.\\n'); sys.exit(2)", "The budget is soon."),
        ("import sys; sys.exit(3)", "ended with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
    ],
)
def test_a_failure_says_why(monkeypatch, code, says):
    script(monkeypatch, code)
    job = process.begin(RUN, "a", [])
    assert job.wait(10)
    assert job.state == process.FAILED
    assert says in job.problem


def test_cancelling_ends_the_process(monkeypatch, tmp_path):
    script(
        monkeypatch, f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    job = process.begin(RUN, "a", [])
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    job.cancel()
    assert job.state == process.CANCELLED
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    job.cancel()  # again does nothing
    assert job.state == process.CANCELLED


def test_one_that_ignores_it_is_killed(monkeypatch, tmp_path):
    ready = tmp_path / "ready"
    script(
        monkeypatch,
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(ready)!r}, 'w').close()\ntime.sleep(60)",
    )
    monkeypatch.setattr(process, "STOP_SECONDS", 0.2)
    job = process.begin(RUN, "a", [])
    until(ready.exists)
    job.cancel()
    assert job.wait(5)
    assert job.state == process.CANCELLED


def test_two_visitors_begin_it_once(monkeypatch):
    script(monkeypatch, "import time; time.sleep(60)")
    begun: list[process.Job] = []
    visitors = [threading.Thread(target=lambda: begun.append(process.begin(RUN, "a", []))) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert len({id(job) for job in begun}) == 1
    assert process.begin(Path("/nowhere/other"), "a", []) is not begun[0]


def test_after_the_end_it_can_begin_again(monkeypatch):
    script(monkeypatch, "")
    first = process.begin(RUN, "a", [])
    first.wait(10)
    assert process.begin(RUN, "a", []) is not first
    process.of(RUN).wait(10)
    process.forget(RUN)
    assert process.of(RUN) is None


def test_without_steps_time_is_what_is_known(monkeypatch):
    script(monkeypatch, "import time; time.sleep(60)")
    job = process.begin(RUN, "a", [], seconds=1e-3)
    until(lambda: job.share == 0.99)
    assert process.begin(Path("/nowhere/b"), "a", []).share == 0


def test_the_command_is_this_package(tmp_path):
    job = process.begin(RUN, "a", ["validate", "--budget", "soon", "--", str(tmp_path / "none")])
    assert job.wait(60)
    assert job.state == process.FAILED
    assert job.problem == "The budget is 'soon', expected a time such as 90s, 10m or 1h."
