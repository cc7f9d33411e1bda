"""The rule of every kind of layer: per-example gradients against those of each example alone."""

from __future__ import annotations

import pytest
import torch
from alone import N, Wrapped, after, covered, noise, stage_of, words
from torch import nn
from torch.nn import functional

LAYERS = {
    "linear": lambda: (nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), noise(N, 4)),
    "linear, no bias": lambda: (nn.Sequential(nn.Linear(4, 2, bias=False), nn.Tanh(), nn.Linear(2, 3)), noise(N, 4)),
    "linear over a sequence": lambda: (after(nn.Linear(4, 2), 10), noise(N, 5, 4)),
    "linear over a sequence as long as the batch": lambda: (after(nn.Linear(4, 2), 8), noise(N, 4, 4)),
    "linear over pictures": lambda: (after(nn.Linear(4, 2), 12), noise(N, 3, 2, 4)),
    "time first": lambda: (
        Wrapped(lambda m, x: m.b(torch.tanh(m.a(x.transpose(0, 1)))).mean(0), a=nn.Linear(4, 5), b=nn.Linear(5, 3)),
        noise(N, 5, 4),
    ),
    "time first, as long as the batch": lambda: (
        Wrapped(lambda m, x: m.b(torch.tanh(m.a(x.transpose(0, 1)))).mean(0), a=nn.Linear(4, 5), b=nn.Linear(5, 3)),
        noise(N, 4, 4),
    ),
    "time folded into the batch": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(x.flatten(0, 1)))).unflatten(0, (len(x), -1)).mean(1),
            a=nn.Linear(4, 5),
            b=nn.Linear(5, 3),
        ),
        noise(N, 5, 4),
    ),
    "convolution over folded pictures": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(x.flatten(0, 1))).unflatten(0, (len(x), -1)).flatten(1)),
            a=nn.Conv2d(1, 2, 2),
            b=nn.Linear(2 * 2 * 9, 3),
        ),
        noise(N, 2, 1, 4, 4),
    ),
    "embedding": lambda: (
        Wrapped(lambda m, x: m.b(torch.tanh(m.a(x)).mean(1)), a=nn.Embedding(7, 4), b=nn.Linear(4, 3)),
        words(),
    ),
    "embedding with padding": lambda: (
        Wrapped(lambda m, x: m.b(torch.tanh(m.a(x)).mean(1)), a=nn.Embedding(7, 4, padding_idx=-3), b=nn.Linear(4, 3)),
        words(),
    ),
    "embedding of one word": lambda: (
        Wrapped(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.Embedding(7, 4), b=nn.Linear(4, 3)),
        words()[:, 0].clone(),
    ),
    "positions looked up once for all": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(x) + m.p(torch.arange(5))).mean(1)),
            a=nn.Embedding(7, 4),
            p=nn.Embedding(9, 4),
            b=nn.Linear(4, 3),
        ),
        words(),
    ),
    "positions looked up once for all, as many as the batch": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(x) + m.p(torch.arange(4))).mean(1)),
            a=nn.Embedding(7, 4),
            p=nn.Embedding(9, 4),
            b=nn.Linear(4, 3),
        ),
        words(4),
    ),
    "positions as a row of one": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(x) + m.p(torch.arange(5)[None])).mean(1)),
            a=nn.Embedding(7, 4),
            p=nn.Embedding(9, 4),
            b=nn.Linear(4, 3),
        ),
        words(),
    ),
    "a table of positions": lambda: (
        Wrapped(lambda m, x: m.b(torch.tanh(x + m.p).mean(1)), p=nn.Parameter(torch.zeros(5, 4)), b=nn.Linear(4, 3)),
        noise(N, 5, 4),
    ),
    "a table of positions, cut": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(x + m.p[:, : x.shape[1]]).mean(1)),
            p=nn.Parameter(torch.zeros(1, 9, 4)),
            b=nn.Linear(4, 3),
        ),
        noise(N, 5, 4),
    ),
    "a table of positions, in place": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(x).add_(m.p)).mean(1)),
            p=nn.Parameter(torch.zeros(1, 5, 4)),
            a=nn.Linear(4, 4),
            b=nn.Linear(4, 3),
        ),
        noise(N, 5, 4),
    ),
    "class token": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(torch.cat([m.c.expand(len(x), -1, -1), x], 1))).mean(1)),
            a=nn.Linear(4, 4),
            c=nn.Parameter(torch.zeros(1, 1, 4)),
            b=nn.Linear(4, 3),
        ),
        noise(N, 5, 4),
    ),
    "layer scale": lambda: (
        Wrapped(
            lambda m, x: m.b((x + m.s * torch.tanh(m.a(x))).mean(1)),
            s=nn.Parameter(torch.ones(4)),
            a=nn.Linear(4, 4),
            b=nn.Linear(4, 3),
        ),
        noise(N, 5, 4),
    ),
    "temperature": lambda: (
        Wrapped(lambda m, x: m.s.exp() * m.b(x), s=nn.Parameter(torch.zeros(())), b=nn.Linear(4, 3)),
        noise(N, 4),
    ),
    "one module twice": lambda: (
        Wrapped(lambda m, x: m.b(torch.tanh(m.a(torch.tanh(m.a(x))))), a=nn.Linear(4, 4), b=nn.Linear(4, 3)),
        noise(N, 4),
    ),
    "batch norm": lambda: (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)),
        noise(N, 1, 4, 4),
    ),
    "batch norm of rows": lambda: (
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)),
        noise(N, 4),
    ),
    "group norm": lambda: (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)),
        noise(N, 1, 4, 4),
    ),
    "instance norm": lambda: (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)),
        noise(N, 1, 4, 4),
    ),
    "instance norm, tracked": lambda: (
        nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        noise(N, 1, 4, 4),
    ),
    "layer norm": lambda: (
        nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Flatten(), nn.Linear(25, 3)),
        noise(N, 5, 4),
    ),
    "layer norm over two dimensions": lambda: (
        nn.Sequential(nn.LayerNorm((5, 4)), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3)),
        noise(N, 5, 4),
    ),
    "root mean square norm": lambda: (
        nn.Sequential(nn.Linear(4, 5), nn.RMSNorm(5), nn.Tanh(), nn.Flatten(), nn.Linear(25, 3)),
        noise(N, 5, 4),
    ),
    "LoRA": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(x) + functional.linear(functional.linear(x, m.down), m.up) * 2)),
            a=nn.Linear(4, 5),
            down=nn.Parameter(torch.ones(2, 4)),
            up=nn.Parameter(torch.ones(5, 2)),
            b=nn.Linear(5, 3),
        ),
        noise(N, 4),
    ),
    "LoRA by products": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(m.a(x) + x @ m.down @ m.up)),
            a=nn.Linear(4, 5),
            down=nn.Parameter(torch.ones(4, 2)),
            up=nn.Parameter(torch.ones(2, 5)),
            b=nn.Linear(5, 3),
        ),
        noise(N, 6, 4)[:, 0],
    ),
    "LoRA, merged": lambda: (
        Wrapped(
            lambda m, x: m.b(torch.tanh(functional.linear(x, m.a.weight + 2 * m.up @ m.down, m.a.bias))),
            a=nn.Linear(4, 5),
            down=nn.Parameter(torch.ones(2, 4)),
            up=nn.Parameter(torch.ones(5, 2)),
            b=nn.Linear(5, 3),
        ),
        noise(N, 5, 4)[:, 0],
    ),
    "weights transposed": lambda: (
        Wrapped(
            lambda m, x: torch.tanh(torch.addmm(m.b.bias, x @ m.a.weight.T, m.b.weight.t())),
            a=nn.Linear(4, 5),
            b=nn.Linear(5, 3),
        ),
        noise(N, 4),
    ),
    "a normalised weight": lambda: (
        Wrapped(
            lambda m, x: functional.normalize(m.a(x)) @ functional.normalize(m.w, dim=1).T,
            a=nn.Linear(4, 5),
            w=nn.Parameter(torch.ones(3, 5)),
        ),
        noise(N, 4),
    ),
    "weight norm": lambda: (after(nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 2)), 9), noise(N, 2, 4)),
    "spectral norm": lambda: (
        nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)).eval(), nn.Tanh(), nn.Linear(5, 3)),
        noise(N, 4),
    ),
    "rectified in place": lambda: (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3)),
        noise(N, 1, 4, 4),
    ),
    "a residual added in place": lambda: (
        Wrapped(residual, a=nn.Linear(4, 4), c=nn.Linear(4, 4), b=nn.Linear(4, 3)),
        noise(N, 4),
    ),
    "the input of a layer overwritten": lambda: (
        Wrapped(overwritten, a=nn.Linear(4, 4), c=nn.Linear(4, 4), b=nn.Linear(4, 3)),
        noise(N, 4),
    ),
    "dictionary of outputs": lambda: (
        Wrapped(
            lambda m, x: {"logits": m.b(torch.tanh(m.a(x))), "x": x}["logits"], a=nn.Linear(4, 5), b=nn.Linear(5, 3)
        ),
        noise(N, 4),
    ),
    "a penalty on weights in the loss": lambda: (
        Wrapped(lambda m, x: m.b(x) + m.b.weight.square().sum(1), b=nn.Linear(4, 3)),
        noise(N, 4),
    ),
    "unused": lambda: (Wrapped(lambda m, x: m.b(x), b=nn.Linear(4, 3), c=nn.Linear(2, 2)), noise(N, 4)),
    "without gradient": lambda: (Wrapped(frozen_part, a=nn.Linear(4, 5), b=nn.Linear(5, 3)), noise(N, 4)),
}


def residual(self, x):
    x = self.a(x)
    y = self.c(torch.tanh(x))
    y += x
    return self.b(torch.relu_(y))


def overwritten(self, x):
    x = self.a(x)
    y = functional.linear(x, self.c.weight.detach()) + self.c.bias  # a constant weight needs no input kept
    x.relu_()
    return self.b(x + y)


def frozen_part(self, x):
    with torch.no_grad():
        x = self.a(x)
    return self.b(x)


@pytest.mark.parametrize("kind", LAYERS)
def test_layers(kind):
    torch.manual_seed(0)
    model, inputs = LAYERS[kind]()
    covered(stage_of(model, inputs.contiguous()))
