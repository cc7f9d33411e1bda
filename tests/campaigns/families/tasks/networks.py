"""Tasks whose network is what is odd: norms, pictures, series, structured outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from torch.nn.utils import parametrizations

from families.tasks.parts import (
    CLASSES,
    WIDTH,
    M,
    Module,
    Q,
    but_last,
    cross_entropy,
    network,
    over_classes,
    rows,
    setup,
)


def norms():
    """Weight norm, group norm and spectral norm in one network."""
    return setup(
        nn.Sequential(
            parametrizations.weight_norm(nn.Conv2d(1, 4, 3, padding=1)),
            nn.GroupNorm(2, 4),
            nn.SiLU(),
            parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            parametrizations.weight_norm(nn.Linear(4, CLASSES)),
        ),
        over_classes,
        rows(1, 5, 5),
    )


def pictures_to_words(norm):
    """A norm of channels whose places become words; batches of four leave a last one of one example."""

    def make():
        call = lambda m, x: torch.tanh(m.head(m.norm(m.first(x)).flatten(2).transpose(1, 2)))[:, ::2].sum(1)  # noqa: E731
        model = Module(call, first=nn.Conv2d(1, WIDTH, 3, padding=1), norm=norm(), head=nn.Linear(WIDTH, CLASSES))
        made = setup(model, over_classes, rows(1, 4, 4))
        return replace(made, examples=made.examples[:9])

    return make


def u_net():
    """Down, up by a grouped transposed convolution, and a skip; a class for each place."""
    model = Module(
        lambda m, x: m.out(torch.cat([torch.relu(m.up(torch.relu(m.down(x)))), x], 1)),
        down=nn.Conv2d(1, 4, 3, 2, 1),
        up=nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1, groups=2),
        out=nn.Conv2d(5, 2, 1),
    )
    examples = [(x, (x[0] > 0).long()) for x in torch.randn(M + Q, 1, 4, 4)]
    return setup(model, lambda o, b: cross_entropy(o, b[1]).mean((1, 2)), examples)


def gated_series():
    """A causal depthwise separable convolution with gates."""
    model = Module(
        lambda m, x: m.head(fn.glu(m.wide(m.each(fn.pad(x, (2, 0)))), 1)[..., -1]),
        each=nn.Conv1d(WIDTH, WIDTH, 3, groups=WIDTH),
        wide=nn.Conv1d(WIDTH, 2 * WIDTH, 1),
        head=nn.Linear(WIDTH, CLASSES),
    )
    return setup(model, over_classes, rows(WIDTH, 6))


def boxes():
    """Classes of places, and boxes where there is an object."""
    model = Module(
        lambda m, x: {"classes": m.kinds(torch.tanh(m.body(x))), "boxes": m.boxes(torch.tanh(m.body(x)))},
        body=nn.Conv2d(1, 4, 3, padding=1),
        kinds=nn.Conv2d(4, CLASSES, 1),
        boxes=nn.Conv2d(4, 4, 1),
    )

    def loss(o, b):
        there = (b[1] > 0)[:, None]
        off = (there * fn.smooth_l1_loss(o["boxes"], b[2], reduction="none")).sum((1, 2, 3))
        return cross_entropy(o["classes"], b[1]).mean((1, 2)) + off / there.sum((1, 2, 3)).clamp(min=1)

    examples = [(torch.randn(1, 3, 3), torch.randint(0, CLASSES, (3, 3)), torch.rand(4, 3, 3)) for _ in range(M + Q)]
    return setup(model, loss, examples)


def energy():
    """Forces are the slope of an energy in the positions, which the model itself takes."""

    def call(m, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            height = m.body(x)[:, 0]
            return height, -torch.autograd.grad(height.sum(), x, create_graph=True)[0]

    measured = [(torch.randn(3), torch.randn(3), torch.randn(())) for _ in range(M + Q)]
    return setup(
        Module(call, body=network(1, 3)),
        lambda o, b: (o[0] - b[2]).square() + (o[1] - b[1]).square().sum(1),
        measured,
    )


@dataclass
class Outputs:
    logits: Tensor
    states: Tensor


def in_fields():
    """Outputs in a dataclass; the independent side knows tuples."""
    made = setup(
        Module(
            lambda m, x: Outputs(m.head(torch.tanh(m.body(x))), m.body(x)),
            body=nn.Linear(WIDTH, 5),
            head=nn.Linear(5, 3),
        ),
        lambda o, b: cross_entropy(o.logits, b[1]),
        rows(),
    )
    as_tuple = lambda m, b: (m.head(torch.tanh(m.body(b[0]))), m.body(b[0]))  # noqa: E731
    return replace(made, reference=replace(made, forward=as_tuple, loss=lambda o, b: cross_entropy(o[0], b[1])))


def training_mode():
    """Handed over as it was trained: with dropout and batch norm in training mode, and a counter in a buffer."""
    model = nn.Sequential(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, CLASSES))
    model[1].running_mean.normal_(), model[1].running_var.uniform_(0.5, 2)
    made = setup(model, over_classes, rows())
    made.prepare = model.train
    return made


def domains():
    """Each row goes to the layer of its domain, by boolean indexing into zeros."""

    def call(m, x, domain):
        o = x.new_zeros(len(x), CLASSES)
        for number, layer in enumerate(m.layers):
            o[domain == number] = layer(x[domain == number])
        return o

    model = Module(call, layers=nn.ModuleList([nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, CLASSES)]))
    examples = [(x, torch.tensor(i % 2), y) for i, (x, y) in enumerate(rows())]
    return setup(model, lambda o, b: cross_entropy(o, b[2]), examples, forward=but_last)


RIGHT = {
    "weight, group and spectral norm": norms,
    "batch norm, then places as words": pictures_to_words(lambda: nn.BatchNorm2d(WIDTH)),
    "instance norm, then places as words": pictures_to_words(lambda: nn.InstanceNorm2d(WIDTH, affine=True)),
    "U-Net": u_net,
    "gated separable convolution of series": gated_series,
    "boxes and classes": boxes,
    "forces of an energy": energy,
    "outputs in a dataclass": in_fields,
    "handed over in training mode": training_mode,
    "a layer for each domain": domains,
}
