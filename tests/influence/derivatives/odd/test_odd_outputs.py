"""Batches and outputs of odd forms: dicts, structures, examples that are not first, derivatives by inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from minima import data, loss
from models import g, objective_of, scores_of
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

from influence import Stage, Study, attribute
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.second.gauss_newton import ggn
from influence.errors import LossError


class Dicts(Dataset):
    """Examples as dicts, of several lengths, as a tokenizer gives them."""

    def __init__(self, lengths):
        self.rows = [torch.randint(7, (n,), generator=g) for n in lengths]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"tokens": self.rows[i], "labels": int(self.rows[i].sum()) % 2, "name": f"row {i}"}


def pad(rows):
    return {
        "tokens": nn.utils.rnn.pad_sequence([r["tokens"] for r in rows], batch_first=True),
        "mask": nn.utils.rnn.pad_sequence([torch.ones(len(r["tokens"])) for r in rows], batch_first=True),
        "labels": torch.tensor([r["labels"] for r in rows]),
        "name": [r["name"] for r in rows],
    }


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 3), nn.Linear(3, 2)

    def forward(self, tokens, mask, labels, name):
        pooled = (self.embed(tokens) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return {"logits": self.head(torch.tanh(pooled)), "names": name}


def test_dict_batches_with_padding_and_structured_outputs():
    """What else stands in a batch makes no difference: padding is masked out."""
    torch.manual_seed(0)
    study = Study(
        "dicts",
        [
            Stage(
                "one",
                Pooled().double(),
                lambda o, b: cross_entropy(o["logits"], b["labels"], reduction="none"),
                Dicts([3, 5, 2, 6]),
                collate=pad,
                l2=0.1,
            )
        ],
        Dicts([4, 1, 2]),
    )
    whole, alone = (
        attribute(study, method=m, batch_size=b, progress=False).values for m, b in (("exact", 4), ("cg", 1))
    )
    torch.testing.assert_close(torch.tensor(whole), torch.tensor(alone), rtol=1e-4, atol=1e-7)


def test_a_forward_that_calls_another_model_is_found_out():
    other = nn.Linear(3, 3).double()
    examples = data(9, 3, 3, g)
    stage = Stage("one", nn.Linear(3, 3).double(), loss, examples, forward=lambda model, batch: other(batch[0]), l2=0.1)
    report = attribute(Study("other", [stage], examples), progress=False).report
    assert any("one: no loss depends on the model's parameters" in warning for warning in report["warnings"])


def test_saturated_predictions_are_not_blamed_on_forward():
    model = nn.Linear(3, 1).double()
    nn.init.constant_(model.weight, 1000.0)
    examples = TensorDataset(torch.rand(9, 3, generator=g).double() + 1)
    stage = Stage("sure", model, lambda o, b: nn.functional.softplus(-o).sum(1), examples, l2=0.1)
    report = attribute(Study("sure", [stage], examples), method="identity", progress=False).report
    (warning,) = report["warnings"]
    assert "predictions are saturated" in warning
    assert report["unit"] == "order only"


class Steps(nn.Module):
    """Adds a function of a matrix that all examples share."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x, shared):
        return self.head(x + torch.tanh(shared).sum(0))


@pytest.mark.parametrize("batch_size", [4, 5, 9])
def test_a_shared_tensor_is_not_taken_for_one_row_an_example(batch_size):
    """Four rows: as many as the batch of four, or as the last batch, has examples."""
    shared = torch.randn(4, 3, generator=g, dtype=torch.float64)
    stage = Stage(
        "shared", Steps().double(), loss, data(9, 3, 3, g), l2=0.1,
        forward=lambda model, batch: model(batch[0], batch[2]),
        collate=lambda rows: [torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows]), shared],
    )  # fmt: skip
    objective = objective_of(stage, batch_size=batch_size)
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.all)])
    alone = torch.cat(
        [rows for _, rows in example_gradients(objective_of(stage, batch_size=1), stage.data, objective.all)]
    )
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(ggn(objective), ggn(objective_of(stage, batch_size=1)))


