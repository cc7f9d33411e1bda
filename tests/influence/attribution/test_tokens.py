"""Scores split over tokens: they add up, and each part is the influence of a loss of that part alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_texts import text_study

from influence import Stage, Study, attribute, token_influence
from influence.attribution.chain import Chain
from influence.curvature import method_named
from influence.errors import LossError, MethodError
from influence.studies.language import language_loss, token_losses

OPTIONS = {"method": "exact", "damping": 0.1}


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "identity"])
def test_shares_add_up_to_the_score(method):
    study = text_study(seed=1)
    scores = attribute(study, method=method, damping=0.1, progress=False).values
    found = token_influence(study, {0: [3, 20], 4: [7]}, token_losses, method=method, damping=0.1)
    for query, examples in {0: [3, 20], 4: [7]}.items():
        assert list(found[query]) == examples
        for example in examples:
            shares = found[query][example]
            assert not shares[len(study.stages[0].data.ids[example]) :].any()
            np.testing.assert_allclose(shares.sum(), scores[query, example], rtol=1e-4, atol=1e-9)


def test_a_share_is_what_that_tokens_gradient_gives():
    """Token by token, with plain autograd on the user's model."""
    study, example = text_study(seed=2), 5
    (shares,) = token_influence(study, {1: [example]}, token_losses, **OPTIONS)[1].values()
    chain = Chain(study, 0, lambda objective: method_named("exact")(objective, damping=0.1))
    *_, (_, solved) = chain.pull_back(chain.query_gradients())
    stage = study.stages[0]
    batch = stage.collate([stage.data[example]])
    for position, share in enumerate(shares):
        loss = token_losses(stage.model(batch[0]), batch)[0, position]
        gradients = torch.autograd.grad(loss, list(stage.model.parameters()))
        expected = float(solved[1] @ torch.cat([g.flatten() for g in gradients])) / len(stage.data)
        np.testing.assert_allclose(share, expected, rtol=1e-4, atol=1e-10)


def test_the_querys_own_tokens():
    """Where the last stage is a language model too, a query's loss is a sum as well."""
    first = text_study(seed=3)
    pretraining = first.stages[0]
    model = type(pretraining.model)(pretraining.model.body.words.num_embeddings, 8, 4, 1).double()
    model.load_state_dict(pretraining.model.state_dict())
    second = Stage("more", model, language_loss, first.stages[1].data, collate=pretraining.collate, proximity=0.2)
    study = Study("twice", [pretraining, second], first.queries)
    scores = attribute(study, progress=False, **OPTIONS).values
    found = token_influence(study, {2: [1, 9]}, token_losses, of="query", **OPTIONS)[2]
    for example, shares in found.items():
        assert len(shares) == len(first.queries.ids[2])
        np.testing.assert_allclose(shares.sum(), scores[2, example], rtol=1e-4, atol=1e-9)
    # Its first token's share is the influence on that token's loss.
    measured = dataclasses.replace(study, measure=lambda outputs, batch: token_losses(outputs, batch)[:, 0])
    alone = attribute(measured, progress=False, **OPTIONS).values[2]
    for example, shares in found.items():
        np.testing.assert_allclose(shares[0], alone[example], rtol=1e-4, atol=1e-10)


def test_losses_that_do_not_add_up_are_refused():
    study = text_study()
    with pytest.raises(LossError, match=r"'pretrain': the tokens' losses add up to .* where the loss is"):
        token_influence(study, {0: [0]}, lambda outputs, batch: 2 * token_losses(outputs, batch), **OPTIONS)
    with pytest.raises(LossError, match=r"token_losses gave shape \(24,\), expected \(24, tokens\)"):
        token_influence(study, {0: [0]}, lambda outputs, batch: token_losses(outputs, batch).sum(1), **OPTIONS)
    with pytest.raises(MethodError, match="'exact' has no option 'depth'"):
        token_influence(study, {0: [0]}, token_losses, **OPTIONS, depth=3)
    with pytest.raises(MethodError, match="Device 'moon' cannot be used here"):
        token_influence(study, {0: [0]}, token_losses, **OPTIONS, device="moon")
    with pytest.raises(MethodError, match="of is 'both', expected 'example' or 'query'"):
        token_influence(study, {0: [0]}, token_losses, of="both")
