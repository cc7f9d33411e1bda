"""The loss's Hessian in the outputs: random vectors and roots of it against dense matrices by autograd."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    nll_loss,
    one_hot,
    poisson_nll_loss,
)
from torch.utils.data import TensorDataset

from influence import Stage
from influence.derivatives import Objective
from influence.derivatives.second import samples
from influence.derivatives.second.outputs import OutputLoss
from influence.derivatives.second.roots import hessian_roots
from influence.derivatives.second.samples import random_sides
from influence.study.parameters import groups_of

g = torch.Generator().manual_seed(0)
COPIES = 1500
"""Of two examples, in one batch: their random vectors differ, and their second moments can be measured."""
LABELS = torch.tensor([2, 0])
TOKENS = torch.tensor([[0, 1], [3, 2]])
WEIGHTS = torch.tensor([1.0, 0.2, 3.0, 0.5])


def objective_of(loss) -> Objective:
    stage = Stage("stage", nn.Linear(1, 1), loss, TensorDataset(torch.zeros(2, 1)))
    return Objective(stage, groups_of(stage, None))


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=g)


def classes(outputs, labels):
    return cross_entropy(outputs, labels, reduction="none")


def tokens(outputs, labels):
    return cross_entropy(outputs, labels, reduction="none").mean(1)


def focal(outputs, labels):
    each = classes(outputs, labels)
    return (1 - (-each).exp()).square() * each


def gaussian(outputs, labels):
    mean, spread = outputs
    return ((mean - 1).square() * (-spread).exp() + spread).sum(1) / 2


def yes_or_no(outputs, labels):
    return binary_cross_entropy_with_logits(outputs, one_hot(labels, 4).to(outputs), reduction="none").mean(1)


MIXED = normal(6, 6)
KNOWN = {
    "classes": (normal(2, 4), LABELS, classes),
    "half precision": (normal(2, 4).bfloat16(), LABELS, classes),
    "class weights": (normal(2, 4), LABELS, lambda o, y: cross_entropy(o, y, WEIGHTS, reduction="none")),
    "smooth labels": (normal(2, 4), LABELS, lambda o, y: cross_entropy(o, y, reduction="none", label_smoothing=0.2)),
    "classes, then length": (normal(2, 4, 2), TOKENS, tokens),
    "length, then classes": (
        normal(2, 2, 4),
        TOKENS,
        lambda o, y: cross_entropy(o.mT, y, reduction="none", ignore_index=0).sum(1),
    ),
    "two heads": ((normal(2, 4), normal(2, 3)), LABELS, lambda o, y: classes(o[0], y) + o[1].square().mean(1)),
    "yes or no": (normal(2, 4), LABELS, yes_or_no),
    "counts": (
        normal(2, 4),
        LABELS,
        lambda o, y: poisson_nll_loss(o, one_hot(y, 4).to(o), reduction="none").sum(1),
    ),
}
OTHER = {
    "temperature": (normal(2, 4), LABELS, lambda o, y: classes(o / 2, y)),
    "temperature, then length": (normal(2, 4, 2), TOKENS, lambda o, y: tokens(o / 2, y)),
    "z-loss": (normal(2, 4), LABELS, lambda o, y: classes(o, y) + 0.1 * o.logsumexp(1).square()),
    "dense": (normal(2, 6), LABELS, lambda o, y: (o @ MIXED.to(o)).square().sum(1)),
    "outputs that meet": ((normal(2, 4), normal(2, 4)), LABELS, lambda o, y: classes(o[0] + o[1], y)),
}


def every(outputs) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def put(outputs, tensors):
    return tuple(tensors) if isinstance(outputs, tuple) else tensors[0]


def dense(outputs, labels, loss, example: int) -> Tensor:
    """The Hessian of one example's loss in its outputs, in double precision where the loss can."""

    def alone(*points):
        return loss(put(outputs, points), labels[example : example + 1]).sum()

    points = tuple(t[example : example + 1].double() for t in every(outputs))
    try:
        blocks = torch.autograd.functional.hessian(alone, points)
    except RuntimeError:
        blocks = torch.autograd.functional.hessian(alone, tuple(t.float() for t in points))
    sizes = [t.numel() for t in points]
    rows = [torch.cat([block.reshape(size, -1) for block in row], 1) for size, row in zip(sizes, blocks, strict=True)]
    return torch.cat(rows).double()


