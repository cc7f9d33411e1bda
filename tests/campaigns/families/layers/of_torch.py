"""Layers of `torch.nn`, in every way in which they are called."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as fn

from families.layers.parts import WIDTH, Body, M, Module, Q, places, rows, series, setup


def words(layer, width=WIDTH, **rest):
    return lambda: setup(Body(layer(), width, first=False), torch.randint(0, 6, (M + Q, 5)), **rest)


class Calls(nn.Module):
    """A module that is called in another way than on one tensor."""

    def __init__(self, module, call):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, x):
        return self.call(self.module, x)


class Recurrence(nn.Module):
    """A cell of torch, stepped by hand."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        h = None
        for step in x.unbind(1):
            h = self.cell(step, h)
        return h[0] if isinstance(h, tuple) else h


class Tied(nn.Module):
    """One table in and out."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, WIDTH)
        self.middle, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 6, bias=False)
        self.out.weight = self.table.weight

    def forward(self, x):
        return self.out(torch.tanh(self.middle(self.table(x))))[..., :WIDTH]


def by_frequency():
    """A flag that scales a batch's gradient; the loss knows nothing of it, nor does the independent side."""
    made = words(lambda: nn.Embedding(6, WIDTH, scale_grad_by_freq=True))()
    plain = copy.deepcopy(made.model)
    plain.layer.scale_grad_by_freq = False
    return replace(made, reference=replace(made, model=plain))


def drawn(layer, *, moved=1.0):
    """A normalisation with running statistics that are not 0 and 1."""

    def make():
        made = layer()
        for buffer in (made.running_mean, made.running_var):
            buffer.uniform_(0.5, 1.5).mul_(moved)
        return made

    return make


def attention(**options):
    return lambda: Calls(nn.MultiheadAttention(WIDTH, 2, batch_first=True, **options), lambda m, x: m(x, x, x)[0])


def causal(m, x):
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
    return m(x, x, x, attn_mask=mask, need_weights=False)[0]


def encoder(**options):
    sizes = {"nhead": 2, "dim_feedforward": 5, "batch_first": True}
    return lambda: nn.TransformerEncoderLayer(WIDTH, **(sizes | options))


