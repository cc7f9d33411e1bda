"""Parameters that no rule of a function covers, and tensors of parameters: gradients against each example's own."""

from __future__ import annotations

import pytest
import torch
from alone import Wrapped, covered, noise, objective_of, stage_of, words
from torch import nn
from torch.nn import functional

from influence.derivatives.first.watch import Watch
from influence.study.stage import Stage

LENGTH = 5


def magnitudes(m, x):
    """As DoRA: the size of a frozen and an adapted matrix together, found by way of an identity."""
    steps = functional.linear(functional.linear(torch.eye(4, dtype=x.dtype), m.down), m.up).T
    size = torch.linalg.norm(m.base + steps.detach(), dim=1).detach()
    scale = (m.magnitude / size).view(1, -1)
    plain = functional.linear(x, m.base)
    low = functional.linear(functional.linear(x, m.down), m.up)
    return m.head(torch.tanh(plain + (scale - 1) * plain + scale * low))


def prompted(m, x):
    """As prompt tuning: words that all examples begin with, looked up once and repeated."""
    asked = m.prompt(torch.arange(2).unsqueeze(0).expand(len(x), -1)[:1])
    h = torch.cat([asked.repeat(len(x), 1, 1), m.table(x)], dim=1)
    return m.head(torch.tanh(m.body(h)).mean(1))


def distances(m, x):
    """As T5: a table of distances, whose number of a head is added to every pair of places."""
    h = m.table(x)
    places = torch.arange(x.shape[1])
    bucket = torch.zeros(x.shape[1], x.shape[1], dtype=torch.long)
    bucket += (places[None] - places[:, None]).abs().clamp(max=2)
    bias = m.bias(bucket).permute(2, 0, 1).unsqueeze(0)
    scores = (h @ h.transpose(1, 2))[:, None] + bias
    return m.head(torch.tanh(scores.softmax(-1) @ h[:, None]).mean(2).flatten(1))


LAYERS = {
    "magnitudes": lambda: (
        Wrapped(magnitudes, base=nn.Parameter(noise(5, 4)), down=nn.Parameter(noise(2, 4)),
                up=nn.Parameter(noise(5, 2)),
                magnitude=nn.Parameter(noise(5)), head=nn.Linear(5, 3)),
        noise(10, 4),
    ),
    "words that all begin with": lambda: (
        Wrapped(prompted, prompt=nn.Embedding(2, 4), table=nn.Embedding(7, 4),
                body=nn.Linear(4, 5),
                head=nn.Linear(5, 3)),
        words(LENGTH),
    ),
    "a table of distances": lambda: (
        Wrapped(distances, bias=nn.Embedding(3, 2), table=nn.Embedding(7, 4),
                head=nn.Linear(8, 3)),
        words(LENGTH),
    ),
    "a table of places, picked by a buffer": lambda: (
        Wrapped(lambda m, x: m.head(torch.tanh(m.table(x) + m.places[m.order.view(-1)].view(LENGTH, -1)).mean(1)),
                places=nn.Parameter(noise(9, 4)), order=torch.arange(LENGTH),
                table=nn.Embedding(7, 4),
                head=nn.Linear(4, 3)),
        words(LENGTH),
    ),
    "a weight on the left": lambda: (
        Wrapped(lambda m, x: m.head(torch.tanh(m.mix @ x).mean(1)), mix=nn.Parameter(noise(3, 5)),
                head=nn.Linear(4, 3)),
        noise(10, 5, 4),
    ),
    "a sum over two dimensions": lambda: (
        Wrapped(lambda m, x: m.head(torch.tanh(torch.einsum("btc,chd->bthd", x, m.heads)).mean(1).flatten(1)),
                heads=nn.Parameter(noise(4, 2, 3)), head=nn.Linear(6, 3)),
        noise(10, 5, 4),
    ),
    "time first, a power": lambda: (
        Wrapped(lambda m, x: m.head((x.transpose(0, 1).square() + 1).pow(m.power).mean(0)),
                power=nn.Parameter(noise(4)), head=nn.Linear(4, 3)),
        noise(10, 5, 4),
    ),
    "two inputs": lambda: (
        Wrapped(lambda m, x: m.both(x, x.sin()), both=nn.Bilinear(4, 4, 3)), noise(10, 4),
    ),
    "parts of one matrix, transposed": lambda: (
        Wrapped(lambda m, x: m.head(torch.tanh(sum(x @ part.T for part in m.three.chunk(3)))),
                three=nn.Parameter(noise(9, 4)), head=nn.Linear(3, 3)),
        noise(10, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_every_example_has_the_gradient_of_its_own(kind):
    torch.manual_seed(0)
    model, inputs = LAYERS[kind]()
    covered(stage_of(model, inputs))


def test_what_data_change_in_place_is_no_constant():
    """A tensor of zeros that rows of the data are written into belongs to the examples."""

    def marked(m, x):
        kept = torch.zeros(2, 4, dtype=x.dtype)
        kept[0] = x.mean(0)
        return m.head(torch.tanh(x + (kept * m.scale).sum(0)))

    torch.manual_seed(0)
    model = Wrapped(marked, scale=nn.Parameter(noise(4)), head=nn.Linear(4, 3))
    stage = stage_of(model, noise(10, 4))
    assert isinstance(stage, Stage)
    objective = objective_of(stage, 10)
    batch = next(objective.batches(stage.data))[1]
    found = Watch(objective, objective.trained).factors(batch, 10)
    live = {n: p.detach().clone().requires_grad_() for n, p in objective.parameters.items()}
    rows = [torch.autograd.grad(v, live["scale"], retain_graph=True)[0] for v in objective.losses(batch, 10, live)]
    torch.testing.assert_close(sum(f.gradients() for f in found["scale"]), torch.stack(rows))