def curve_of(outputs, labels, loss, copies: int = 1) -> OutputLoss:
    many = put(outputs, [t.repeat(copies, *[1] * (t.dim() - 1)) for t in every(outputs)])
    return OutputLoss(objective_of(loss), many, labels.repeat(copies, *[1] * (labels.dim() - 1)))


def moments(curve: OutputLoss) -> list[Tensor]:
    """The second moment of the random vectors, of each of the two examples."""
    sides = random_sides(curve, 2 * COPIES, torch.Generator().manual_seed(1)).sides
    rows = torch.cat([side.double().flatten(1) for side in sides], dim=1)
    return [rows[i::2].T @ rows[i::2] / COPIES for i in range(2)]


def assert_moments(curve: OutputLoss, expected: list[Tensor]) -> None:
    for found, matrix in zip(moments(curve), expected, strict=True):
        assert (found - matrix).norm() < 2 * matrix.trace() / COPIES**0.5


@pytest.mark.parametrize("name", KNOWN)
def test_random_vectors_of_a_known_form_have_the_hessian_as_second_moment(name, monkeypatch):
    monkeypatch.setattr(samples, "_of_roots", None)
    outputs, labels, loss = KNOWN[name]
    assert_moments(curve_of(outputs, labels, loss, COPIES), [dense(outputs, labels, loss, i) for i in range(2)])


@pytest.mark.parametrize("decomposed", [True, False])
@pytest.mark.parametrize("name", OTHER)
def test_random_vectors_of_another_form_too_decomposed_or_by_products(name, decomposed, monkeypatch):
    if not decomposed:
        monkeypatch.setattr(samples, "MAX_DECOMPOSED", 0)
    outputs, labels, loss = OTHER[name]
    assert_moments(curve_of(outputs, labels, loss, COPIES), [dense(outputs, labels, loss, i) for i in range(2)])


@pytest.mark.parametrize("name", ["classes", "temperature"])
def test_examples_may_stand_in_any_dimension(name):
    """Time first, as recurrent networks have it; places and examples are independent of each other."""
    heat = 2 if name == "temperature" else 1
    z, labels = normal(1, 1, 4).expand(2, COPIES, 4), torch.zeros(COPIES, 2, dtype=torch.long)
    curve = OutputLoss(objective_of(lambda o, y: tokens(o.permute(1, 2, 0) / heat, y)), z, labels)
    (side,) = random_sides(curve, COPIES, torch.Generator().manual_seed(1)).sides
    rows = side.double().transpose(0, 1).flatten(1)
    p = (z[0, 0] / heat).double().softmax(0)
    one = (p.diag() - p[:, None] * p) / heat**2 / 2
    expected = torch.block_diag(one, one)
    assert (rows.T @ rows / COPIES - expected).norm() < 2 * expected.trace() / COPIES**0.5


@pytest.mark.parametrize(
    ("loss", "outputs"), [(focal, normal(2, 4)), (gaussian, (normal(2, 20), normal(2, 20)))], ids=["focal", "gaussian"]
)
def test_of_a_loss_that_is_not_convex_the_positive_part_is_drawn(loss, outputs):
    curve = curve_of(outputs, LABELS, loss, COPIES)
    for i, found in enumerate(moments(curve)):
        eigenvalues, vectors = torch.linalg.eigh(dense(outputs, LABELS, loss, i))
        positive = vectors * eigenvalues.clamp(min=0) @ vectors.T
        assert (found - positive).norm() < 0.25 * positive.norm()
    assert random_sides(curve, 2 * COPIES, torch.Generator().manual_seed(0)).negative > 0


