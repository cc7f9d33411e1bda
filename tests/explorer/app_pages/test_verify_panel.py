"""*Verify this one* on Explore: a replayed derivative beside the list, or the list really left out."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small_run import restated, write_run

import influence.run
from explorer.jobs import process
from explorer.panels.retraining import verified
from explorer.ui import theme
from influence.errors import RunError
from influence.run import Replayed, Run, Slope, add_tables
from influence.run.records import Training

QUERY, POSITION = "1003", 3


@pytest.fixture(autouse=True)
def _no_jobs():
    yield
    process._end_all()
    process._jobs.clear()


def by_steps(root) -> Run:
    """A run that says it was trained by mini-batches."""
    run = write_run(root, "steps")
    short = Training(gradient_norm=0.3, iterations=400, converged=False, seconds=12.0)
    stages = tuple(dataclasses.replace(stage, training=short) for stage in run.manifest.stages)
    return restated(run, stages=stages, settings={"epochs": 5}, asked={"study": "digits"})


def replayed(run: Run, scores: np.ndarray) -> Run:
    row = {"stage": "pretrain", "query": np.int32(POSITION), "seconds": np.float32(3), "drift": np.float32(0)}
    row |= {"scores": scores.astype(np.float32), "examples": np.array([4], np.int32)}
    row |= {"measured": scores[4:5].astype(np.float32) if len(scores) > 4 else np.zeros(1, np.float32)}
    return add_tables(run, {"verified": pd.DataFrame([row])})


def said(app) -> str:
    return " ".join(str(e.value) for kind in (app.caption, app.markdown, app.error) for e in kind)


def test_a_prediction_of_stepped_models_is_replayed_by_a_button_that_says_its_cost(open_app, tmp_path, monkeypatch):
    asked: list[list[str]] = []
    slow = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(process, "command", lambda arguments: asked.append(list(arguments)) or slow)
    run = by_steps(tmp_path)
    app = open_app(tmp_path, query=QUERY)
    button = app.button(key=f"verify-pretrain-{QUERY}")
    assert "about 3 min" in button.label  # eight times 24 seconds
    button.click().run()
    assert not app.exception
    assert asked == [["verify", "--stage", "pretrain", "--", str(run.path), QUERY]]
    assert len(app.get("progress")) == 1


def test_what_was_replayed_stands_beside_the_list(open_app, tmp_path, component):
    run = by_steps(tmp_path)
    own = np.asarray(run.scores("pretrain")[POSITION])
    replayed(run, -own)
    app = open_app(tmp_path, query=QUERY)
    assert not app.exception
    assert "rather the opposite order" in said(app)
    assert "without \\#4 its loss changed by" in said(app)
    assert "not smooth" not in said(app)
    a, b = component(app, "joined_lists")["columns"]
    assert [card["id"] for card in a["helpful"]] == [card["id"] for card in b["harmful"]]
    assert f"verify-pretrain-{QUERY}" not in [each.key for each in app.button]
    assert "replayed" not in said(open_app(tmp_path, query="1004"))


def test_a_derivative_that_does_not_predict_what_was_measured_says_so(tmp_path):
    run = by_steps(tmp_path)
    view = SimpleNamespace(examples=run.examples("pretrain"), scores=np.array([0.1, 0.2]), order_only=(), slope=None)
    found = Replayed(np.array([0.3, 0.5]), {1: -0.4})
    told = verified.really(view, found)
    assert f"without #1 its loss changed by {theme.MINUS}0.40 nats (A +0.20, B +0.50)" in told
    assert "not smooth in its data" in told
    view.slope = Slope(3.0, 0.9, 8)
    assert "(A +0.60, B +0.50)" in verified.really(view, found)  # as its cards show it


def test_a_table_of_another_length_is_a_named_error(tmp_path):
    run = replayed(by_steps(tmp_path), np.zeros(3))
    with pytest.raises(RunError, match=r"verified of run steps has 3 scores .* each of \d+ examples"):
        influence.run.replayed(run, "pretrain", POSITION)


def test_a_replay_that_fails_says_why(open_app, tmp_path, monkeypatch):
    fails = [sys.executable, "-c", "import sys; sys.stderr.write('Error: It cannot be repeated.\\n'); sys.exit(2)"]
    monkeypatch.setattr(process, "command", lambda arguments: fails)
    run = by_steps(tmp_path)
    verified._begin(run, f"verify-pretrain-{QUERY}", "pretrain", int(QUERY))
    assert process.of(run.path).wait(10)
    assert "It cannot be repeated" in said(open_app(tmp_path, query=QUERY))


def test_at_a_minimum_the_list_is_really_left_out(open_app, tmp_path):
    run = restated(write_run(tmp_path, "settled"), asked={"study": "digits"})
    assert not influence.run.by_steps(run, "pretrain")
    app = open_app(tmp_path, query=QUERY)
    assert not app.exception
    assert "trained full batch, towards a minimum, so there are no steps to replay" in said(app)
    (button,) = [each for each in app.button if (each.key or "").startswith("retrain-")]
    assert button.label.startswith("Really retrain without these")


def test_a_last_layer_that_stopped_short_has_no_steps_though_its_study_has_a_recipe(open_app, tmp_path):
    run = by_steps(tmp_path)
    short = dataclasses.replace(run.manifest.stages[0].training, by_steps=False)
    stages = (dataclasses.replace(run.manifest.stages[0], training=short), *run.manifest.stages[1:])
    assert not influence.run.by_steps(restated(run, stages=stages), "pretrain")
    assert "no steps to replay" in said(open_app(tmp_path, query=QUERY))
