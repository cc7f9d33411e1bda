"""J v in forward mode and by reverse mode twice, against one backward pass for each output."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from influence.derivatives.objective import Objective, plain_kernels
from influence.derivatives.second.tangents import Tangents
from influence.study.parameters import groups_of
from influence.study.stage import Stage


class Cube(torch.autograd.Function):
    """Has no forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * slope


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x):
        return self.lstm(x[:, None])[0][:, -1]


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


MIDDLES = {
    "tanh": nn.Tanh(),
    "in place": nn.ReLU(inplace=True),
    "batch norm": nn.BatchNorm1d(4),
    "dropout": nn.Dropout(0.5),
    "attention": Of(lambda x: functional.scaled_dot_product_attention(*3 * [x[:, None, None]])[:, 0, 0]),
    "pictures": nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2), nn.Flatten()),
    "a constant": Of(lambda x: x.detach() + 1),
    "straight through": Of(lambda x: x + (x.round() - x).detach()),
    "a slope of its own": Of(lambda x: x.sigmoid() * x.detach()),
    "without gradient": Of(lambda x: x + torch.no_grad()(torch.sin)(x)),
    "custom": Of(Cube.apply),
    "checkpoint": Of(lambda x: checkpoint(torch.tanh, x, use_reentrant=False)),
    "lstm": Last(),
    "a branch": Of(lambda x: x.tanh() if x.sum() > 0 else x.sin()),
    "written into": Of(lambda x: torch.zeros(len(x), 4).to(x).index_copy_(1, torch.arange(4), x)),
}


def objective_of(middle, classes=3, frozen=()):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), middle, nn.Linear(5 if isinstance(middle, Last) else 4, classes)).double()
    g = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(11, 6, generator=g).double(), torch.arange(11) % classes)

    def loss(z, batch):
        return functional.cross_entropy(z, batch[1], reduction="none")

    stage = Stage("only", model, loss, data, frozen=list(frozen))
    return Objective(stage, groups_of(stage, None))


@pytest.mark.parametrize("name", MIDDLES)
def test_tangents_are_those_of_each_output(name):
    objective = objective_of(MIDDLES[name])
    _, batch = next(objective.batches(objective.stage.data))
    vectors = torch.randn(20, objective.trained.size, generator=torch.Generator().manual_seed(1)).double()
    model = objective.model
    rows = []
    for value in model(batch[0]).flatten():
        found = torch.autograd.grad(value, list(model.parameters()), retain_graph=True, allow_unused=True,
                                    materialize_grads=True)  # fmt: skip
        rows.append(objective.trained.flatten(dict(zip(dict(model.named_parameters()), found, strict=True))))
    with plain_kernels():
        parts = list(Tangents(objective)(batch, vectors))
    assert [rows for rows, _ in parts] == [slice(0, 16), slice(16, 32)]
    pushed = torch.cat([leaf for _, (leaf,) in parts])
    torch.testing.assert_close(pushed, (vectors @ torch.stack(rows).T).view(20, 11, 3), rtol=1e-9, atol=1e-11)


def test_forward_mode_is_taken_where_torch_has_it():
    with plain_kernels():
        refused = [name for name, middle in MIDDLES.items() if not Tangents(objective_of(middle)).forward]
    assert refused == ["without gradient", "custom"]


def test_an_operation_without_forward_mode_may_come_later():
    objective = objective_of(Of(lambda x: Cube.apply(x) if len(x) > 8 else x**3))
    plain = objective_of(Of(lambda x: x**3))
    vectors = torch.ones(2, objective.trained.size).double()
    with plain_kernels():
        tangents, expected = Tangents(objective), Tangents(plain)
        assert tangents.forward
        for _, batch in objective.batches(objective.stage.data):
            ((_, (found,)),) = tangents(batch, vectors)
            ((_, (right,)),) = expected(batch, vectors)
            torch.testing.assert_close(found, right)
    assert not tangents.forward
