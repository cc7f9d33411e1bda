"""How far a process is, as it tells whoever started it."""

from __future__ import annotations

import json
import re
import time

import pytest

from influence import progress


@pytest.fixture
def told(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.PROGRESS, str(tmp_path / "progress.json"))
    monkeypatch.setattr(progress, "WRITE_INTERVAL", 0.0)
    return lambda: json.loads((tmp_path / "progress.json").read_text())


def test_step_fraction_and_finished_steps_are_told(told):
    with progress.Progress(visible=False) as bars:
        with bars.step("training", total=4) as bar:
            assert told() == {"step": "training", "fraction": None, "done": [], "runs": {}}
            bar.advance(1)
            assert told()["fraction"] == pytest.approx(0.25)
            bar.at(3)
            assert told()["fraction"] == pytest.approx(0.75)
        assert [step for step, _ in told()["done"]] == ["training"]
        with bars.step("solving") as bar:
            bar.advance()
            assert told()["step"] == "solving"
            assert told()["fraction"] is None
    assert [step for step, _ in told()["done"]] == ["training", "solving"]


def test_a_step_within_another_has_its_own_seconds():
    ticks = iter([0.0, 10.0, 13.0, 20.0, 30.0, 31.0])
    with progress.Progress(visible=False, clock=lambda: next(ticks)) as bars:
        with bars.step("outer"), bars.step("inner"):
            pass
        with bars.step("later"):
            pass
    assert bars.seconds == {"inner": 3.0, "outer": 17.0, "later": 1.0}


def test_nothing_is_written_unless_asked_and_a_bad_place_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with progress.Progress(visible=False) as bars, bars.step("a", total=1):
        pass
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(progress.PROGRESS, str(tmp_path / "nowhere" / "progress.json"))
    with progress.Progress(visible=False) as bars, bars.step("a", total=1) as bar:
        bar.at(1)
    assert "a" in bars.seconds


def test_without_a_terminal_lines_say_how_far_a_step_is(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0.01)
    with progress.Progress() as bars:
        with bars.step("tiny: training", total=4) as bar:
            assert capsys.readouterr().err == "tiny: training\n"  # at once
            bar.at(1)
            time.sleep(0.1)
            bar.at(2)
            time.sleep(0.1)
        lines = capsys.readouterr().err.splitlines()
        assert any(line.startswith("tiny: training 25 %, ") for line in lines)
        assert any(re.fullmatch(r"tiny: training 50 %, \d+ s (left|so far)", line) for line in lines)
        assert re.fullmatch(r"tiny: training: 0\.\d s", lines[-1])
        with bars.step("tiny: map [of] the embedding"):
            time.sleep(0.1)
        lines = capsys.readouterr().err.splitlines()
        assert "tiny: map [of] the embedding, 0 s so far" in lines
        assert len(set(lines)) == 2
        time.sleep(0.1)
        assert capsys.readouterr().err == ""  # nothing is under way
        bars.say("a sentence")
    assert capsys.readouterr().err == "a sentence\n"


def test_lines_are_seconds_apart_and_quiet_means_none(capsys):
    with progress.Progress() as bars, bars.step("a", total=100) as bar:
        for _ in range(100):
            bar.advance()
    assert len(capsys.readouterr().err.splitlines()) == 2  # begin and end
    with progress.Progress(visible=False) as bars, bars.step("a", total=1):
        bars.say("a sentence")
    assert capsys.readouterr().err == ""
