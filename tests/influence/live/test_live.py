"""Live answers are those of the run, linear in what is explained, and take new questions as the study reads them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tiny_texts import sentences

from influence.curvature import ekfac, gathering
from influence.errors import RunError, StudyError
from influence.live import Contrast, Live
from influence.live import live as module
from influence.precompute.runs import precompute
from influence.studies.images.digit_drawing import BOX, centred, digit, ink_of
from influence.studies.images.digits import Digits
from influence.studies.texts import TextOptions, TextStudy
from influence.studies.texts.corpus import Corpus


def corpus(count: int, seed: int) -> Corpus:
    return Corpus(*sentences(count, seed))


@pytest.fixture(scope="module", params=["frozen", "updated"])
def opened(request, tmp_path_factory):
    parts = {"pretrain": corpus(30, 0), "finetune": corpus(16, 1), "queries": corpus(5, 2)}
    options = TextOptions(vocabulary=30, context=5, width=8, layers=1, epochs=3)
    exhibit = TextStudy("tiny", "Sentences", parts, options).exhibit(request.param)
    exhibit.error = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        (run,) = precompute([exhibit], ["t"], tmp_path_factory.mktemp("runs"), progress=False)
        patch.setattr(module, "exhibit_of", lambda run, function=None: exhibit)
        return run, Live(run)


def test_stored_queries_have_the_runs_scores(opened):
    run, live = opened
    for position, query in enumerate(run.queries().itertuples()):
        found = live.scores(live.stored(position), Contrast(query.label))
        for stage in run.stages:
            stored = np.asarray(run.scores(stage)[position])
            assert np.linalg.norm(found[stage] - stored) <= 1e-3 * np.linalg.norm(stored)
        said = live.predict(live.stored(position))
        assert said.prediction == query.prediction
        np.testing.assert_allclose(said.probabilities, query.probabilities, atol=1e-5)


def test_without_the_space_every_question_passes_over_the_data(opened, monkeypatch):
    run, live = opened
    live.warm_up()
    assert set(live.way_back.gradients) == set(run.stages)
    assert 0 < live.error("pretrain") < 1e-3
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: live.exhibit)
    monkeypatch.setattr("influence.live.way_back.MAX_GRADIENT_BYTES", 0)
    other = Live(run)
    item = live.read("a saw cuts").item
    for stage, found in other.scores(item, Contrast("pet")).items():
        kept = live.scores(item, Contrast("pet"))[stage]
        assert np.linalg.norm(found - kept) <= 1e-3 * np.linalg.norm(kept)
    assert not other.way_back.gradients
    assert other.error("pretrain") == 0


def test_what_its_stages_remark_on_is_told(opened, monkeypatch):
    run, live = opened
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: live.exhibit)
    other = Live(run)
    assert (other.warnings, other.order_only) == ([], [])  # nothing was asked yet
    other.way_back.chain.last.remarks.warn("far off", order_only=True)
    other.way_back.chain.objectives[0].remarks.warn("a little off")
    assert {"far off", "a little off"} <= set(other.warnings)
    assert other.order_only == ["far off"]


def test_the_curvature_that_a_run_keeps_is_not_fitted_anew(tmp_path, monkeypatch):
    parts = {"pretrain": corpus(30, 0), "finetune": corpus(16, 1), "queries": corpus(5, 2)}
    options = TextOptions(vocabulary=30, context=5, width=8, layers=1, epochs=3)
    exhibit = TextStudy("tiny", "Sentences", parts, options, method="ekfac").exhibit("updated")
    exhibit.error = 0.0
    monkeypatch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
    monkeypatch.setattr(ekfac, "MAX_EXACT_STAGE", 0)
    (run,) = precompute([exhibit], ["t"], tmp_path, progress=False)
    assert {f"curvature/{stage}-ekfac.safetensors" for stage in run.stages} <= set(run.manifest.files)
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: exhibit)
    monkeypatch.setattr(gathering, "Fisher", None)
    live = Live(run)
    found = live.scores(live.stored(0), Contrast(run.queries()["label"][0]))
    for stage in run.stages:
        stored = np.asarray(run.scores(stage)[0])
        assert np.linalg.norm(found[stage] - stored) <= 1e-3 * np.linalg.norm(stored)
    run.path.joinpath("curvature", "pretrain-ekfac.safetensors").write_bytes(b"half")
    with pytest.raises(
        RunError, match="curvature/pretrain-ekfac.safetensors of run t cannot be read: it has other contents"
    ):
        Live(run).scores(live.stored(0), Contrast(run.queries()["label"][0]))


def test_a_margin_is_the_difference_of_two_losses(opened):
    _, live = opened
    item = live.read("a cat eats").item
    pet, tool = (live.scores(item, Contrast(name))["pretrain"] for name in ("pet", "tool"))
    margin = live.scores(item, Contrast("pet", "tool"))["pretrain"]
    np.testing.assert_array_equal(margin, pet - tool)
    assert np.abs(margin).max() > 0
    np.testing.assert_array_equal(live.scores(item, Contrast("tool", "pet"))["pretrain"], -margin)


def test_nothing_is_computed_twice(opened, monkeypatch):
    _, live = opened
    item = live.read("a saw cuts").item
    first = live.scores(item, Contrast("pet"))
    monkeypatch.setattr(live, "_computed", lambda *_: pytest.fail("computed again"))
    again = live.scores(live.read("a saw cuts").item, Contrast("pet"))
    assert all(again[stage] is scores for stage, scores in first.items())


@pytest.mark.parametrize("target", [Contrast("pet"), Contrast("tool", "pet")])
def test_shares_of_tokens_add_up_to_the_score(opened, target):
    run, live = opened
    item = live.read("a cat eats").item
    scores = live.scores(item, target)["pretrain"]
    examples = np.argsort(scores)[[0, 1, -1]].tolist()
    shares = live.shares(item, target, "pretrain", examples)
    assert set(shares) == set(examples)
    lengths = run.tokens("pretrain")["starts"].map(len)
    for example, each in shares.items():
        assert len(each) == lengths[example]
        np.testing.assert_allclose(each.sum(), scores[example], rtol=1e-3, atol=1e-7)
    assert live.splits("pretrain")
    assert not live.splits("finetune")
    with pytest.raises(StudyError, match="not split over tokens"):
        live.shares(item, target, "finetune", [0])


def test_a_class_that_there_is_not(opened):
    _, live = opened
    with pytest.raises(StudyError, match="no class 'bird'"):
        live.scores(live.stored(0), Contrast("bird"))


def test_texts_are_read_with_care(opened):
    _, live = opened
    with pytest.raises(StudyError, match="no text"):
        live.read(" \n")
    found = live.read("<script>alert(1)</script> zebra " * 3)
    assert len(found.item[0]) == 5
    assert found.read == len("<script>alert(")
    assert "cut after 5 tokens" in found.notes[0]
    assert "5 of 5 tokens are not in the model's vocabulary" in found.notes[1]
    assert "“unknown”: “<”, “script”, “>”, “alert”, “(”." in found.notes[1]
    assert live.read("a cat").notes == ()


def test_a_run_made_in_python_says_what_is_needed(opened):
    run, _ = opened
    with pytest.raises(RunError, match=r"FILE\.py:FUNCTION"):
        Live(run)


def test_a_drawing_is_centred_by_mass_in_a_box_of_twenty():
    sheet = Image.new("RGB", (280, 280), "white")
    ImageDraw.Draw(sheet).line([(20, 30), (20, 230)], "black", 16)
    pixels = centred(ink_of(sheet))
    rows, columns = np.nonzero(pixels)
    assert rows.max() - rows.min() + 1 == BOX
    assert pixels.shape == (28, 28)
    assert abs((columns * pixels[rows, columns]).sum() / pixels.sum() - 14) < 0.6
    dark = Image.fromarray(255 - np.asarray(sheet))
    np.testing.assert_array_equal(centred(ink_of(dark)), pixels)
    with pytest.raises(StudyError, match="no ink"):
        digit(Image.new("RGB", (50, 50), "white"))


def test_mnists_own_digits_come_back_nearly_as_they_are():
    exhibit = Digits().exhibit("frozen")
    distances = []
    for position in range(0, 200, 10):
        before = exhibit.study.queries[position][0]
        image = Image.fromarray(255 - (before[0] * 255).round().byte().numpy())
        distances.append(float(torch.linalg.norm(digit(image).item[0] - before) / torch.linalg.norm(before)))
    assert np.median(distances) < 0.01
    assert max(distances) < 0.8  # a few are scaled or stand a pixel off
