"""Kinds of losses, on small networks near a minimum: where EK-FAC's draws and the solves must hold."""

from __future__ import annotations

from dataclasses import replace

import torch
from comparison import DIRECT, Row, Setup
from torch import nn
from torch.nn import functional as fn

KIND = "Losses"
M, Q = 40, 3


def picked(first, second):
    """Pairs of rows as a list of examples."""
    return list(zip(first, second, strict=True))


def network(outputs, inputs=6, width=5):
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))


def setup(model, x, y, loss, **rest):
    examples = picked(x, y)
    return Setup(model, loss, examples[:M], examples[M:], **({"l2": 1e-2, "steps": 60} | rest))


def classes(loss, count=4, model=None, **rest):
    """`loss` of logits and whole numbers, the labels of a noisy linear rule."""

    def make():
        x = torch.randn(M + Q, 6)
        y = (x @ torch.randn(6, count) + torch.randn(M + Q, count)).argmax(1)
        made = (model or network)(count)
        return setup(made, x, y, lambda o, b: loss(o, b[1]), **rest)

    return make


def values(loss, outputs=1, target=None, model=None, **rest):
    """`loss` of outputs and real targets."""

    def make():
        x = torch.randn(M + Q, 6)
        y = torch.tanh(x @ torch.randn(6, outputs)) + 0.3 * torch.randn(M + Q, outputs)
        made = (model or network)(outputs)
        return setup(made, x, target(y) if target else y, lambda o, b: loss(o, b[1]), **rest)

    return make


def each(function, **options):
    """A loss of torch as one number an example: the mean over whatever follows the first dimension."""

    def loss(o, y):
        here = {k: v.to(o) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        return function(o, y, reduction="none", **here).reshape(len(o), -1).mean(1)

    return loss


def focal(o, y):
    plain = fn.cross_entropy(o, y, reduction="none")
    return (1 - (-plain).exp()).square() * plain


def z_loss(o, y):
    return fn.cross_entropy(o, y, reduction="none") + 1e-2 * o.logsumexp(-1).square()


def poly(o, y):
    plain = fn.cross_entropy(o, y, reduction="none")
    return plain + 1 - (-plain).exp()


def gaussian(o, y):
    return fn.gaussian_nll_loss(o[:, :1], y, fn.softplus(o[:, 1:]) + 0.1, reduction="none").mean(1)


def ordinal(o, y):
    return fn.binary_cross_entropy_with_logits(o, (torch.arange(o.shape[1]) < y[:, None]).to(o), reduction="none").sum(
        1
    )


def dice(o, y):
    p = o.sigmoid()
    return 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)


def hinge(o, y):
    return fn.relu(1 + o - o.gather(1, y[:, None])).square().sum(1)


def to_distribution(o, y):
    return fn.kl_div(o.log_softmax(-1), y.softmax(-1), reduction="none").sum(1)


def soft(o, y):
    return fn.cross_entropy(o, y.softmax(-1), reduction="none")


def yes(y):
    return (y > 0).float()


def log_probabilities():
    """The scores must be those of logits with their cross-entropy."""
    logits = classes(CROSS_ENTROPY)()
    model = nn.Sequential(*logits.model, nn.LogSoftmax(-1))
    loss = lambda o, b: fn.nll_loss(o, b[1], reduction="none")  # noqa: E731
    return replace(logits, model=model, loss=loss, reference=logits)


class Probabilities(nn.Sequential):
    def __init__(self, classes):
        super().__init__(*network(classes), nn.Softmax(-1))


class Yes(nn.Sequential):
    def __init__(self, outputs):
        super().__init__(*network(outputs), nn.Sigmoid())


class Positive(nn.Sequential):
    def __init__(self, outputs):
        super().__init__(*network(outputs), nn.Softplus())