def test_a_model_that_squeezes_a_batch_of_one_away():
    stage = Stage(
        "squeeze", nn.Linear(3, 1).double(),
        lambda o, b: nn.functional.binary_cross_entropy_with_logits(o, (b[1] % 2).double(), reduction="none"),
        data(9, 3, 3, g), l2=0.1, forward=lambda model, batch: model(batch[0]).squeeze(),
    )  # fmt: skip
    study = Study("squeeze", [stage], data(4, 3, 3, g))
    exact, cg = (attribute(study, method=method, progress=False) for method in ("exact", "cg"))
    torch.testing.assert_close(torch.tensor(exact.values), torch.tensor(cg.values), rtol=1e-4, atol=1e-7)


class TimeFirst(nn.Module):
    """Outputs (T, B, C), as recurrent layers give them by default."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x.transpose(0, 1))


@pytest.mark.parametrize("batch_size", [5, 3])
def test_outputs_whose_examples_are_not_first(batch_size):
    """Not to be taken for examples first where a batch is as long as a sequence."""
    torch.manual_seed(0)
    examples = TensorDataset(torch.randn(10, 5, 4), torch.randint(3, (10,)))

    def mean_loss(outputs, batch):
        return cross_entropy(outputs.mean(0), batch[1], reduction="none")

    study = Study("one", [Stage("stage", TimeFirst(), mean_loss, examples, l2=0.02)], examples)
    whole, found = (
        attribute(study, method="exact", batch_size=size, progress=False).values for size in (10, batch_size)
    )
    np.testing.assert_allclose(found, whole, atol=1e-4 * abs(whole).max())


@dataclass
class Answer:
    logits: torch.Tensor
    note: str = ""


class Answers(nn.Linear):
    def forward(self, x):
        return Answer(super().forward(x), "not a tensor")


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "identity"])
def test_outputs_in_a_dataclass(method):
    torch.manual_seed(0)
    model = Answers(3, 3).double()
    examples = data(9, 3, 3, torch.Generator().manual_seed(0))
    stage = Stage("stage", model, lambda o, b: loss(o.logits, b), examples, l2=0.1)
    found = attribute(Study("one", [stage], examples), method=method, progress=False).values
    expected = nn.Linear(3, 3).double()
    expected.load_state_dict(model.state_dict())
    np.testing.assert_allclose(found, scores_of(expected, method=method), rtol=1e-5)


def test_outputs_without_tensors_are_named():
    class Hidden:
        def __init__(self, logits):
            self.logits = logits

    stage = Stage(
        "stage", nn.Linear(3, 3).double(), lambda o, b: loss(o.logits, b), data(9, 3, 3, g), l2=0.1,
        forward=lambda model, batch: Hidden(model(batch[0])),
    )  # fmt: skip
    with pytest.raises(LossError, match="'stage': `forward` returns a Hidden, in which no tensor"):
        attribute(Study("one", [stage], stage.data), method="exact", progress=False)


class Energy(nn.Module):
    """An energy and its slope in the positions, which `forward` differentiates by, in place or as a new tensor."""

    def __init__(self, in_place):
        super().__init__()
        self.body, self.in_place = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), in_place

    def forward(self, x):
        with torch.enable_grad():
            x = x.requires_grad_() if self.in_place else x.detach().requires_grad_()
            energy = self.body(x)[:, 0]
            return energy, torch.autograd.grad(energy.sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("method", ["identity", "exact"])
def test_a_model_that_returns_a_derivative_by_its_input(method, in_place):
    def squared(outputs, batch):
        return outputs[0].square() + (outputs[1] - batch[1]).square().sum(1)

    torch.manual_seed(0)
    model = Energy(in_place).double()
    examples = TensorDataset(torch.randn(9, 3).double(), torch.randn(9, 3).double())
    study = Study("energy", [Stage("one", model, squared, examples, l2=0.1)], examples)
    scores = attribute(study, method=method, damping=0.1, progress=False)
    losses = squared(model(examples.tensors[0].clone()), examples.tensors)
    each = [torch.autograd.grad(one, [*model.parameters()], retain_graph=True, allow_unused=True) for one in losses]
    gradients = torch.stack([torch.cat([torch.zeros(1) if d is None else d.flatten() for d in row]) for row in each])
    if method == "identity":
        np.testing.assert_allclose(scores.values, gradients @ gradients.T / 9, rtol=1e-5, atol=1e-8)
    assert not any("not registered" in warning for warning in scores.report["warnings"])
