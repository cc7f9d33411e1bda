"""The model of word pairs: what predicts what, a convex loss, one minimum, and really leaving texts out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_texts import sentences

from influence import attribute
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.gauss_newton import ggn
from influence.derivatives.second.hessian import hessian
from influence.studies.texts import Corpus, TextOptions, TextStudy
from influence.studies.texts.tokenizing import FIRST_WORD, PADDING, UNKNOWN, padded
from influence.studies.texts.word_pairs import (
    RARE,
    Body,
    TextClassifier,
    WordPairs,
    language_loss,
    token_losses,
    weighted,
    word_pairs,
)
from influence.study.study import Study
from influence.training.minimum import Trainer, fit_stage
from influence.training.retraining import Retrainer

COUNTS = torch.tensor([0, 0, 5, 40, 20, 10, 5, 2])


def batch(*texts: list[int]) -> list[torch.Tensor]:
    return padded([(torch.tensor(ids), 0) for ids in texts])


def model(width: int = 4) -> WordPairs:
    made = WordPairs(COUNTS, width).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def study(variant: str = "frozen", **options) -> Study:
    parts = {}
    for seed, (part, count) in enumerate({"pretrain": 60, "finetune": 30, "queries": 12}.items()):
        texts, topics = sentences(count, seed)
        parts[part] = Corpus(texts, topics, list(range(count)))
    made = TextStudy("tiny", "Sentences", parts, TextOptions(width=6, **options)).exhibit(variant).study
    for stage in made.stages:
        stage.model.double()
    return made


def trained(variant: str) -> Study:
    made = study(variant)
    for previous, stage in made.pairs():
        assert fit_stage(stage, previous).converged
    return made


def test_no_word_is_predicted_from_itself_or_its_side():
    made = model()
    plain, even, odd = made(batch([3, 4, 5, 6], [3, 4, 7, 6], [3, 7, 5, 6])[0])
    assert torch.equal(plain[0], even[0]), "what stands at even places says nothing of even places"
    assert not torch.allclose(plain[1], even[1])
    assert torch.equal(plain[1], odd[1])
    assert not torch.allclose(plain[0], odd[0])


def test_logits_are_the_weighted_mean_of_what_the_other_words_say():
    made, weights = model(), [0.003 / (0.003 + count / 82) for count in COUNTS.tolist()]
    scale = [(count / 82 + RARE) ** -0.5 for count in COUNTS.tolist()]
    words = made.body.words.weight
    expected = (weights[4] * scale[4] * words[4] + weights[6] * scale[6] * words[6]) / (weights[4] + weights[6])
    torch.testing.assert_close(made(batch([3, 4, 5, 6])[0])[0, 0], expected + made.bias)


def test_padding_changes_nothing_and_unknown_words_say_nothing():
    made = model()
    alone, together = made(batch([3, 4])[0]), made(batch([3, 4], [3, 4, 5, 6, 7])[0])
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(made(batch([3, UNKNOWN])[0])[0, 0], made.bias)
    assert made(batch([UNKNOWN])[0]).isfinite().all()


def test_the_loss_is_the_weighted_mean_of_the_common_words():
    made, emphasis = (
        model(width=3),
        torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1,
    )
    texts = weighted([(torch.tensor(ids), 0) for ids in ([3, 7, 5, 4], [7, 6])], emphasis)
    logits = made(texts[0])
    shares = token_losses(logits, texts)
    chances = logits[0].log_softmax(-1)
    each = torch.stack([-chances[0, 0], -chances[0, 2], -chances[1, 1]])  # ids 3, 5 and 4; 7 is not common
    weights = emphasis[[3, 5, 4]]
    torch.testing.assert_close(shares[0, [0, 2, 3]], each * weights / weights.sum())
    assert shares[0, 1] == 0
    assert language_loss(logits, texts)[1] == 0, "no common word"
    assert PADDING < UNKNOWN < FIRST_WORD


def test_the_loss_is_convex_at_any_parameters():
    made = study()
    with torch.no_grad():
        for parameter in made.stages[0].model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    objective = objectives_of(made)[0]
    bent = hessian(objective)
    torch.testing.assert_close(bent, ggn(objective))
    assert float(torch.linalg.eigvalsh(bent)[0]) > -1e-12


def test_there_is_one_minimum():
    made = study()
    stage = made.stages[0]
    trainer = Trainer(stage, objectives_of(made)[0].groups)
    other = {n: torch.randn(p.shape, dtype=torch.float64) for n, p in stage.model.named_parameters()}
    first, second = trainer.fit(), trainer.fit(start=other)
    assert first.converged
    assert second.converged
    for name, value in first.parameters.items():
        torch.testing.assert_close(second.parameters[name], value, rtol=0, atol=1e-6)


def test_features_of_a_text_are_normalised_and_fade():
    made = TextClassifier(COUNTS, 4, 2, fading=0.5).double()
    with torch.no_grad():
        made.body.words.weight.copy_(model().body.words.weight)
        made.head.weight.copy_(torch.eye(2, 4))
    weights = [0.003 / (0.003 + count / 82) for count in COUNTS.tolist()]
    said = made.body.words.weight * made.body.scale[:, None]
    state = (weights[5] * said[5] + 0.5 * weights[6] * said[6]) / (weights[5] + 0.5 * weights[6])
    expected = (state - state.mean()) / (state.var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(made(batch([5, 6])[0])[0], expected[:2])


@pytest.mark.parametrize("variant", ["frozen", "updated"])
def test_scores_predict_what_leaving_a_text_out_really_does(variant):
    made = trained(variant)
    scores = attribute(made, method="exact", curvature="hessian", progress=False).values
    examples = np.random.default_rng(0).choice(60, 8, replace=False).tolist()
    retrainer = Retrainer(made)
    base = retrainer.retrain().losses
    measured = np.stack([retrainer.losses_without("pretrain", [each]).numpy() - base for each in examples])
    assert np.corrcoef(scores[:, examples].T.ravel(), measured.ravel())[0, 1] > 0.98


def test_ekfac_is_near_the_exact_solution():
    made = trained("frozen")
    exact, near = (attribute(made, method=method, progress=False, **options).values for method, options in (
        ("exact", {}), ("ekfac", {"small": 0}),
    ))  # fmt: skip
    assert np.corrcoef(exact.ravel(), near.ravel())[0, 1] > 0.9


def test_without_an_l2_term_the_solves_are_damped():
    damped, plain = (word_pairs(TextOptions(l2=l2), COUNTS) for l2 in (0.0, None))
    assert (plain.l2 > 0, plain.damping) == (True, 0)
    assert (damped.l2, damped.damping > 0) == (0, True)


def test_a_width_beyond_the_vocabulary_is_that_of_the_vocabulary():
    assert Body(COUNTS, 4).words.weight.shape == (8, 4)
    assert study(vocabulary=9).stages[0].model.bias.shape == (6,)
    assert study(vocabulary=5).stages[0].model.bias.shape == (2,)
