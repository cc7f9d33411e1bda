"""Small smooth networks, and a reference optimiser to their minima that shares no code with the library's."""

from __future__ import annotations

import copy
from fnmatch import fnmatch

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def close(a, b, tolerance=1e-5):
    """Equal up to `tolerance`, of each entry or of the largest."""
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


def data(count: int, inputs: int, classes: int, generator: torch.Generator) -> TensorDataset:
    """Inputs with a label that a noisy linear rule gives, so that there is something to learn."""
    x = torch.randn(count, inputs, generator=generator, dtype=torch.float64)
    rule = torch.randn(inputs, classes, generator=torch.Generator().manual_seed(classes), dtype=torch.float64)
    noise = torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return TensorDataset(x, (x @ rule + 0.5 * noise).argmax(1))


class Net(nn.Module):
    """tanh(V tanh(W x)) and a head that other stages replace."""

    def __init__(self, classes: int, inputs: int = 3, width: int = 3):
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)
        self.double()

    def forward(self, x):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def decay_of(stage: Stage, name: str) -> float:
    """lambda of a parameter's l2 term."""
    groups = stage.l2 if isinstance(stage.l2, dict) else {"*": stage.l2}
    return next((value for pattern, value in groups.items() if fnmatch(name, pattern)), 0.0)


def minimise(stage: Stage, inherited: dict[str, torch.Tensor], weights: torch.Tensor | None = None) -> float:
    """Newton's method on the stage's objective as the paper writes it; sets the model, returns the gradient's norm.

    `inherited` holds the values of the inherited parameters by name here. Frozen ones are set to them.
    """
    x, y = stage.data.tensors
    weights = torch.ones(len(x), dtype=torch.float64) if weights is None else weights
    values = {n: p.detach().clone() for n, p in stage.model.named_parameters()}
    frozen = {n for n in inherited if any(n.startswith(pattern.rstrip("*")) for pattern in stage.frozen)}
    values |= {n: inherited[n] for n in frozen}
    names = [n for n in values if n not in frozen]
    sizes = [values[n].numel() for n in names]

    def objective(vector):
        parts = dict(zip(names, vector.split(sizes), strict=True))
        parameters = values | {n: part.view_as(values[n]) for n, part in parts.items()}
        outputs = functional_call(stage.model, parameters, (x,))
        total = (weights * cross_entropy(outputs, y, reduction="none")).sum() / len(x)
        total = total + sum(decay_of(stage, n) / 2 * part.square().sum() for n, part in parts.items())
        for n in inherited.keys() - frozen:
            total = total + stage.proximity * (parameters[n] - inherited[n]).square().sum()
        return total

    point = torch.cat([values[n].flatten() for n in names])
    for _ in range(200):
        gradient = torch.func.grad(objective)(point)
        if gradient.norm() < 1e-13:
            break
        eigenvalues, vectors = torch.linalg.eigh(torch.func.hessian(objective)(point))
        step, length = vectors @ (vectors.T @ gradient / eigenvalues.abs().clamp(min=1e-3)), 1.0
        before = objective(point)
        while objective(point - length * step) > before + 1e-15 and length > 1e-6:
            length /= 2
        point = point - length * step
    with torch.no_grad():
        for n, part in zip(names, point.split(sizes), strict=True):
            stage.model.get_parameter(n).copy_(part.view_as(values[n]))
        for n in frozen:
            stage.model.get_parameter(n).copy_(values[n])
    return float(torch.func.grad(objective)(point).norm())


def minimise_chain(stages: list[Stage], weights: dict[str, torch.Tensor] | None = None) -> list[Stage]:
    """Copies of the stages at their minima, each given the ones before; `weights` by stage name."""
    done: list[Stage] = []
    for stage in stages:
        stage = copy.copy(stage)
        stage.model = copy.deepcopy(stage.model)
        inherited = {}
        if done:
            before = dict(done[-1].model.named_parameters())
            pairs = stage.inherits or {
                n: n for n, p in stage.model.named_parameters() if n in before and before[n].shape == p.shape
            }
            inherited = {here: before[there].detach().clone() for here, there in pairs.items()}
        norm = minimise(stage, inherited, (weights or {}).get(stage.name))
        assert norm < 1e-10, f"{stage.name} is not at a minimum: {norm}"
        done.append(stage)
    return done
