"""What people wrap a network in, and modules whose parameters are not where they seem to be."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from comparison import Row, Setup
from torch import nn
from torch.nn import functional as fn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

KIND = "Wrappers"
M, Q, WIDTH, CLASSES = 9, 3, 4, 3


def network():
    return nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES))


def setup(model, **rest):
    examples = [(row, torch.tensor(i % CLASSES)) for i, row in enumerate(torch.randn(M + Q, WIDTH))]
    return Setup(model, lambda o, b: fn.cross_entropy(o, b[1], reduction="none"), examples[:M], examples[M:], **rest)


def wrapped(change, *, same=False, **rest):
    """A network changed; with `same` the independent side takes it as it was before."""

    def make():
        plain = network()
        made = setup(change(plain), **rest)
        return replace(made, reference=replace(made, model=plain)) if same else made

    return make


def module(kind, **rest):
    return lambda: setup(kind(), **rest)


class Checkpointed(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return checkpoint(self.body, x, use_reentrant=False)


class Residual(nn.Sequential):
    """A Sequential with a forward of its own."""

    def forward(self, x):
        return super().forward(x) + x[:, :CLASSES]


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).transpose(-1, -2)


class Kept(nn.Module):
    """Keeps in evaluation mode a tensor made of its parameters, as LeViT keeps its biases of attention."""

    def __init__(self):
        super().__init__()
        self.table, self.body = nn.Parameter(torch.randn(6, 2)), nn.Linear(WIDTH, CLASSES)
        self.register_buffer("places", torch.tensor([0, 2, 4, 5]), persistent=False)
        self.kept = {}

    def bias(self, device):
        if self.training:
            return self.table[self.places]
        if device not in self.kept:
            self.kept[device] = self.table[self.places]
        return self.kept[device]

    def forward(self, x):
        return self.body(torch.tanh(x * (1 + self.bias(str(x.device)).sum(1))))


class Fresh(Kept):
    """The same, made anew at each call."""

    def bias(self, device):
        return self.table[self.places]


def kept():
    made = setup(Kept())
    plain = Fresh()
    plain.load_state_dict(made.model.state_dict())
    return replace(made, reference=replace(made, model=plain))


class Listed(nn.Module):
    """A parameter stands also in a Python list, from where the forward pass takes it."""

    def __init__(self):
        super().__init__()
        self.body, self.scale = network(), nn.Parameter(torch.ones(WIDTH))
        self.scales = [self.scale]

    def forward(self, x):
        return self.body(x * self.scales[0])


class Scaled(nn.Module):
    """Multiplies by a parameter before the first layer, or after it, and says so openly."""

    def __init__(self, after=False):
        super().__init__()
        self.body, self.scale, self.after = network(), nn.Parameter(torch.ones(WIDTH)), after

    def forward(self, x):
        return self.body[1:](self.body[0](x) * self.scale.sum()) if self.after else self.body(x * self.scale)


class Closed(Scaled):
    """The same, within a function that the module holds."""

    def __init__(self, after=False):
        super().__init__(after)
        scale = self.scale
        self.bend = lambda x: x * scale

    def forward(self, x):
        return self.body(self.bend(x))


class Hooked(Scaled):
    """The same, by a hook of the first layer."""

    def __init__(self, after=True):
        super().__init__(after)
        scale = self.scale
        self.body[0].register_forward_hook(lambda module, inputs, output: output * scale.sum())

    def forward(self, x):
        return self.body(x)


def hidden(kind, after):
    """Copies of functions hold on to the first parameter, so the independent side takes the open module."""

    def make():
        made = setup(kind(after))
        plain = Scaled(after)
        plain.load_state_dict(made.model.state_dict())
        return replace(made, reference=replace(made, model=plain))

    return make


class Aliases(nn.Module):
    """One module under two names, its weight tied to a third layer."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(WIDTH, WIDTH, bias=False)
        self.decoder = self.encoder
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.out.weight = self.encoder.weight
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.out(torch.tanh(self.decoder(torch.tanh(self.encoder(x))))))


