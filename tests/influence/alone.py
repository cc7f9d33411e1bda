"""Reference gradients that layer rules are compared with: plain autograd on the user's model, one example at a time."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study
from influence.attribution.products.dots import dots
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.objective import objectives_of

CLASSES = 3
N = 10  # two batches of four and one of two
g = torch.Generator().manual_seed(0)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def words(length: int = 5, vocabulary: int = 7) -> torch.Tensor:
    return torch.randint(vocabulary, (N, length), generator=g)


class Wrapped(nn.Module):
    """Some modules, and a forward pass written as a function of them."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


def after(layer: nn.Module, width: int) -> nn.Module:
    """Something that needs the layer's own gradient to be right to get its own right, and the other way round."""
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(width, 3))


def loss(outputs, batch):
    return cross_entropy(outputs.flatten(1)[:, :CLASSES], batch[-1], reduction="none")


def objective_of(stage: Stage, batch_size: int) -> Objective:
    return objectives_of(Study("one", [stage], stage.data), batch_size=batch_size)[0]


def one_by_one(stage: Stage, names=None, together: bool = False) -> torch.Tensor:
    """(N, P) over the model's parameters, or those called `names`; `together`: all examples in one batch."""
    model, named = stage.model.eval(), dict(stage.model.named_parameters())
    parameters = [named[n] for n in names or named]
    rows = []
    torch.backends.mha.set_fastpath_enabled(False)
    with sdpa_kernel(SDPBackend.MATH):
        for i in range(len(stage.data)):
            batch = torch.utils.data.default_collate([stage.data[i]])
            if stage.collate is not None:
                batch = stage.collate([stage.data[i]])
            values = stage.loss(stage.forward(model, batch), batch)
            parts = torch.autograd.grad(values.sum(), parameters, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        torch.zeros_like(p).flatten() if d is None else d.flatten()
                        for p, d in zip(parameters, parts, strict=True)
                    ]
                )
            )
    torch.backends.mha.set_fastpath_enabled(True)
    return torch.stack(rows).detach()


def check(stage: Stage, batch_size: int = 4, names=None, counts=(1, 2, 5), tolerance: float = 1e-9) -> Objective:
    """Gradients, and products with 1, 2 and more gradients of other examples, are those of every example alone."""
    expected = one_by_one(stage, names)
    assert expected.abs().max() > 1e-6
    objective = objective_of(stage, batch_size)
    layout = objective.all
    if names is not None:
        layout = type(layout)(objective.parameters, names)
    scale = float(expected.abs().max())
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, layout)])
    torch.testing.assert_close(found, expected.to(found), rtol=tolerance, atol=tolerance * scale)
    for count in counts:
        vectors = expected[torch.arange(count) * 2 % len(expected)].to(found)
        products = torch.cat([rows for _, rows in dots(objective, stage.data, layout, vectors)])
        wanted = expected.to(found) @ vectors.T
        torch.testing.assert_close(products, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max()))
    return objective


def covered(stage: Stage, **options) -> None:
    assert check(stage, **options).remarks.without_rule == set()


def stage_of(model: nn.Module, *inputs: torch.Tensor, seed: int = 0, **options) -> Stage:
    """A model in double precision, its parameters moved from where they start, and labels for the inputs."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    labels = torch.randint(CLASSES, (len(inputs[0]),), generator=generator)
    return Stage("stage", model, options.pop("loss", loss), TensorDataset(*inputs, labels), **options)
