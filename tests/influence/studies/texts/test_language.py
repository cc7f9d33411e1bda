"""The laws of influence on a language model: padding, tied weights, next-token losses; and really leaving texts out."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minima import close
from tiny_texts import text_study
from torch.func import functional_call
from torch.nn.functional import log_softmax

from influence import Study, attribute
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.losses import checked_losses
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.products import ggn_product, hessian_product
from influence.studies.language import (
    COMMON,
    LanguageModel,
    class_loss,
    emphasis,
    language_loss,
    sentence,
    token_losses,
)
from influence.studies.texts.tokenizing import PADDING, START, TokenData, padded
from influence.training.minimum import fit_stage
from influence.training.retraining import Retrainer

seeds = st.integers(0, 2**31 - 1)
several = settings(max_examples=4, deadline=None, derandomize=True)


def values(study: Study, **options) -> np.ndarray:
    return attribute(study, **{"method": "exact", "progress": False, "damping": 0.1, **options}).values


def test_the_loss_is_the_mean_of_each_tokens_own():
    torch.manual_seed(0)
    model = LanguageModel(9, 6, 4, 1).double()
    batch = padded([(torch.tensor([3, 4, 5]), 0), (torch.tensor([6]), 0)])
    assert batch[0].tolist() == [[START, 3, 4, 5], [START, 6, PADDING, PADDING]]
    alone = log_softmax(model(torch.tensor([[START, 3, 4, 5]])), -1)[0]
    expected = -torch.stack([alone[0, 3], alone[1, 4], alone[2, 5]])
    torch.testing.assert_close(token_losses(model(batch[0]), batch)[0], expected / 3)
    torch.testing.assert_close(language_loss(model(batch[0]), batch)[0], expected.mean())
    assert token_losses(model(batch[0]), batch)[1, 1:].tolist() == [0, 0]


def test_padding_and_later_tokens_change_nothing():
    torch.manual_seed(1)
    model = LanguageModel(9, 6, 4, 2).double()
    short, long = torch.tensor([3, 4]), torch.tensor([3, 4, 5, 6, 7])
    together = model(padded([(short, 0), (long, 0)])[0])
    torch.testing.assert_close(together[0, :2], model(padded([(short, 0)])[0])[0])
    torch.testing.assert_close(together[0, :2], together[1, :2])


def test_a_sentence_is_the_weighted_mean_of_what_is_read():
    torch.manual_seed(0)
    model, weights = LanguageModel(6, 4, 8, 1).double(), torch.tensor([9.0, 9, 1, 2, 3, 4], dtype=torch.float64)
    model.body.emphasis = weights
    tokens = torch.tensor([[START, 2, 4, PADDING], [START, 5, 3, 3]])
    found = sentence(model, tokens)
    states, words = model.body(tokens), model.body.words(tokens)
    for row, (places, shares) in enumerate([([1, 2], [1 / 4, 3 / 4]), ([1, 2, 3], [4 / 8, 2 / 8, 2 / 8])]):
        mean, word = (sum(s * v[row, p] for p, s in zip(places, shares, strict=True)) for v in (states, words))
        normal = [(v - v.mean()) / (v.var(unbiased=False) + 1e-5).sqrt() for v in (mean, word)]
        torch.testing.assert_close(found[row], torch.cat(normal))


def test_a_common_token_weighs_half_and_an_unseen_one_wholly():
    counts = torch.tensor([0, 3, 997])
    assert emphasis(counts).tolist() == pytest.approx([1, COMMON / (COMMON + 0.003), COMMON / (COMMON + 0.997)])
    assert COMMON == 0.003, "then the second is a half"


@pytest.mark.parametrize("stage", [0, 1])
def test_gradients_are_finite_differences(stage):
    objective = objectives_of(text_study(seed=3, frozen=[]), batch_size=7)[stage]
    point = objective.trained.flatten(objective.parameters)
    direction = torch.randn(len(point), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = torch.cat([g for _, g in example_gradients(objective, objective.stage.data, objective.trained)])

    def losses(step):
        moved = objective.at({**objective.parameters, **objective.trained.unflatten(point + step * direction)})
        return checked_losses(moved, objective.stage.data)

    step = 1e-5
    slopes = (losses(step) - losses(-step)) / (2 * step)
    torch.testing.assert_close(gradients @ direction, slopes, rtol=1e-6, atol=1e-8)
    curved = (direction @ hessian_product(objective, direction[None])[0]).item()
    bend = float(((losses(1e-4) - 2 * losses(0.0) + losses(-1e-4)) / 1e-8).mean())
    assert abs(curved - bend) < 1e-4 * abs(bend)


def test_gauss_newton_of_next_tokens_is_that_of_their_softmax():
    """J' (diag p - p p') J, summed over tokens with weight 1 / L, by dense Jacobians."""
    objective = objectives_of(text_study(seed=4, counts=(6, 4, 2)))[0]
    names = dict(objective.stage.model.named_parameters())
    expected = torch.zeros(objective.trained.size, objective.trained.size, dtype=torch.float64)
    for ids, _ in [objective.stage.data[i] for i in range(6)]:
        tokens = padded([(ids, 0)])[0]

        def outputs(p, tokens=tokens):
            return functional_call(objective.stage.model, p, (tokens,))[0]

        jacobians = torch.func.jacrev(outputs)({n: p.detach() for n, p in names.items()})
        jacobian = torch.cat([jacobians[n].flatten(2) for n in objective.trained.shapes], dim=2)
        chances = outputs(names).softmax(-1).detach()
        for row, p in zip(jacobian, chances, strict=True):
            expected += row.T @ (torch.diag(p) - torch.outer(p, p)) @ row / len(ids) / 6
    found = ggn_product(objective, torch.eye(objective.trained.size, dtype=torch.float64))
    torch.testing.assert_close(found, expected)


@several
@given(seeds, st.floats(-3, 3), st.floats(-3, 3))
def test_linear_in_the_query(seed, a, b):
    def first(outputs, batch):
        return outputs[:, 0]

    def mix(outputs, batch):
        return a * class_loss(outputs, batch) + b * first(outputs, batch)

    parts = a * values(text_study(seed, measure=class_loss)) + b * values(text_study(seed, measure=first))
    np.testing.assert_allclose(values(text_study(seed, measure=mix)), parts, rtol=1e-4, atol=1e-6)


@several
@given(seeds, st.sampled_from(["exact", "cg", "identity"]))
def test_permuting_texts_permutes_scores(seed, method):
    study = text_study(seed)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(seed)).tolist()
    first, last = copy.copy(study.stages[0]), study.stages[1]
    first.data = TokenData([first.data.ids[i] for i in order], [0] * 24)
    permuted = Study("permuted", [first, last], study.queries)
    close(values(permuted, method=method), values(study, method=method)[:, order])


@several
@given(seeds, st.integers(1, 20), st.sampled_from(["exact", "cg", "identity"]))
def test_batch_size_makes_no_difference(seed, batch_size, method):
    both = [values(text_study(seed), method=method, batch_size=size) for size in (batch_size, 64)]
    close(*both)


@several
@given(seeds)
def test_frozen_is_the_limit_of_large_proximity(seed):
    options = {"damping": 40.0, "curvature": "hessian"}  # random parameters: the Hessian is indefinite
    names = [n for n, _ in text_study(seed).stages[1].model.named_parameters() if n.startswith("body.")]
    frozen = values(text_study(seed, frozen=names), **options)
    errors = [
        np.abs(values(text_study(seed, frozen=[], proximity=alpha), **options) - frozen).max() for alpha in (1e4, 1e6)
    ]
    assert errors[1] < 1e-3 * np.abs(frozen).max()
    assert errors[1] < errors[0] / 10 or errors[0] < 1e-5 * np.abs(frozen).max()


@pytest.mark.parametrize("variant", ["frozen", "updated"])
def test_scores_predict_what_a_text_of_less_weight_really_does(variant):
    """A hundredth of a sentence left out, both stages trained again to their minima.

    A whole one in sixty is not little for these random texts: it may lead over a fold to another minimum.
    """
    frozen = ["body.*"] if variant == "frozen" else []
    study = text_study(0, counts=(60, 30, 12), l2=0.03, frozen=frozen)
    for previous, stage in zip((None, *study.stages), study.stages, strict=False):
        assert fit_stage(stage, previous).converged
    scores = attribute(study, method="exact", curvature="hessian", progress=False).values
    examples = np.random.default_rng(0).choice(60, 8, replace=False).tolist()
    retrainer = Retrainer(study)
    weights = torch.ones(60, dtype=torch.float64) - 0.01 * torch.eye(60, dtype=torch.float64)[examples]
    losses = torch.stack([retrainer.losses_with("pretrain", each) for each in weights])
    measured = ((losses - retrainer.losses_with("pretrain", torch.ones(60))) / 0.01).numpy()
    predicted = scores[:, examples].T
    assert min(np.corrcoef(p, m)[0, 1] for p, m in zip(predicted, measured, strict=True)) > 0.99
    assert np.abs(predicted - measured).max() < 0.05 * np.abs(predicted).max()
