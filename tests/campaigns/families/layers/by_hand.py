"""Layers that people write of parameters and functions."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as fn

from families.layers.parts import WIDTH, Module, places, rows, series


class Experts(nn.Module):
    """Each row goes to its best expert; some experts get no row at all."""

    def __init__(self, count=5):
        super().__init__()
        self.gate = nn.Linear(WIDTH, count)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(count))

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        best = weights.argmax(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            places = torch.where(best == i)[0]
            out = out.index_add(0, places, expert(x[places]) * weights[places, i, None])
        return out


class Queries(nn.Module):
    """Learned queries, expanded along the batch as the second dimension; as many as examples in a batch."""

    def __init__(self, count):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(count, 1, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, 2)

    def forward(self, x):
        x = x.transpose(0, 1)
        return self.attention(self.queries.expand(-1, x.shape[1], -1), x, x)[0].transpose(0, 1)


class Depth(nn.Module):
    """One layer used again and again, until a fixed depth."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        for _ in range(4):
            x = torch.tanh(self.layer(x)) + x
        return x


class Spectrum(nn.Module):
    """A filter of complex numbers, kept as pairs of real ones."""

    def __init__(self, odd=False):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(1 if odd else 2))
        self.filter = nn.Parameter(torch.randn(3, WIDTH, 2))

    def forward(self, x):
        bent = torch.fft.rfft(x, dim=1) * torch.view_as_complex(self.filter)
        return torch.fft.irfft(bent, n=x.shape[1], dim=1) * self.shift[0]


def lora(m, x):
    return fn.linear(x, m.weight) + fn.linear(fn.linear(x, m.down), m.up) * 0.5


def geometric(m, x):
    """Generalised mean with a learned exponent, as in retrieval networks."""
    return x.abs().clamp_min(1e-3).pow(m.p).mean(1).pow(1 / m.p)


def squeeze(m, x):
    return x * fn.linear(torch.relu(fn.linear(x.mean(1), m.down)), m.up).sigmoid()[:, None]


def low_rank(m, x):
    return x @ (m.left @ m.right)


def splines(m, x):
    """A layer of Kolmogorov-Arnold networks: a sum of bumps of every input."""
    grid = torch.linspace(-2, 2, 3, dtype=x.dtype, device=x.device)
    return torch.einsum("bik,iko->bo", (-(x[..., None] - grid).square()).exp(), m.weight)


def memory(m, x):
    return (x @ m.keys.T).softmax(-1) @ m.values


def scan(m, x):
    """A diagonal state space, step by step."""
    h, out = torch.zeros_like(x[:, 0]), []
    for step in x.unbind(1):
        h = h * m.decay.sigmoid() + step * m.gain
        out.append(h)
    return torch.stack(out, 1)


def hyper(m, x):
    """The weight is made of the input."""
    weight = fn.linear(x, m.make).view(-1, WIDTH, WIDTH)
    return torch.bmm(weight, x[..., None])[..., 0]


LAYERS = {
    "Learned places": series(lambda: Module(lambda m, x: x + m.table, table=(5, WIDTH))),
    "Class token": series(
        lambda: Module(lambda m, x: torch.cat([m.token.expand(len(x), -1, -1), x], 1), token=(1, 1, WIDTH))
    ),
    "Learned queries, expanded": series(lambda: Queries(4)),
    "Experts, some without a row": rows(Experts),
    "Mixture of experts, weighted": rows(
        lambda: Module(
            lambda m, x: torch.einsum("be,bi,eio->bo", fn.linear(x, m.gate).softmax(-1), x, m.expert),
            gate=(3, WIDTH),
            expert=(3, WIDTH, WIDTH),
        )
    ),
    "einsum": series(lambda: Module(lambda m, x: torch.einsum("bti,ij->btj", x, m.weight), weight=(WIDTH, WIDTH))),
    "matmul, weight on the left": rows(lambda: Module(lambda m, x: (m.weight @ x.T).T, weight=(WIDTH, WIDTH))),
    "addmm": rows(lambda: Module(lambda m, x: torch.addmm(m.bias, x, m.weight), weight=(WIDTH, WIDTH), bias=(WIDTH,))),
    "A weight that is a product": rows(lambda: Module(low_rank, left=(WIDTH, 2), right=(2, WIDTH))),
    "LoRA by hand": rows(lambda: Module(lora, weight=(WIDTH, WIDTH), down=(1, WIDTH), up=(WIDTH, 1))),
    "A scalar that scales": rows(lambda: Module(lambda m, x: x * m.scale, scale=())),
    "LayerScale": rows(lambda: Module(lambda m, x: x + m.gamma * torch.tanh(x), gamma=(WIDTH,))),
    "One layer four times": rows(Depth),
    "Squeeze and excitation": series(lambda: Module(squeeze, down=(2, WIDTH), up=(WIDTH, 2))),
    "Generalised mean": series(lambda: Module(geometric, p=(1,))),
    "Kolmogorov-Arnold": rows(lambda: Module(splines, weight=(WIDTH, 3, WIDTH))),
    "Memory of keys and values": rows(lambda: Module(memory, keys=(5, WIDTH), values=(5, WIDTH))),
    "State space": series(lambda: Module(scan, decay=(WIDTH,), gain=(WIDTH,))),
    "Hypernetwork": rows(lambda: Module(hyper, make=(WIDTH * WIDTH, WIDTH))),
    "Complex filter": series(Spectrum),
    "Complex filter at an odd place": series(lambda: Spectrum(odd=True)),
    "Matrix exponential": rows(lambda: Module(lambda m, x: x @ torch.linalg.matrix_exp(m.a - m.a.T), a=(WIDTH, WIDTH))),
    "Low-rank covariance": rows(
        lambda: Module(lambda m, x: torch.linalg.solve(m.a @ m.a.T + torch.eye(WIDTH).to(x), x.T).T, a=(WIDTH, WIDTH))
    ),
    "Grid sample by a learned map": places(
        lambda: Module(
            lambda m, x: fn.grid_sample(
                x, fn.affine_grid(m.map.expand(len(x), 2, 3), x.shape, False), align_corners=False
            ),
            map=(1, 2, 3),
        ),
        4,
        4,
        channels=2,
    ),
    "cumulative products": series(lambda: Module(lambda m, x: (x * m.scale).tanh().cumsum(1), scale=(WIDTH,))),
    "Sine of learned frequencies": rows(
        lambda: Module(lambda m, x: torch.sin(fn.linear(x, m.w) * math.pi), w=(WIDTH, WIDTH))
    ),
}
