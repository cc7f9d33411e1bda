"""Spans of completions: their scores are those of plain autograd, and add up to the whole completion's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import functional_call

from influence.attribution.tokens import refuse_other_measure
from influence.derivatives.first.gradients import example_gradients
from influence.errors import LossError, StudyError
from influence.live import LEAVE_OUT, Alteration, Contrast, Criterion, Live, Span, span_of
from influence.live import live as module
from influence.live.judgement import span_loss
from influence.studies.language import token_losses


@pytest.fixture(scope="module")
def opened(completions):
    run, exhibit = completions
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "exhibit_of", lambda run, function=None: exhibit)
        yield run, Live(run)


def placed(run, position):
    tokens = run.tokens("queries").iloc[position]
    return tokens["starts"], tokens["ends"], int(run.queries()["prompt_end"][position])


def close(found, expected):
    return np.linalg.norm(found - expected) <= 1e-3 * np.linalg.norm(expected)


def test_the_whole_has_the_scores_of_the_run(opened):
    run, live = opened
    for position in range(2):
        for stage, found in live.scores(live.stored(position), Span()).items():
            assert close(found, np.asarray(run.scores(stage)[position]))


def test_spans_add_up_to_the_whole(opened):
    run, live = opened
    starts, ends, prompt_end = placed(run, 0)
    item, text = live.stored(0), run.queries()["text"][0]
    cut = int(starts[8])
    parts = [span_of(starts, ends, *each, prompt_end) for each in ((0, cut), (cut, len(text)))]
    assert sorted(parts[0].tokens + parts[1].tokens) == list(range(6, 12))
    whole = live.scores(item, Span())
    one, other = (live.scores(item, each) for each in parts)
    for stage in run.stages:
        assert not close(one[stage], whole[stage])
        assert close(one[stage] + other[stage], whole[stage])


def test_the_derivative_of_a_span_is_that_of_plain_autograd(opened):
    _, live = opened
    span, item = Span((7, 9)), live.stored(3)
    objective = live.way_back.chain.last
    loss = span_loss(live.exhibit, objective, item, span)
    found = torch.cat([g for _, g in example_gradients(objective, [item], objective.all, loss)])[0]
    stage = live.exhibit.study.stages[-1]
    weights = {name: value.detach().clone().requires_grad_() for name, value in stage.model.named_parameters()}
    batch = stage.collate([item])
    log_p = functional_call(stage.model, weights, (batch[0],)).log_softmax(-1)[0]
    value = -sum(log_p[place, item[0][place]] for place in span.tokens)
    slopes = torch.autograd.grad(value, list(weights.values()))
    expected = objective.all.flatten(dict(zip(weights, slopes, strict=True)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_shares_of_tokens_add_up_to_the_score_of_a_span(opened):
    _, live = opened
    item, span = live.stored(0), Span((8,))
    for stage in ("pretrain", "finetune"):
        scores = live.scores(item, span)[stage]
        examples = np.argsort(scores)[[0, -1]].tolist()
        for example, shares in live.shares(item, span, stage, examples).items():
            np.testing.assert_allclose(shares.sum(), scores[example], rtol=2e-3, atol=1e-5)


def test_the_losses_of_tokens_are_kept_and_read_anew(opened):
    run, live = opened
    kept = run.tokens("queries")["losses"]
    for position, row in enumerate(run.queries().itertuples()):
        found = live.losses(live.stored(position))
        np.testing.assert_allclose(found.token_losses[: len(kept[position])], kept[position], atol=1e-4)
        np.testing.assert_allclose([found.loss, found.token_losses.sum()], row.loss, rtol=1e-4)
    assert live.classes == ()
    assert live.form == "completion"


def test_a_new_completion_is_read_as_the_stored_one(opened):
    run, live = opened
    row = run.queries().iloc[1]
    found = live.read((row["text"][: row["prompt_end"]], row["text"][row["prompt_end"] :]))
    assert found.shown == row["text"]
    starts, ends, prompt_end = placed(run, 1)
    assert (list(found.starts), list(found.ends), found.prompt_end) == (list(starts), list(ends), prompt_end)
    assert close(live.scores(found.item, Span((9,)))["pretrain"], live.scores(live.stored(1), Span((9,)))["pretrain"])
    with pytest.raises(StudyError, match="no completion"):
        live.read(("what", " "))


def test_edits_are_judged_by_a_span(opened):
    run, live = opened
    span = Span((9, 11), "corn")
    found = live.what_if.scores(Criterion((0,), contrast=span), "pretrain")
    assert close(found, live.scores(live.stored(0), span)["pretrain"])
    worst = int(found.argmin())
    edit = Alteration(LEAVE_OUT, "pretrain", int(run.examples("pretrain")["id"][worst]))
    alone = live.what_if.alone(Criterion((0,), contrast=span), [edit])
    np.testing.assert_allclose(alone, found[worst], rtol=1e-2)
    with pytest.raises(StudyError, match="of one query"):
        live.what_if.scores(Criterion((0, 1), contrast=span), "pretrain")


STARTS, ENDS = [0, 2, 6, 6, 10], [2, 5, 9, 9, 10]
"""Two tokens share the characters 6 to 9, as the bytes of a letter do; the last stands for the end of the text."""


@pytest.mark.parametrize(
    ("characters", "prompt_end", "tokens"),
    [
        ((0, 10), 0, (0, 1, 2, 3, 4)),
        ((0, 10), 5, (2, 3, 4)),
        ((3, 7), 0, (1, 2, 3)),  # cut ones count whole
        ((6, 9), 5, (2, 3)),
        ((9, 10), 5, (4,)),
    ],
)
def test_characters_are_mapped_to_tokens(characters, prompt_end, tokens):
    assert span_of(STARTS, ENDS, *characters, prompt_end) == Span(tokens)


@pytest.mark.parametrize(
    ("characters", "says"),
    [((5, 6), "tokens of none"), ((40, 50), "of none"), ((0, 4), "only of the prompt")],
)
def test_a_span_without_a_token_is_refused(characters, says):
    with pytest.raises(StudyError, match=f"{says}.*Choose characters of the completion, 5 to 10"):
        span_of(STARTS, ENDS, *characters, 5)


@pytest.mark.parametrize("tokens", [(), (-1,), (3, 12)])
def test_tokens_that_the_text_lacks_are_refused(opened, tokens):
    _, live = opened
    with pytest.raises(StudyError, match="the text's are 0 to 11"):
        live.scores(live.stored(0), Span(tokens))


def test_a_model_without_classes_has_none_to_explain(opened):
    _, live = opened
    with pytest.raises(StudyError, match="no classifier"):
        live.scores(live.stored(0), Contrast("cat"))
    with pytest.raises(StudyError, match="no classifier"):
        live.predict(live.stored(0))


def test_without_token_losses_the_whole_can_be_asked_about(opened, monkeypatch):
    run, live = opened
    monkeypatch.setattr(live.exhibit, "token_losses", {"pretrain": token_losses})
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: live.exhibit)
    other = Live(run)
    assert other.losses(other.stored(0)).token_losses is None
    with pytest.raises(StudyError, match="no token losses of stage 'finetune'"):
        other.scores(other.stored(0), Span((7,)))
    other.scores(other.stored(0), Span())


def test_token_losses_of_a_mean_are_multiplied_to_the_sum():
    sums = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 0.5, 0.0]])
    counts = torch.tensor([[3.0], [2.0]])
    for parts, measured in ((sums, sums.sum(1)), (sums / counts, sums.sum(1)), (sums, (sums / counts).sum(1))):
        found = (parts * refuse_other_measure(parts, measured)).sum(1)
        torch.testing.assert_close(found, measured)
    with pytest.raises(LossError, match="add up to 6 where the measure is 7"):
        refuse_other_measure(sums[:1], torch.tensor([7.0]))
    with pytest.raises(LossError, match="expected"):
        refuse_other_measure(sums[0], sums.sum(1))
