"""A run of several seeds on Explore: the spread of each score on its card, and how many trainings there were."""

from __future__ import annotations

import numpy as np
import pytest

from influence.run import Run


@pytest.fixture
def of_five(monkeypatch):
    monkeypatch.setattr(Run, "trainings", lambda run, stage, method: 5)
    monkeypatch.setattr(Run, "spread", lambda run, *which: np.full(run.scores(*which).shape, 0.25, dtype=np.float32))


def scores_of(app, component):
    return [card["score"] for column in component(app, "cards")["columns"] for card in column["cards"]]


def test_cards_say_the_spread_and_the_page_how_many_trainings(small_root, open_app, component, of_five):
    app = open_app(small_root)
    said = scores_of(app, component)
    assert said
    assert all(" ± " in score for score in said)
    captions = [each.value for each in app.caption]
    assert (
        "Scores are means over 5 trainings from other seeds; ± is the standard deviation of one training's score."
        in captions
    )


def test_a_run_of_one_training_says_nothing(small_root, open_app, component):
    app = open_app(small_root)
    assert not any("±" in score for score in scores_of(app, component))
    assert not any("trainings" in each.value for each in app.caption)


def test_a_spread_that_is_not_finite_is_refused(small_root, open_app, monkeypatch, of_five):
    monkeypatch.setattr(Run, "spread", lambda run, *which: np.full(run.scores(*which).shape, np.nan))
    app = open_app(small_root)
    assert any("finite" in error.value for error in app.error)
