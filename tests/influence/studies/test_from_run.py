"""From a run back to its study: the same data and models, or a message that says what is different."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from influence.attribution.scores import attribute
from influence.errors import RunError, UpstreamError
from influence.precompute.runs import precompute
from influence.run.reading import Run
from influence.studies.from_run import exhibit_of
from influence.studies.images import cifar10
from influence.studies.request import exhibits_for

CODE = "from tiny import tiny_study\ndef f():\n    return tiny_study()\n"


@pytest.fixture
def pictures(tmp_path):
    generator = np.random.default_rng(0)
    for part, classes in (("pre", ("a", "b")), ("fine", ("c", "d")), ("test", ("c", "d"))):
        for name in classes:
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                pixels = generator.integers(0, 255, (8, 8, 3)).astype("uint8")
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    return [tmp_path / part for part in ("pre", "fine", "test")]


@pytest.fixture
def runs(pictures, tmp_path, quick_map, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = [path.relative_to(tmp_path) for path in pictures]
    options = {"epochs": 1, "size": 8, "finetuning": "both"}
    exhibits = exhibits_for(None, relative, None, 3, options, {"method": "identity"})
    return precompute(exhibits, ["frozen", "updated"], tmp_path / "runs", progress=False)


def test_study_and_models_come_back_from_anywhere(runs, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for run in runs:
        exhibit = exhibit_of(run)
        assert exhibit.variant == run.manifest.variant
        for stage in exhibit.study.stages:
            for name, value in stage.model.state_dict().items():
                assert torch.equal(value, run.models()[stage.name][name])
        again = attribute(exhibit.study, method="identity", progress=False)
        assert np.allclose(again.values, np.asarray(run.scores()[:]), rtol=1e-4, atol=1e-9)


def test_other_pictures_are_not_taken_for_the_runs(runs, pictures):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(pictures[0] / "a" / "0.png")
    with pytest.raises(RunError, match="other data or settings"):
        exhibit_of(runs[0])


def test_pictures_that_are_gone(runs, pictures):
    pictures[0].rename(pictures[0].with_name("moved"))
    with pytest.raises(UpstreamError, match="pre"):
        exhibit_of(runs[0])


def test_a_function_that_a_run_names_is_executed_only_when_given(tmp_path, quick_map, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    exhibits = exhibits_for("mine.py:f", None, None, None, {}, {"method": "cg", "damping": 0.5})
    (run,) = precompute(exhibits, ["tiny"], tmp_path / "runs", progress=False)
    (tmp_path / "mine.py").write_text("raise SystemExit('executed')")
    with pytest.raises(RunError, match=r"mine\.py:f"):
        exhibit_of(run)
    (tmp_path / "mine.py").write_text(CODE)
    study = exhibit_of(run, "mine.py:f").study
    assert torch.equal(study.stages[0].model.state_dict()["head.weight"], run.models()["pretrain"]["head.weight"])


def test_a_run_made_in_python_says_what_is_needed(tmp_path, quick_map, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    (exhibit,) = exhibits_for("mine.py:f", None, None, None, {}, {"method": "identity"})
    exhibit.asked = {}
    (run,) = precompute([exhibit], ["tiny"], tmp_path / "runs", progress=False)
    with pytest.raises(RunError, match=r"FILE\.py:FUNCTION"):
        exhibit_of(run)
    Run.open(run.path)


def test_options_that_are_paths_are_paths_again(runs, tmp_path, quick_map, monkeypatch):
    """Where the data of a built-in study is, and the weights to start from, stand in run.json as text."""
    for part in ("train", "test"):
        for number, name in enumerate(cifar10.CLASSES):
            (tmp_path / "cifar" / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(tmp_path / "cifar" / part / name / "0.png")
    options = {"epochs": 1, "size": 8, "finetuning": "frozen"}
    weights = runs[0].path / "stages" / "pretrain.safetensors"
    same = [tmp_path / part for part in ("pre", "fine", "fine")]
    for study, images, asked in (("cifar10", None, {"data": tmp_path / "cifar"}), (None, same, {"weights": weights})):
        exhibits = exhibits_for(study, images, None, 0, options | asked, {"method": "identity"})
        (run,) = precompute(exhibits, [study or "again"], tmp_path / "runs", progress=False)
        assert exhibit_of(run).variant == "frozen"


@pytest.mark.parametrize("tensors", [{}, {"other": torch.zeros(2)}])
def test_parameters_that_do_not_fit_the_model_are_named(runs, monkeypatch, tensors):
    monkeypatch.setattr(Run, "models", lambda run: dict.fromkeys(run.stages, tensors))
    with pytest.raises(RunError, match="parameters of run frozen do not fit the model of stage 'pretrain'"):
        exhibit_of(runs[0])