class Whole(nn.Module):
    """A base of 8-bit integers with scales, and a trained low-rank correction."""

    def __init__(self):
        super().__init__()
        self.base = nn.Parameter(torch.randint(-127, 127, (5, WIDTH), dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.full((5, 1), 0.01), requires_grad=False)
        self.down, self.up = nn.Parameter(torch.randn(2, WIDTH) / 2), nn.Parameter(torch.randn(5, 2) / 2)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        base = self.base.to(x.dtype) * self.scale
        return self.head(torch.tanh(fn.linear(x, base) + fn.linear(fn.linear(x, self.down), self.up)))


class Lookahead(nn.Module):
    """Weights averaged with a slow copy in buffers."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(WIDTH, CLASSES)
        self.register_buffer("slow", torch.randn(CLASSES, WIDTH))

    def forward(self, x):
        return fn.linear(x, (self.body.weight + self.slow) / 2, self.body.bias)


class Flat(nn.Module):
    """One vector holds all weights, views of it are used."""

    def __init__(self):
        super().__init__()
        self.vector = nn.Parameter(torch.randn(5 * WIDTH + CLASSES * 5) / 2)

    def forward(self, x):
        first, second = self.vector[: 5 * WIDTH].view(5, WIDTH), self.vector[5 * WIDTH :].view(CLASSES, 5)
        return fn.linear(torch.tanh(fn.linear(x, first)), second)


def each(change, *places):
    """The network with some of its layers changed."""

    def changed(model):
        for place in places:
            change(model[place])
        return model

    return changed


def in_place(model):
    """Activations that overwrite what they get."""
    return nn.Sequential(*(nn.ReLU(inplace=True) if isinstance(part, nn.Tanh) else part for part in model))


def symmetric(model):
    parametrize.register_parametrization(model[2], "weight", Symmetric())
    return model


def square():
    return nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, CLASSES))


def traced(model):
    return torch.jit.trace(model, torch.randn(2, WIDTH), check_trace=False)


WRAPPERS = {
    "plain": wrapped(lambda model: model),
    "DataParallel": wrapped(nn.DataParallel, same=True),
    "torch.compile": wrapped(lambda m: torch.compile(m, backend="eager"), same=True),
    "a compiled part": wrapped(lambda m: nn.Sequential(torch.compile(m[:2], backend="eager"), *m[2:]), same=True),
    "averaged by swa_utils": wrapped(lambda m: torch.optim.swa_utils.AveragedModel(m), same=True),
    "TorchScript, traced": wrapped(traced, same=True),
    "checkpointing": wrapped(Checkpointed),
    "a Sequential with its own forward": wrapped(lambda m: Residual(*m)),
    "activations in place": wrapped(in_place),
    "weight_norm": wrapped(each(parametrizations.weight_norm, 0, 2)),
    "weight_norm, the old one": wrapped(each(nn.utils.weight_norm, 0, 2)),
    "spectral_norm": wrapped(each(parametrizations.spectral_norm, 0)),
    "orthogonal": lambda: setup(each(parametrizations.orthogonal, 2)(square())),
    "a parametrisation of one's own": lambda: setup(symmetric(square())),
    "pruned": wrapped(each(lambda layer: prune.l1_unstructured(layer, "weight", 0.4), 0, 2)),
    "a hook that multiplies by a parameter": hidden(Hooked, after=True),
    "a tensor of parameters kept in evaluation mode": kept,
    "a parameter in a list": module(Listed),
    "a parameter in a closure": hidden(Closed, after=False),
    "one module under two names, tied to a third": module(Aliases),
    "8-bit base, low-rank correction": module(Whole, frozen=("base", "scale")),
    "weights averaged with a buffer": module(Lookahead),
    "all weights in one vector": module(Flat),
    "lower half frozen": wrapped(copy.deepcopy, frozen=("0.*", "2.*")),
}
QUICK = {
    "plain",
    "a Sequential with its own forward",
    "weight_norm",
    "a parametrisation of one's own",
    "all weights in one vector",
    "lower half frozen",
    "DataParallel",
    "checkpointing",
    "a tensor of parameters kept in evaluation mode",
    "a parameter in a list",
    "a parameter in a closure",
    "one module under two names, tied to a third",
    "8-bit base, low-rank correction",
}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in WRAPPERS.items()]
