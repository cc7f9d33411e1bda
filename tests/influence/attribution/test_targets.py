"""Numbers made of all queries: their scores against those of queries, plain autograd and real training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import Net, data, loss, minimise_chain
from scipy.stats import wasserstein_distance
from torch.func import functional_call, grad

from influence import Stage, Study, attribute, targets
from influence.errors import LossError, MethodError, StudyError

OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}


@pytest.fixture(scope="module")
def study():
    g = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    stages = [
        Stage("pretrain", Net(2), loss, data(40, 3, 2, g), l2=0.1),
        Stage("finetune", Net(3), loss, data(40, 3, 3, g), l2=0.1, proximity=0.3),
    ]
    return Study("smooth", minimise_chain(stages), data(12, 3, 3, g))


def test_means_and_gaps_of_losses_are_sums_of_scores(study):
    scores = attribute(study, **OPTIONS).values
    found = attribute(study, targets=[targets.mean([0, 5]), targets.gap([0, 1, 2], [7, 8])], **OPTIONS)
    np.testing.assert_allclose(found.values[0], scores[[0, 5]].mean(0), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.values[1], scores[:3].mean(0) - scores[7:9].mean(0), rtol=1e-5, atol=1e-9)
    assert [each["unit"] for each in found.report["targets"]] == ["nat", "nat"]
    assert found.report["unit"] == "nat"


def test_the_unit_is_that_of_the_targets(study):
    gap, error = targets.gap([0, 1], [2, 3], of=1), targets.error(2)
    assert attribute(study, targets=[gap, error], **OPTIONS).report["unit"] == "probability"
    assert attribute(study, targets=[gap, targets.mean([0])], **OPTIONS).report["unit"] == "each target's own"
    unitless = attribute(study, targets=[gap], method="identity", progress=False).report
    assert unitless["unit"] == "order only"


def distance(a, b):
    """Of two groups: the area between their quantile functions, at multiples of 1 / (sizes' product)."""
    return (a.sort().values.repeat_interleave(len(b)) - b.sort().values.repeat_interleave(len(a))).abs().mean()


@pytest.mark.parametrize("sizes", [(5, 5), (3, 7), (1, 4)])
def test_the_distance_of_two_groups_is_scipys(sizes):
    losses = torch.randn(12, generator=torch.Generator().manual_seed(0)).double()
    losses[3] = losses[0]  # a tie
    a, b = range(sizes[0]), range(sizes[0], sum(sizes))
    target = targets.wasserstein(a, b)
    found = target.function(targets.Answers(None, losses, []))
    assert float(found) == pytest.approx(wasserstein_distance(losses[list(a)], losses[list(b)]))
    assert target.unit is None
    with pytest.raises(StudyError, match="name the same queries"):
        targets.wasserstein(a, a)


def functions(study):
    labels = study.queries.tensors[1]

    def spread(outputs):
        p = outputs.softmax(1)[:, 0]
        return (p[:6].sort().values - p[6:].sort().values).abs().mean()  # the Wasserstein distance of two groups

    return {
        "gap": (
            targets.gap([0, 1], [2, 3, 4], of=1),
            lambda z: z.softmax(1)[:2, 1].mean() - z.softmax(1)[2:5, 1].mean(),
        ),
        "wasserstein": (
            targets.wasserstein([0, 2, 4, 6], [1, 3, 5, 7, 9, 11], of=0),
            lambda z: distance(z.softmax(1)[[0, 2, 4, 6], 0], z.softmax(1)[[1, 3, 5, 7, 9, 11], 0]),
        ),
        "error": (targets.error(2), lambda z: 1 - z.softmax(1)[labels == 2, 2].mean()),
        "any": (spread, spread),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["gap", "wasserstein", "error", "any"])
def test_a_target_is_what_training_again_changes(study, name):
    target, number = functions(study)[name]
    scores = attribute(study, targets=[target], **OPTIONS).values[0]
    x = study.queries.tensors[0]
    with torch.no_grad():
        before = number(study.stages[-1].model(x))
        measured = []
        for row in range(0, 40, 4):
            weights = torch.ones(40).double()
            weights[row] -= 0.01
            after = minimise_chain(study.stages, {"pretrain": weights})[-1].model
            measured.append(float(number(after(x)) - before) / 0.01)
    np.testing.assert_allclose(scores[::4], measured, rtol=0.02, atol=0.01 * np.abs(measured).max())


@pytest.mark.parametrize("name", ["gap", "wasserstein", "error", "any"])
def test_the_gradient_is_autograds_in_any_batches(study, name):
    target, number = functions(study)[name]
    last = Study("last", [study.stages[-1]], study.queries)
    x, model = study.queries.tensors[0], study.stages[-1].model
    values = {n: p.detach() for n, p in model.named_parameters()}
    slopes = grad(lambda p: number(functional_call(model, p, (x,))))(values)
    inputs, labels = last.stages[0].data.tensors
    rows = []
    for row in range(40):
        one = grad(lambda p, i=row: loss(functional_call(model, p, (inputs[i : i + 1],)), [0, labels[i : i + 1]])[0])
        rows.append(sum(float((one(values)[n] * slopes[n]).sum()) for n in values))
    for batch_size in (None, 5):
        found = attribute(last, targets=[target], method="identity", progress=False, batch_size=batch_size)
        np.testing.assert_allclose(found.values[0], np.array(rows) / 40, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (list, StudyError, "expected a list with at least one target"),
        (lambda: ["loss"], StudyError, "'loss' is no target"),
        (lambda: [targets.mean([])], StudyError, "rows is empty"),
        (lambda: [targets.mean([12])], StudyError, "no query 12; they are 0 to 11"),
        (lambda: [targets.gap([0], [])], StudyError, "rows_b is empty"),
        (lambda: [targets.gap([0, 0], [1])], StudyError, "rows_a names 0 more than once"),
        (lambda: [targets.gap([0], [-1])], StudyError, "rows_b holds -1"),
        (lambda: [targets.gap([0], [1], of=3)], StudyError, "no class 3; the last stage's classes are 0 to 2"),
        (lambda: [targets.error(9)], StudyError, "no class 9"),
        (lambda: [targets.error("cat")], StudyError, "class is 'cat'"),
        (lambda: [lambda z: (z.argmax(1) == 0).double().mean()], LossError, "has no derivative"),
        (lambda: [lambda z: z.softmax(1).round().mean()], LossError, "has no derivative"),
        (lambda: [lambda z: z[:, 0]], LossError, r"gave shape \(12,\)"),
        (lambda: [lambda z: z.sum() / 0], LossError, "expected a finite number"),
        (lambda: [lambda z: 3.0], LossError, "gave a float"),
        (lambda: [lambda z: z[99].sum()], LossError, "raised IndexError"),
        (lambda: [lambda z: (z[:, 0] * 0).sum().sqrt()], LossError, "derivative that is not finite"),
        (lambda: [targets.gap([0, 1], [1, 0])], StudyError, "rows_a and rows_b name the same queries"),
        (lambda: [targets.gap([0], [1], of="cat")], StudyError, "class is 'cat'"),
        (lambda: [targets.mean(torch.arange(4).view(2, 2))], StudyError, r"rows holds \[0, 1\]"),
        (lambda: [targets.mean(torch.ones(12).bool())], StudyError, "rows is a mask"),
    ],
)
def test_bad_targets_are_named(study, target, error, message):
    with pytest.raises(error, match=message):
        attribute(study, targets=target(), **OPTIONS)


def test_replay_explains_no_targets(study):
    with pytest.raises(MethodError, match="'replay' explains no `targets`"):
        attribute(study, targets=[targets.mean([0])], method="replay", progress=False)


def said(outputs, labels):
    return targets.Answers([(0, label) for label in labels], torch.zeros(len(labels)), [outputs])


def test_probabilities_are_found_in_every_form_of_outputs():
    logits = torch.tensor([[0.3, 1.2, -0.5], [2.0, 0.1, 0.4]])
    for outputs in (logits, logits.log_softmax(1), logits.softmax(1), {"logits": logits, "pooled": torch.ones(2, 5)}):
        torch.testing.assert_close(said(outputs, [0, 1]).probabilities, logits.softmax(1))
    for outputs in (logits[:, 0], logits[:, :1]):
        torch.testing.assert_close(said(outputs, [0, 1]).probabilities[:, 1], logits[:, 0].sigmoid())
        with pytest.raises(StudyError, match="labels are not all 0 or 1"):
            _ = said(outputs, [0.0, 2.5]).probabilities
    with pytest.raises(StudyError, match="several numbers each"):
        _ = said(logits, [torch.zeros(3), torch.zeros(3)]).labels
