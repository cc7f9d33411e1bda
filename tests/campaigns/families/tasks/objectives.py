"""Tasks whose loss is what is odd: labels missing, pairs, hidden states, quantiles."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as fn

from families.tasks.parts import (
    CLASSES,
    WIDTH,
    M,
    Module,
    Q,
    but_last,
    cross_entropy,
    every,
    measured,
    network,
    over_classes,
    rows,
    setup,
)


def missing_labels():
    """Two heads; some of the second's labels are NaN."""
    model = Module(
        lambda m, x: (m.kind(m.body(x)), m.sizes(m.body(x))),
        body=nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh()),
        kind=nn.Linear(5, CLASSES),
        sizes=nn.Linear(5, 2),
    )
    sizes = torch.randn(M + Q, 2)
    sizes[::3, 0] = torch.nan

    def loss(o, b):
        there = ~b[2].isnan()
        return cross_entropy(o[0], b[1]) + torch.where(there, o[1] - b[2].nan_to_num(), 0).square().sum(1) / there.sum(
            1
        )

    return setup(model, loss, [(*row, size) for row, size in zip(rows(), sizes, strict=True)])


def mixup():
    def forward(model, b):
        return model(torch.lerp(b[0][:, 1], b[0][:, 0], b[2][:, None]))

    def loss(o, b):
        return b[2] * cross_entropy(o, b[1][:, 0]) + (1 - b[2]) * cross_entropy(o, b[1][:, 1])

    pairs = [(torch.randn(2, WIDTH), torch.tensor([i % 3, (i + 1) % 3]), torch.rand(())) for i in range(M + Q)]
    return setup(network(), loss, pairs, forward=forward)


def exposure():
    counted = [(x, torch.poisson(x[0].exp()), torch.rand(()) + 0.5) for x in torch.randn(M + Q, WIDTH)]
    return setup(network(1), lambda o, b: fn.poisson_nll_loss(o[:, 0] + b[2].log(), b[1], reduction="none"), counted)


def correlated():
    """Squared error of 40 outputs under a full matrix."""
    matrix = torch.randn(40, 40) / 6
    measured = [(x, torch.tanh(x.repeat(10))) for x in torch.randn(M + Q, WIDTH)]
    return setup(network(40), lambda o, b: ((o - b[1]) @ matrix.to(o)).square().mean(1), measured)


def of_log_probabilities(model, classes=CLASSES):
    """The scores must be those of logits with their cross-entropy."""
    made = setup(model, lambda o, b: fn.nll_loss(o, b[1], reduction="none"), rows(classes=classes))
    return replace(made, reference=replace(made, loss=over_classes))


def adaptive_softmax():
    body = nn.Linear(WIDTH, 6)
    tail = nn.AdaptiveLogSoftmaxWithLoss(6, 9, [3, 6])
    return of_log_probabilities(Module(lambda m, x: m.tail.log_prob(torch.tanh(m.body(x))), body=body, tail=tail), 9)


def latent_classes():
    """Probabilities of two hidden states, summed."""

    def call(m, x):
        states, kinds = m.states(x).log_softmax(1), m.kinds(x).view(-1, 2, CLASSES).log_softmax(2)
        return (states[:, :, None] + kinds).logsumexp(1)

    return of_log_probabilities(Module(call, states=nn.Linear(WIDTH, 2), kinds=nn.Linear(WIDTH, 2 * CLASSES)))


def margins():
    """ArcFace: the label shifts an angle in the forward pass."""

    def call(m, x, y):
        near = fn.linear(fn.normalize(m.body(x)), fn.normalize(m.kinds.weight))
        return 4 * (near.clamp(-0.99, 0.99).acos() + 0.2 * fn.one_hot(y, CLASSES)).cos()

    model = Module(call, body=network(WIDTH), kinds=nn.Linear(WIDTH, CLASSES, bias=False))
    return setup(model, over_classes, rows(), forward=every)


def negatives():
    """Each example brings the candidates that it is compared with."""

    def call(m, x, candidates):
        return (
            torch.einsum("bd,bkd->bk", fn.normalize(m.tower(x), dim=-1), fn.normalize(m.tower(candidates), dim=-1))
            / 0.5
        )

    pairs = [(torch.randn(WIDTH), torch.randn(5, WIDTH)) for _ in range(M + Q)]
    return setup(
        Module(call, tower=network()),
        lambda o, b: cross_entropy(o, torch.zeros(len(o), dtype=torch.long)),
        pairs,
        forward=every,
    )


def recommendations():
    """Users times items, with a bias of users and one of all."""

    def call(m, user, item):
        return (m.users(user) * m.items(item)).sum(1) + m.bias(user)[:, 0] + m.mean

    parts = {"users": nn.Embedding(5, 3), "items": nn.Embedding(6, 3), "bias": nn.Embedding(5, 1)}
    model = Module(call, **parts, mean=nn.Parameter(torch.zeros(1)))
    rated = [(torch.randint(0, 5, ()), torch.randint(0, 6, ()), torch.randn(())) for _ in range(M + Q)]
    return setup(model, lambda o, b: (o - b[2]).square(), rated, forward=but_last)


def quantiles(o, b):
    off, levels = b[1][:, None] - o, torch.tensor([0.1, 0.5, 0.9]).to(o)
    return torch.maximum(levels * off, (levels - 1) * off).mean(1)


def hazards(o, b):
    """Cox: each against those of the batch who are left."""
    risk = o[:, 0]
    return torch.stack([risk[b[1] >= time].logsumexp(0) - own for own, time in zip(risk, b[1], strict=True)])


def mixture(o, b):
    weights, means, widths = o.chunk(3, 1)
    widths = fn.softplus(widths) + 0.1
    each = weights.log_softmax(1) - ((b[1][:, None] - means) / widths).square() / 2 - widths.log()
    return -each.logsumexp(1)


RIGHT = {
    "two heads, labels missing": missing_labels,
    "mixup": mixup,
    "Poisson with exposure": exposure,
    "squared error of 40 correlated outputs": correlated,
    "adaptive softmax": adaptive_softmax,
    "latent classes": latent_classes,
    "ArcFace": margins,
    "negatives of one's own": negatives,
    "recommendations": recommendations,
}
TOLD = {
    "quantile regression": (measured(3, quantiles), "linear in"),
    "Cox": (measured(1, hazards), "among others"),
    "mixture density": (measured(6, mixture), "not convex"),
    "outputs (B, 1) minus labels (B,)": (
        measured(1, lambda o, b: (o - b[1]).square().mean(1)),
        "labels of the same shape",
    ),
}
