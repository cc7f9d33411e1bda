"""Kinds of layers, each between a linear layer and a head: torch's own, and parts that people write themselves."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from comparison import DIRECT, Row, Setup
from torch import nn
from torch.nn import functional as fn

KIND = "Layers"
M, Q, WIDTH, CLASSES = 9, 3, 4, 3


class Body(nn.Module):
    """A linear layer, the layer that is tried, a mean over whatever is left, a head."""

    def __init__(self, layer, width=WIDTH, first=True):
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH) if first else nn.Identity()
        self.layer, self.head = layer, nn.Linear(width, CLASSES)

    def forward(self, x):
        h = self.layer(self.first(x))
        h = h[0] if isinstance(h, tuple) else h
        return self.head(h.reshape(len(h), -1, self.head.in_features).mean(1))


class Channels(nn.Module):
    """Pictures, series or volumes: the layer that is tried, a mean over places, a head."""

    def __init__(self, layer, channels=3):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(channels, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.layer(x)).flatten(2).mean(2))


def setup(model, x, **rest):
    examples = [(row, torch.tensor(i % CLASSES)) for i, row in enumerate(x)]
    return Setup(
        model,
        lambda o, b: fn.cross_entropy(o, b[1], reduction="none"),
        examples[:M],
        examples[M:],
        **({"methods": DIRECT} | rest),
    )


def rows(layer, width=WIDTH, **rest):
    return lambda: setup(Body(layer(), width), torch.randn(M + Q, WIDTH), **rest)


def series(layer, width=WIDTH, **rest):
    """Five places of WIDTH numbers."""
    return lambda: setup(Body(layer(), width), torch.randn(M + Q, 5, WIDTH), **rest)


def words(layer, width=WIDTH, **rest):
    return lambda: setup(Body(layer(), width, first=False), torch.randint(0, 6, (M + Q, 5)), **rest)


def places(layer, *shape, channels=3, **rest):
    """Two channels on a grid."""
    return lambda: setup(Channels(layer(), channels), torch.randn(M + Q, 2, *shape), **rest)


class Module(nn.Module):
    """A layer from parameters and a function."""

    def __init__(self, call, **shapes):
        super().__init__()
        self.call = call
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape) / 2))

    def forward(self, x):
        return self.call(self, x)


class Calls(nn.Module):
    """A module that is called in another way than on one tensor."""

    def __init__(self, module, call):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, x):
        return self.call(self.module, x)


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


class Depth(nn.Module):
    """One layer used again and again, until a fixed depth."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        for _ in range(4):
            x = torch.tanh(self.layer(x)) + x
        return x


class Tied(nn.Module):
    """One table in and out."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, WIDTH)
        self.middle, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 6, bias=False)
        self.out.weight = self.table.weight

    def forward(self, x):
        return self.out(torch.tanh(self.middle(self.table(x))))[..., :WIDTH]


class Spectrum(nn.Module):
    """A filter of complex numbers, kept as pairs of real ones."""

    def __init__(self, odd=False):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(1 if odd else 2))
        self.filter = nn.Parameter(torch.randn(3, WIDTH, 2))

    def forward(self, x):
        bent = torch.fft.rfft(x, dim=1) * torch.view_as_complex(self.filter)
        return torch.fft.irfft(bent, n=x.shape[1], dim=1) * self.shift[0]


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
    "Dropout (evaluation)": rows(lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5))),
}
TOLD = {
    "BatchNorm1d without running statistics": (
        rows(lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False), reference=False),
        "depends? on the other examples|batch",
    ),
}
QUICK = {
    "Linear of width 0",
    "Embedding, scale_grad_by_freq",
    "Linear",
    "Embedding",
    "Conv2d, groups",
    "LayerNorm",
    "GRU",
    "Attention",
    "einsum",
    "Conv1d",
    "BatchNorm2d",
    "TransformerEncoderLayer",
    "One layer four times",
    "Hypernetwork",
    "Kolmogorov-Arnold",
    "A weight that is a product",
}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in LAYERS.items()]
ROWS += [Row(KIND, name, make, name in QUICK, told) for name, (make, told) in TOLD.items()]
