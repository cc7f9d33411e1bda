"""Where in a picture: each patch's number is that of the picture with this patch blank."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest
import torch
from small_digits import trained_study

from influence import edit_scores, edits
from influence.errors import StudyError
from influence.live import MASK, Alteration, Criterion
from influence.live.patches import blanks
from influence.live.way_back import WayBack
from influence.live.what_if import WhatIf
from influence.studies.exhibit import Exhibit
from influence.studies.images.mask import masked


@pytest.fixture(scope="module")
def exhibit():
    return Exhibit(trained_study("frozen"), method="exact", curvature="hessian")


@pytest.fixture(scope="module")
def what_if(exhibit):
    run = types.SimpleNamespace(
        curvature=lambda stage, method: {},
        examples=lambda stage: exhibit.examples[stage],
        stage=lambda stage: types.SimpleNamespace(name=stage),
    )
    return WhatIf(WayBack(run, exhibit))


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_patch_is_worth_what_its_mask_does(exhibit, what_if, stage):
    criterion, rows = Criterion((3,)), [5, 1]
    found = what_if.patches(criterion, stage, rows, side=3)
    assert found.shape == (2, 3, 3)
    data = exhibit.study.stages[exhibit.study.position(stage)].data
    boxes = [(left, top, min(3, 8 - left), min(3, 8 - top)) for top in (0, 3, 6) for left in (0, 3, 6)]
    made = [edits.replace(stage, [r], [(masked(data[r][0], box), data[r][1])]) for r in rows for box in boxes]
    expected = edit_scores(exhibit.study, made, method="exact", curvature="hessian", progress=False).values[3]
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-4, atol=1e-9)
    ids = exhibit.examples[stage]["id"].to_numpy()
    asked = [Alteration(MASK, stage, int(ids[r]), box) for r in rows for box in boxes]
    np.testing.assert_allclose(what_if.alone(criterion, asked), expected, rtol=1e-4, atol=1e-9)


def test_the_size_is_that_of_the_model_s_input_width_first(exhibit, what_if, monkeypatch):
    assert what_if.size("pretrain", 0) == (8, 8)
    wide = [(torch.zeros(1, 5, 9), 0)]
    monkeypatch.setattr(exhibit.study.stages[0], "data", wide)
    assert what_if.size("pretrain", 0) == (9, 5)


def test_a_mask_outside_the_picture_is_refused(exhibit, what_if):
    name = int(exhibit.examples["pretrain"]["id"].iloc[0])
    with pytest.raises(StudyError, match=r"mask 6,6,3,3 .* no part of a picture of 8 x 8"):
        what_if.alone(Criterion((3,)), [Alteration(MASK, "pretrain", name, (6, 6, 3, 3))])


def test_an_example_that_there_is_not_is_refused(what_if):
    with pytest.raises(StudyError, match="no example 700; its examples are 0 to 699"):
        what_if.patches(Criterion((3,)), "pretrain", [700])


def test_pictures_of_several_sizes_are_asked_about_one_size_at_a_time(exhibit, what_if, monkeypatch):
    objective = what_if._back.objective("pretrain")
    data = [exhibit.study.stages[0].data[0], (torch.zeros(1, 20, 20, dtype=torch.float64), torch.tensor(0))]
    monkeypatch.setattr(objective, "stage", dataclasses.replace(objective.stage, data=data))
    with pytest.raises(StudyError, match="pictures of several sizes"):
        what_if.patches(Criterion((3,)), "pretrain", [0, 1])


@pytest.mark.parametrize(("tall", "wide"), [(8, 8), (28, 28), (64, 64), (224, 224), (13, 9), (40, 100)])
def test_patches_go_by_the_size_of_the_picture(tall, wide):
    """They cover it, each pixel once; 7 to 12 lie along its longer side."""
    picture = torch.randn(1, tall, wide)
    found = blanks((picture, 3))
    assert 7 <= max(found.shape) <= 12
    assert all(label == 3 for _, label in found.examples)
    times = sum((blank != picture).int() for blank, _ in found.examples)
    assert torch.equal(times, torch.ones_like(times))


def test_the_picture_is_found_in_every_form():
    picture, label = torch.randn(3, 8, 8), torch.tensor(1)
    for example, of in (
        ((picture, label), lambda e: e[0]),
        ([torch.tensor([1, 2]), picture, label], lambda e: e[1]),
        ({"labels": label, "pixel_values": picture}, lambda e: e["pixel_values"]),
        (picture, lambda e: e),
    ):
        assert all((of(blank) != picture).any() for blank in blanks(example).examples)
    with pytest.raises(StudyError, match="A mask needs pictures"):
        blanks((torch.tensor([[1, 2], [3, 4]]), label))
