"""The embedded study in a process of its own, with a stand-in for what it computes; and the start page."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time

import psutil
import pytest

from explorer.jobs import demo
from influence.errors import RunError
from influence.run import PROGRESS

SLEEPS = "import time; time.sleep(60)"
TELLS = f"""
import json, os, time
with open(os.environ[{PROGRESS!r}], "w") as file:
    json.dump({{"step": "digits-frozen: training pretrain", "fraction": 0.4, "done": [["reading", 2.0]]}}, file)
time.sleep(60)
"""


@pytest.fixture
def instead(monkeypatch, tmp_path):
    """Run this program instead of the computation; what is left running is ended."""

    def use(program):
        monkeypatch.setattr(demo, "command", lambda root, study: [sys.executable, "-c", program])

    yield use
    demo.stop(tmp_path)


def until(what):
    end = time.monotonic() + 15
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen within 15 s")


def test_nothing_is_computed_at_first(tmp_path):
    assert demo.status(tmp_path).state == demo.NONE


def test_what_is_run_is_the_command_line_and_nothing_of_the_folder(tmp_path):
    arguments = demo.command(tmp_path, "digits")
    assert arguments[1:4] == ["-P", "-m", "influence"]
    assert importlib.util.find_spec("influence.__main__") is not None
    assert arguments[-3:] == ["--runs", str(tmp_path), "--quiet"]


def test_progress_is_told_and_stopping_keeps_what_there_is(instead, tmp_path):
    instead(TELLS)
    demo.start(tmp_path)
    now = until(lambda: (s := demo.status(tmp_path)).step and s)
    assert (now.state, now.fraction, now.done) == (demo.RUNNING, 0.4, (("reading", 2.0),))
    demo.stop(tmp_path)
    assert demo.status(tmp_path).state == demo.STOPPED
    assert (tmp_path / ".computing" / "progress.json").is_file()


def test_several_visitors_start_it_once(instead, tmp_path):
    instead(SLEEPS)
    begun = []
    original = demo._start
    threads = [threading.Thread(target=demo.start, args=(tmp_path,)) for _ in range(4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_start", lambda *where: (begun.append(1), original(*where)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(begun) == 1
    pid = json.loads((tmp_path / ".computing" / "process.json").read_text())["pid"]
    assert psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("program", "state", "says"),
    [
        ("import sys; print('noise'); sys.exit('Error: No space is left.')", demo.FAILED, "No space is left."),
        ("1 / 0", demo.FAILED, "ZeroDivisionError: division by zero"),
        ("print('Interrupted. Finished steps are kept: the same command resumes.')", demo.STOPPED, ""),
        ("print('Finished: x')", demo.NONE, ""),
        ("", demo.STOPPED, ""),
    ],
)
def test_how_it_ended(instead, tmp_path, program, state, says):
    instead(program)
    demo.start(tmp_path)
    until(lambda: demo.status(tmp_path).state != demo.RUNNING)
    now = demo.status(tmp_path)
    assert (now.state, now.message) == (state, says)


def test_another_study_is_not_begun_beside_it(instead, tmp_path):
    instead(SLEEPS)
    demo.start(tmp_path, "definitions")
    assert demo.status(tmp_path).study == "definitions"
    demo.start(tmp_path, "definitions")
    with pytest.raises(RunError, match="The study definitions is being computed into .* --runs"):
        demo.start(tmp_path, "digits")


def test_another_process_of_that_number_is_left_alone(instead, tmp_path):
    instead(SLEEPS)
    demo.start(tmp_path)
    path = tmp_path / ".computing" / "process.json"
    kept = json.loads(path.read_text())
    for other in ({**kept, "born": kept["born"] - 100}, {"pid": "x"}, [], {"pid": 2**40, "born": 0}):
        path.write_text(json.dumps(other))
        assert demo.status(tmp_path).state == demo.STOPPED
        demo.stop(tmp_path)
    assert psutil.Process(kept["pid"]).is_running()
    path.write_text(json.dumps(kept))


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Nothing can be computed into"):
        demo.start(tmp_path / "file")


def words(app):
    return " ".join(str(e.value) for e in [*app.markdown, *app.caption, *app.error, *app.info]).replace("\\", "")


def test_the_start_page_says_what_this_is_and_how_to_bring_a_model(open_app, tmp_path):
    app = open_app(tmp_path)
    assert not app.exception
    assert "pretraining" in words(app)
    commands = " ".join(code.value for code in app.code)
    for command in ("upstream demo", "--images", "--texts", "FILE.py:FUNCTION", "upstream explore --runs"):
        assert command in commands


def test_the_start_page_starts_shows_and_cancels(open_app, tmp_path, instead):
    instead(TELLS)
    app = open_app(tmp_path).button(key="compute").click().run()
    assert not app.exception
    until(lambda: demo.status(tmp_path).step)
    app = open_app(tmp_path)  # another visitor, or the same after closing the page
    assert "reading" in " ".join(element.proto.body for element in app.get("html"))
    assert "40%" in app.get("progress")[0].proto.text
    app.button(key="cancel").click().run()
    assert "was stopped" in words(app)
    assert app.button(key="compute").label.startswith("Resume")


def test_the_start_page_shows_why_it_failed_and_opens_the_run_when_there_is_one(open_app, tmp_path, instead, small):
    instead("import sys; sys.exit('Error: <b>bad</b>')")
    app = open_app(tmp_path).button(key="compute").click().run()
    until(lambda: demo.status(tmp_path).state == demo.FAILED)
    app.run()
    assert not app.exception
    assert "<b>bad</b>" in app.error[0].value.replace("\\", "")
    small.write_run(tmp_path, "digits-frozen")
    app.run()
    assert app.selectbox(key="run").value == "digits-frozen"


def test_a_run_beside_the_one_that_is_computed_can_be_looked_at(open_app, tmp_path, instead, small):
    small.write_run(tmp_path, "small")
    instead(TELLS)
    demo.start(tmp_path)
    until(lambda: demo.status(tmp_path).step)
    app = open_app(tmp_path)
    assert not app.exception
    assert app.selectbox(key="run").value == "small"
    assert "40%" in app.get("progress")[0].proto.text
