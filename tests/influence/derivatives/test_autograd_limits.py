"""Checkpoints and functions that are differentiable once: scored as they should be, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import data, loss
from tiny import tiny_data, tiny_loss
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from influence import Index, Stage, Study, attribute, group_effect
from influence.errors import LossError


class Checkpointed(nn.Module):
    """Pooling within, which the first pass does in another way than the second."""

    def __init__(self, reentrant: bool):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(2), nn.Tanh(), nn.Conv2d(2, 2, 1))
        self.head, self.reentrant = nn.Linear(2, 3), reentrant

    def forward(self, x):
        x = x.new_ones(()) * x.unflatten(1, (1, 3, 3)).requires_grad_()
        return self.head(checkpoint(self.body, x, use_reentrant=self.reentrant).flatten(1))


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "identity"])
def test_checkpoints(method):
    torch.manual_seed(0)
    model = Checkpointed(False).double()
    examples = data(7, 9, 3, torch.Generator().manual_seed(0))
    found, expected = (
        attribute(
            Study("one", [Stage("stage", model, loss, examples, forward=forward, l2=0.1)], examples),
            method=method, progress=False,
        ).values
        for forward in (None, lambda m, batch: m.head(m.body(batch[0].unflatten(1, (1, 3, 3))).flatten(1)))
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * abs(expected).max())


def test_reentrant_checkpoints_are_named():
    """They leave no trace of their parameters in autograd's graph, which would then be scored as if constant."""
    examples = data(7, 9, 3, torch.Generator().manual_seed(0))
    stage = Stage("stage", Checkpointed(True).double(), loss, examples, l2=0.1)
    with pytest.raises(LossError, match="'stage': its model uses reentrant checkpointing.*use_reentrant=False"):
        attribute(Study("one", [stage], examples), progress=False)


class Once(torch.autograd.Function):
    """A function without second derivatives."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient * (1 - ctx.saved_tensors[0].tanh() ** 2)


class Bent(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.body, self.head = nn.Linear(4, 3), nn.Linear(3, classes)
        self.double()

    def forward(self, x):
        return self.head(Once.apply(self.body(x)))


def test_a_layer_without_second_derivatives_is_named(tmp_path):
    stages = [
        Stage("old", Bent(2), tiny_loss, tiny_data(9, 2)),
        Stage("new", Bent(3), tiny_loss, tiny_data(8, 3), proximity=0.1),
    ]
    study = Study("bent", stages, tiny_data(4, 3))
    message = "Stage '(old|new)': its model or loss has a function that is marked `once_differentiable`"
    options = {"method": "exact", "curvature": "hessian", "progress": False}
    with pytest.raises(LossError, match=message):
        attribute(study, **options)
    with pytest.raises(LossError, match=message):
        Index(study, tmp_path / "index", **options)
    with pytest.raises(LossError, match=message):
        group_effect(study, "old", [1, 2], **options)


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac"])
def test_a_loss_without_second_derivatives_is_named(method):
    """Which autograd would give as 0, and the loss as linear."""
    model = nn.Linear(4, 3).double()

    def once(outputs, batch):
        return tiny_loss(Once.apply(outputs), batch)

    study = Study("once", [Stage("one", model, once, tiny_data(8, 3))], tiny_data(4, 3))
    with pytest.raises(LossError, match="Stage 'one': its model or loss has a function .* `once_differentiable`"):
        attribute(study, method=method, progress=False)


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "arnoldi"])
def test_a_layer_that_torch_differentiates_once_is_named_with_what_to_write(method):
    items = [(torch.randn(2 + i % 3, 4).double(), i % 3) for i in range(9)]

    def collate(some):
        lengths = torch.tensor([len(rows) for rows, _ in some])
        return torch.cat([rows for rows, _ in some]), lengths, torch.tensor([label for _, label in some])

    def study(pooled):
        stage = Stage(
            "one", nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)).double(),
            lambda outputs, batch: tiny_loss(outputs, (None, batch[2])), items, collate=collate, l2=0.1,
            forward=lambda model, batch: model[1](pooled(model[0](batch[0]).tanh(), batch[1])),
        )  # fmt: skip
        return Study("pooled", [stage], items[:3])

    def summed(rows, lengths):
        owner = torch.arange(len(lengths)).repeat_interleave(lengths)
        return torch.zeros(len(lengths), rows.shape[1], dtype=rows.dtype).index_add(0, owner, rows)

    message = "cannot differentiate.*`segment_reduce` has no second derivatives.*index_add.*or use method='identity'"
    with pytest.raises(LossError, match=message):
        attribute(study(lambda r, n: torch.segment_reduce(r, "sum", lengths=n)), method=method, progress=False)
    assert np.isfinite(attribute(study(summed), method=method, progress=False).values).all()
