"""Number formats of model and data, scales of features, values at the edge."""

from __future__ import annotations

import torch
from comparison import Row, Setup
from torch import nn
from torch.nn import functional as fn

KIND = "Number formats"
M, Q, WIDTH, CLASSES = 24, 3, 4, 3


def network():
    return nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, CLASSES))


def over_classes(o, b):
    return fn.cross_entropy(o, b[1], reduction="none")


def setup(model, x, y=None, loss=over_classes, **rest):
    y = torch.arange(M + Q) % CLASSES if y is None else y
    examples = list(zip(x, y, strict=True))
    return Setup(model, loss, examples[:M], examples[M:], **rest)


def in_format(dtype, tolerance, model=None):
    """Model and data in one format."""
    return lambda: setup((model or network)().to(dtype), torch.randn(M + Q, WIDTH).to(dtype), tolerance=tolerance)


def mixed():
    """Body in bfloat16, head in single precision."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(WIDTH, 5).bfloat16(), nn.Linear(5, CLASSES)

        def forward(self, x):
            return self.head(torch.tanh(self.body(x.to(self.body.weight.dtype))).to(self.head.weight.dtype))

    return setup(Mixed(), torch.randn(M + Q, WIDTH), tolerance=5e-2)


def numpy_rows():
    made = setup(network(), torch.randn(M + Q, WIDTH))
    made.examples = [(x.numpy(), int(y)) for x, y in made.examples]
    made.queries = [(x.numpy(), int(y)) for x, y in made.queries]
    return made


def pixels():
    """Bytes that the forward pass scales."""

    def forward(model, b):
        return model(b[0].to(next(model.parameters()).dtype) / 255)

    return setup(network(), torch.randint(0, 256, (M + Q, WIDTH), dtype=torch.uint8), forward=forward)


def raw(l2):
    """Ten parameters on raw scales, as age and income have."""

    def make():
        x = torch.randn(M + Q, 4) * torch.tensor([1.0, 12.0, 5e4, 0.1]) + torch.tensor([0.0, 40.0, 6e4, 0.0])
        y = (x[:, 0] + (x[:, 1] - 40) / 12 > 0).float()
        model = nn.Linear(4, 1)
        with torch.no_grad():
            model.weight.mul_(1e-2 / torch.tensor([1.0, 12.0, 5e4, 0.1]))

        def loss(o, b):
            return fn.binary_cross_entropy_with_logits(o[:, 0], b[1], reduction="none")

        return setup(model, x, y, loss, l2=l2, tolerance=2e-2)

    return make


def scaled(factor):
    """A loss multiplied by a constant: nothing may depend on its unit."""
    return lambda: setup(
        network(), torch.randn(M + Q, WIDTH), loss=lambda o, b: factor * over_classes(o, b), l2=1e-2 * factor
    )


def saturated():
    """Predictions of probability one: curvature and gradients vanish in single precision."""
    model = network()
    with torch.no_grad():
        model[2].weight.mul_(40)
    return setup(model, torch.randn(M + Q, WIDTH), methods=("identity", "exact", "cg", "ekfac", "index"))


def cast_loss():
    """A model in bfloat16 whose loss is taken in single precision, as training loops do."""
    return setup(
        network().bfloat16(),
        torch.randn(M + Q, WIDTH).bfloat16(),
        loss=lambda o, b: fn.cross_entropy(o if o.dtype == torch.float64 else o.float(), b[1], reduction="none"),
        tolerance=5e-2,
    )


FORMATS = {
    "float32": in_format(torch.float32, 1e-3),
    "float64": in_format(torch.float64, 1e-6),
    "bfloat16": in_format(torch.bfloat16, 5e-2),
    "float16": in_format(torch.float16, 1e-2),
    "bfloat16, loss in float32": cast_loss,
    "bfloat16 body, float32 head": mixed,
    "float32 rows of NumPy, labels as int": numpy_rows,
    "bytes, scaled by forward": pixels,
    "a loss times 1e-4": scaled(1e-4),
    "a loss times 1e4": scaled(1e4),
    "saturated predictions": saturated,
}
TOLD = {
    # Curvatures differ by ten orders of magnitude: estimates say how far off they are.
    "raw scales, l2 1e-2": (raw(1e-2), "not converged"),
    "raw scales, l2 1e-4": (raw(1e-4), "not converged"),
}
QUICK = {"float32", "float64", "bytes, scaled by forward", "float32 rows of NumPy, labels as int"}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in FORMATS.items()]
ROWS += [Row(KIND, name, make, told=told) for name, (make, told) in TOLD.items()]