class Segments(nn.Module):
    """A class for each of h x h places."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 3, 1))

    def forward(self, x):
        return self.body(x)


def segments(h):
    def make():
        x = fn.avg_pool2d(torch.randn(M + Q, 1, h, h), 3, 1, 1)
        y = (x[:, 0] > 0).long() + (x[:, 0] > 0.3).long()
        return setup(Segments(), x, y, lambda o, b: fn.cross_entropy(o, b[1], reduction="none").mean((1, 2)))

    return make


class Span(nn.Module):
    """Start and end of an answer: two cross-entropies over places."""

    def __init__(self):
        super().__init__()
        self.body, self.ends = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        o = self.ends(torch.tanh(self.body(x)))
        return o[..., 0], o[..., 1]


def span():
    x = torch.randn(M + Q, 9, 5)
    starts, ends = x[..., 0].argmax(1), x[..., 1].argmax(1)

    def loss(o, b):
        return sum(fn.cross_entropy(part, y, reduction="none") for part, y in zip(o, b[1].T, strict=True)) / 2

    return setup(Span(), x, torch.stack([starts, ends], 1), loss)


class Words(nn.Module):
    """Next words; logits as (batch, words, length) where `first`."""

    def __init__(self, first):
        super().__init__()
        self.table, self.out, self.first = nn.Embedding(9, 4), nn.Linear(4, 9), first

    def forward(self, x):
        o = self.out(torch.tanh(self.table(x)))
        return o.transpose(1, 2) if self.first else o


def words(first):
    def make():
        x = torch.randint(0, 9, (M + Q, 6))
        x[:, 1::2] = (x[:, 0::2] * 3 + 1) % 9

        def loss(o, b):
            return fn.cross_entropy(o if first else o.transpose(1, 2), b[1], reduction="none").mean(1)

        return setup(Words(first), x[:, :-1], x[:, 1:], loss)

    return make


class Tower(nn.Module):
    """A vector of length one."""

    def __init__(self):
        super().__init__()
        self.body = network(3)

    def forward(self, x):
        return fn.normalize(self.body(x), dim=-1)


class Pair(nn.Module):
    """Anchor, positive and negative through one tower, as three calls."""

    def __init__(self):
        super().__init__()
        self.tower = Tower()

    def forward(self, x):
        return tuple(self.tower(part) for part in x.unbind(1))


def triplet():
    x = torch.randn(M + Q, 3, 6)
    return setup(
        Pair(),
        x,
        torch.zeros(M + Q),
        lambda o, b: fn.softplus(((o[0] - o[1]).square() - (o[0] - o[2]).square()).sum(1)),
    )


class Heads(nn.Module):
    """Two heads of one body, as a dict."""

    def __init__(self):
        super().__init__()
        self.body, self.kind, self.size = nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(5, 1)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return {"kind": self.kind(h), "size": self.size(h)}


def two_heads():
    x = torch.randn(M + Q, 6)

    def loss(o, b):
        kind = fn.cross_entropy(o["kind"], (b[1] > 0).long(), reduction="none")
        return kind + 0.5 * (o["size"][:, 0] - b[1]).square()

    return setup(Heads(), x, x[:, 0], loss)


def ctc(whole=True):
    """Words without a rhythm. Torch's own loss has no second derivatives; written out it has."""
    x, y = torch.randn(M + Q, 7, 6), torch.randint(1, 4, (M + Q, 2))

    def torchs(o, b):
        lengths = torch.full((len(o),), 7), torch.full((len(o),), 2)
        return fn.ctc_loss(o.log_softmax(-1).transpose(0, 1), b[1], *lengths, reduction="none")

    def written(o, b):
        blank = torch.zeros_like(b[1][:, :1])
        path = torch.cat([blank, b[1][:, :1], blank, b[1][:, 1:], blank], 1)
        skips = fn.pad((path[:, 2:] != path[:, :-2]) & (path[:, 2:] > 0), (2, 0)).log().to(o)
        steps = o.log_softmax(-1).gather(2, path[:, None].expand(-1, o.shape[1], -1)).unbind(1)
        state = torch.where(torch.arange(path.shape[1]) < 2, steps[0], -1e30)
        for step in steps[1:]:
            before = [state, fn.pad(state, (1, -1), value=-1e30), fn.pad(state, (2, -2), value=-1e30) + skips]
            state = torch.stack(before).clamp(min=-1e30).logsumexp(0) + step
        return -state[:, -2:].logsumexp(1)

    made = setup(network(4), x, y, written)
    return made if whole else replace(made, loss=torchs, reference=made)


