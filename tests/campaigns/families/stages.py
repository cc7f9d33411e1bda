"""Stages that are really trained, one after another: scores are compared with retraining."""

from __future__ import annotations

import torch
from comparison import Row
from retraining import Part, Retraining
from torch import nn
from torch.nn import functional as fn

KIND = "Stages, retrained"
M, Q, WIDTH = 14, 3, 3


class Net(nn.Module):
    """tanh(V tanh(W x)) and a head."""

    def __init__(self, outputs, name="head"):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.name = name
        self.add_module(name, nn.Linear(WIDTH, outputs))

    def forward(self, x):
        return getattr(self, self.name)(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Adapter(nn.Module):
    """The frozen body with a low-rank correction of its second layer, and a head of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.down, self.up = nn.Linear(WIDTH, 1, bias=False), nn.Linear(1, WIDTH, bias=False)
        self.top = nn.Linear(WIDTH, 2)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return self.top(torch.tanh(self.second(h) + self.up(self.down(h))))


class Tied(nn.Module):
    """One matrix in both layers."""

    def __init__(self, outputs, name="head"):
        super().__init__()
        self.body, self.name = nn.Linear(WIDTH, WIDTH), name
        self.add_module(name, nn.Linear(WIDTH, outputs))

    def forward(self, x):
        return getattr(self, self.name)(torch.tanh(self.body(torch.tanh(self.body(x)))))


def over_classes(outputs, targets):
    return fn.cross_entropy(outputs, targets, reduction="none")


def squared(outputs, targets):
    return (outputs - targets).square().mean(1)


def inputs(count=M):
    return torch.randn(count, WIDTH, dtype=torch.float64)


def labels(x, classes):
    rule = torch.randn(WIDTH, classes, dtype=torch.float64)
    return (x @ rule + 0.7 * torch.randn(len(x), classes, dtype=torch.float64)).argmax(1)


def classified(model, classes, **rest):
    x = inputs()
    return Part(model, x, labels(x, classes), over_classes, **rest)


def measured(model, **rest):
    x = inputs()
    return Part(model, x, torch.tanh(x[:, :2]) + 0.3 * torch.randn(M, 2, dtype=torch.float64), squared, **rest)


def queries(parts, classes=None, **rest):
    x = inputs(Q)
    return Retraining(parts, x, labels(x, classes) if classes else torch.tanh(x[:, :2]), **rest)


def one():
    return queries([classified(Net(3), 3)], 3)


def regression():
    return queries([measured(nn.Linear(WIDTH, 2)), measured(nn.Linear(WIDTH, 2), proximity=0.3)])


def frozen():
    return queries([classified(Net(3), 3), classified(Net(2, "top"), 2, frozen=("first*", "second*"))], 2)


def updated():
    return queries([classified(Net(3), 3), classified(Net(2, "top"), 2, proximity=0.2)], 2)


def partly():
    return queries([classified(Net(3), 3), classified(Net(2, "top"), 2, frozen=("first*",), proximity=0.2)], 2)


def finetuning():
    return queries([classified(Net(3), 3), classified(Net(2, "top"), 2, proximity=0.2)], 2, scored_stage=1)


def adapter():
    return queries([classified(Net(3), 3), classified(Adapter(), 2, frozen=("first*", "second*"))], 2)


def other_loss():
    return queries([classified(Net(3), 3), measured(Net(2, "top"), proximity=0.2)])


def same_head():
    """Pretraining and finetuning share the head too."""
    return queries([classified(Net(3), 3), classified(Net(3), 3, proximity=0.2)], 3)


def new_head():
    """A head of the old one's name and shape that was begun anew, and is said to be."""
    body = {f"{layer}.{kind}": f"{layer}.{kind}" for layer in ("first", "second") for kind in ("weight", "bias")}
    return queries([classified(Net(3), 3), classified(Net(3), 3, proximity=0.2, inherits=body)], 3)


def tied():
    return queries([classified(Tied(3), 3), classified(Tied(2, "top"), 2, proximity=0.2)], 2)


def three():
    parts = [
        classified(Net(3), 3),
        classified(Net(2, "middle"), 2, proximity=0.2),
        classified(Net(2, "top"), 2, frozen=("first*",), proximity=0.3),
    ]
    return queries(parts, 2)


STAGES = {
    "one stage": one,
    "two regressions, which have a closed form": regression,
    "body frozen (the paper's case 1)": frozen,
    "body updated (the paper's case 2)": updated,
    "body partly frozen": partly,
    "the finetuning's own examples": finetuning,
    "a low-rank adapter": adapter,
    "another loss": other_loss,
    "one head for both": same_head,
    "a head begun anew": new_head,
    "one matrix in two layers": tied,
    "three stages": three,
}
QUICK = {"body frozen (the paper's case 1)", "body updated (the paper's case 2)"}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in STAGES.items()]
