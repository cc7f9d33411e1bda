"""How far a process is, as it tells whoever started it."""

from __future__ import annotations

import json

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
            assert told() == {"step": "training", "fraction": None, "done": []}
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


def test_nothing_is_written_unless_asked_and_a_bad_place_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with progress.Progress(visible=False) as bars, bars.step("a", total=1):
        pass
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(progress.PROGRESS, str(tmp_path / "nowhere" / "progress.json"))
    with progress.Progress(visible=False) as bars, bars.step("a", total=1) as bar:
        bar.at(1)
    assert "a" in bars.seconds