@pytest.mark.parametrize("kind", ["squared", "z-loss"])
def test_wide_outputs_are_multiplied_a_few_times(kind, monkeypatch):
    """A diagonal and a few directions, in each of 40 places."""
    wide, target = normal(2, 40, 50), torch.randint(50, (2, 40), generator=g)

    def loss(outputs, labels):
        each = cross_entropy(outputs.mT / 3, labels, reduction="none")
        return (each.square() if kind == "squared" else each + 0.1 * outputs.logsumexp(2).square()).mean(1)

    curve, calls, product = curve_of(wide, target, loss), [], OutputLoss.product
    monkeypatch.setattr(OutputLoss, "product", lambda *a: (calls.append(1), product(*a))[1])
    assert random_sides(curve, 2, torch.Generator().manual_seed(0)).error < 1e-3
    assert len(calls) < 25


@pytest.mark.parametrize("name", ["classes", "yes or no", "two heads"])
def test_roots_multiply_to_the_hessian(name):
    outputs, labels, loss = KNOWN[name]
    roots = hessian_roots(curve_of(outputs, labels, loss), 2)
    rows = torch.stack([torch.cat([side.double().flatten(1) for side in root], dim=1) for root in roots])
    for i in range(2):
        expected = dense(outputs, labels, loss, i)
        torch.testing.assert_close(rows[:, i].T @ rows[:, i], expected, atol=1e-6, rtol=1e-5)


def test_saturated_predictions_have_a_curvature():
    """Of a probability that single precision rounds to one."""
    z = one_hot(LABELS, 4).float() * 20
    (side,) = random_sides(curve_of(z, LABELS, classes), 2, torch.Generator().manual_seed(0)).sides
    others = one_hot(LABELS, 4) == 0  # of random signs: a wrong class's square is its probability, to 1e-9
    torch.testing.assert_close(side.square().double()[others], z.double().softmax(1)[others], atol=0, rtol=1e-3)


@dataclass
class Answer:
    logits: Tensor
    loss: Tensor
    router: Tensor


def test_outputs_that_the_loss_does_not_use_stay_out():
    answer = Answer(normal(2, 4), torch.tensor(1.0), normal(7, 2))
    curve = OutputLoss(objective_of(lambda o, y: classes(o.logits, y)), answer, LABELS)
    assert curve.places == [0]
    assert [t is None for t in curve.placed(random_sides(curve, 2, g).sides)] == [False, True, True]


def test_log_probabilities_are_logits_where_the_loss_is_linear():
    def linear(outputs, labels):
        return nll_loss(outputs, labels, WEIGHTS, reduction="none", ignore_index=0).sum(1)

    def logits(outputs, labels):
        return cross_entropy(outputs, labels, WEIGHTS, reduction="none", ignore_index=0).sum(1)

    z = normal(2, 4, 2)
    curve = curve_of(z.log_softmax(1), TOKENS, linear, COPIES)
    assert_moments(curve, [dense(z, TOKENS, logits, i) for i in range(2)])
    assert any("log-probabilities" in note for note in curve._objective.remarks.notes)


def test_other_losses_that_are_linear_are_flat():
    def distance(outputs, labels):
        return l1_loss(outputs, torch.zeros_like(outputs), reduction="none").sum(1)

    assert curve_of(normal(2, 4), LABELS, distance).flat() == [True]
    assert curve_of(normal(2, 4), LABELS, classes).flat() == [False]


def test_every_number_of_packed_outputs_has_an_owner():
    """Three examples of two, one and two places."""
    owner = torch.tensor([0, 0, 1, 2, 2])

    def loss(outputs, labels):
        each = cross_entropy(outputs[0], labels, reduction="none")
        return each.new_zeros(3).index_add(0, owner, each)

    curve = OutputLoss(objective_of(loss), normal(1, 5, 4), torch.tensor([0, 1, 2, 3, 0]))
    assert not curve.examples_first(3)
    assert torch.equal(curve.owners(3)[0], owner[None, :, None].expand(1, 5, 4))