def wide_autoencoder(width):
    def make():
        x = torch.tanh(torch.randn(M + Q, 3) @ torch.randn(3, width) * 0.5) + 0.02 * torch.randn(M + Q, width)
        model = nn.Sequential(nn.Linear(width, 2), nn.Tanh(), nn.Linear(2, width))
        return setup(model, x, x, lambda o, b: (o - b[0]).square().mean(1), methods=DIRECT)

    return make


CROSS_ENTROPY = each(fn.cross_entropy)
LINEAR, NOT_CONVEX = "linear in", "not convex"
RIGHT = {
    "cross-entropy": classes(CROSS_ENTROPY),
    "cross-entropy, label smoothing": classes(each(fn.cross_entropy, label_smoothing=0.1)),
    "cross-entropy, class weights": classes(each(fn.cross_entropy, weight=torch.tensor([0.5, 1.0, 2.0, 1.5]))),
    "cross-entropy, temperature": classes(lambda o, y: CROSS_ENTROPY(o / 2, y)),
    "cross-entropy, soft labels": values(soft, 4),
    "cross-entropy, z-loss": classes(z_loss),
    "cross-entropy, 150 classes": classes(CROSS_ENTROPY, 150, methods=DIRECT),
    "focal": classes(focal),
    "poly-1": classes(poly),
    "log-probabilities, nll_loss": log_probabilities,
    "probabilities, log and nll_loss": classes(
        lambda o, y: fn.nll_loss(o.log(), y, reduction="none"), model=Probabilities
    ),
    "KL divergence": values(to_distribution, 4),
    "multi-class hinge, squared": classes(hinge),
    "ordinal": classes(ordinal),
    "yes or no, logits": values(each(fn.binary_cross_entropy_with_logits), 1, yes),
    "yes or no, probabilities": values(each(fn.binary_cross_entropy), 1, yes, Yes),
    "yes or no, a weight of the positive": values(
        each(fn.binary_cross_entropy_with_logits, pos_weight=torch.tensor([3.0])), 1, yes
    ),
    "150 yes-or-no labels": values(each(fn.binary_cross_entropy_with_logits), 150, yes, methods=DIRECT),
    "soft margin": values(each(fn.soft_margin_loss), 2, lambda y: y.sign()),
    "squared error": values(each(fn.mse_loss)),
    "squared error, 3 outputs": values(each(fn.mse_loss), 3),
    "Huber": values(each(fn.huber_loss), 2),
    "smooth L1": values(each(fn.smooth_l1_loss, beta=0.5), 2),
    "log-cosh": values(lambda o, y: torch.log(torch.cosh(o - y)).mean(1), 2),
    "Gaussian with a variance": values(gaussian, 2, lambda y: y[:, :1], l2=1e-1),
    "Poisson, log rate": values(each(fn.poisson_nll_loss), 1, lambda y: y.exp().round()),
    "Poisson, rate": values(each(fn.poisson_nll_loss, log_input=False), 1, lambda y: y.exp().round(), Positive),
    "Dice": values(dice, 5, yes, l2=1e-1),
    "start and end of an answer": span,
    "segmentation, 4 x 4": segments(4),
    "segmentation, 8 x 8": segments(8),
    "next words (batch, length, words)": words(False),
    "next words (batch, words, length)": words(True),
    "two heads": two_heads,
    "CTC, written out": ctc,
    "autoencoder, 100 outputs": wide_autoencoder(100),
    "autoencoder, 140 outputs": wide_autoencoder(140),
}
TOLD = {
    "L1": (values(each(fn.l1_loss), 2), LINEAR),
    "cosine similarity": (values(lambda o, y: 1 - fn.cosine_similarity(o, y), 3, l2=1e-1), NOT_CONVEX),
    "triplet, softplus": (triplet, NOT_CONVEX),
    "CTC": (lambda: ctc(whole=False), "second derivatives"),
    "hinge": (classes(lambda o, y: fn.relu(1 + o - o.gather(1, y[:, None])).sum(1), steps=0), LINEAR),
}
QUICK = {
    "cross-entropy",
    "cross-entropy, label smoothing",
    "squared error",
    "yes or no, logits",
    "KL divergence",
    "Huber",
    "log-probabilities, nll_loss",
}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in RIGHT.items()]
ROWS += [Row(KIND, name, make, name in QUICK, told) for name, (make, told) in TOLD.items()]