LAYERS = {
    "Linear": rows(lambda: nn.Linear(WIDTH, WIDTH)),
    "Linear without bias": rows(lambda: nn.Linear(WIDTH, WIDTH, bias=False)),
    "Linear on series": series(lambda: nn.Linear(WIDTH, WIDTH)),
    "Bilinear": rows(lambda: Calls(nn.Bilinear(WIDTH, WIDTH, WIDTH), lambda m, x: m(x, x))),
    "Linear of width 0": rows(lambda: Calls(nn.Linear(WIDTH, 0), lambda m, x: torch.cat([x, m(x)], 1))),
    "Embedding": words(lambda: nn.Embedding(6, WIDTH)),
    "Embedding with padding": words(lambda: nn.Embedding(6, WIDTH, padding_idx=0)),
    "Embedding, scale_grad_by_freq": by_frequency,
    "Embedding, sparse": words(lambda: nn.Embedding(6, WIDTH, sparse=True)),
    "Embedding, max_norm": words(lambda: nn.Embedding(6, WIDTH, max_norm=10.0)),
    "EmbeddingBag, mean": words(lambda: nn.EmbeddingBag(6, WIDTH)),
    "EmbeddingBag, sum": words(lambda: nn.EmbeddingBag(6, WIDTH, mode="sum")),
    "EmbeddingBag, max": words(lambda: nn.EmbeddingBag(6, WIDTH, mode="max")),
    "Embedding and output tied": words(Tied),
    "One-hot words by a product": words(
        lambda: Module(lambda m, x: fn.one_hot(x, 6).to(m.table) @ m.table, table=(6, WIDTH))
    ),
    "Conv1d": places(lambda: nn.Conv1d(2, 3, 3, padding=1), 6),
    "Conv2d": places(lambda: nn.Conv2d(2, 3, 3), 5, 5),
    "Conv2d, stride, padding, dilation": places(lambda: nn.Conv2d(2, 3, 2, 2, 1, 2), 6, 6),
    "Conv2d, groups": places(lambda: nn.Conv2d(2, 4, 3, groups=2), 5, 5, channels=4),
    "Conv2d, depthwise": places(lambda: nn.Conv2d(2, 2, 3, groups=2), 5, 5, channels=2),
    "Conv2d, reflected": places(lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), 5, 5),
    "Conv3d": places(lambda: nn.Conv3d(2, 3, 2), 3, 3, 3),
    "ConvTranspose1d": places(lambda: nn.ConvTranspose1d(2, 3, 3), 5),
    "ConvTranspose2d": places(lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), 3, 3),
    "Fold and Unfold": places(
        lambda: Module(
            lambda m, x: fn.linear(fn.unfold(x, 2).transpose(1, 2), m.weight).transpose(1, 2), weight=(3, 8)
        ),
        4,
        4,
    ),
    "PixelShuffle": places(lambda: nn.Sequential(nn.Conv2d(2, 12, 1), nn.PixelShuffle(2)), 3, 3),
    "GroupNorm": places(lambda: nn.GroupNorm(1, 2), 4, 4, channels=2),
    "InstanceNorm2d": places(lambda: nn.InstanceNorm2d(2, affine=True), 4, 4, channels=2),
    "BatchNorm2d": places(drawn(lambda: nn.BatchNorm2d(2)), 4, 4, channels=2),
    "BatchNorm1d": rows(drawn(lambda: nn.BatchNorm1d(WIDTH))),
    "LayerNorm": series(lambda: nn.LayerNorm(WIDTH)),
    "LayerNorm over two dimensions": series(lambda: nn.LayerNorm((5, WIDTH))),
    "RMSNorm": series(lambda: nn.RMSNorm(WIDTH)),
    "LocalResponseNorm": places(lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.LocalResponseNorm(2)), 3, 3),
    "PReLU, a channel each": places(lambda: nn.PReLU(2), 4, 4, channels=2),
    "Snake (learned frequency)": rows(
        lambda: Module(lambda m, x: x + (m.a * x).sin().square() / m.a.abs(), a=(WIDTH,))
    ),
    "Swish with a learned slope": rows(lambda: Module(lambda m, x: x * (m.b * x).sigmoid(), b=(1,))),
    "RNN": series(lambda: nn.RNN(WIDTH, WIDTH, batch_first=True)),
    "GRU": series(lambda: nn.GRU(WIDTH, WIDTH, batch_first=True)),
    "LSTM": series(lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True)),
    "LSTM, two layers, both ways": series(
        lambda: nn.LSTM(WIDTH, 2, 2, batch_first=True, bidirectional=True), methods=("identity", "exact", "cg")
    ),
    "LSTM with a projection": series(lambda: nn.LSTM(WIDTH, 5, batch_first=True, proj_size=4)),
    "GRU, time first": series(
        lambda: Calls(nn.GRU(WIDTH, WIDTH), lambda m, x: m(x.transpose(0, 1))[0].transpose(0, 1))
    ),
    "LSTM cell": series(lambda: Recurrence(nn.LSTMCell(WIDTH, WIDTH))),
    "GRU cell": series(lambda: Recurrence(nn.GRUCell(WIDTH, WIDTH))),
    "Attention": series(attention()),
    "Attention, causal": series(lambda: Calls(nn.MultiheadAttention(WIDTH, 2, batch_first=True), causal)),
    "Attention, bias of keys, zeros added": series(attention(add_bias_kv=True, add_zero_attn=True)),
    "Attention, keys of another width": series(
        lambda: Calls(
            nn.MultiheadAttention(WIDTH, 2, batch_first=True, kdim=2, vdim=3),
            lambda m, x: m(x, x[..., :2], x[..., :3])[0],
        )
    ),
    "TransformerEncoderLayer": series(encoder()),
    "TransformerEncoderLayer, norm first, GELU": series(encoder(norm_first=True, activation="gelu")),
    "TransformerDecoderLayer": series(
        lambda: Calls(nn.TransformerDecoderLayer(WIDTH, 2, 5, batch_first=True), lambda m, x: m(x, x.flip(1)))
    ),
    "Dropout (evaluation)": rows(lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5))),
}
TOLD = {
    "BatchNorm1d without running statistics": (
        rows(lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False), reference=False),
        "depends? on the other examples|batch",
    ),
}
