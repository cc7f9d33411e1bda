"""A two-stage study at random parameters (no minimum), with reference solves by dense matrices."""

from __future__ import annotations

import torch
from minima import Net, data, loss

from influence import Stage, Study
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.gauss_newton import ggn
from influence.derivatives.second.hessian import hessian


def study_of(width: int = 3, l2: float = 0.05, **finetuning) -> Study:
    """Two stages at random parameters: the Hessians are indefinite."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    first = Stage("pretrain", Net(2, width=width), loss, data(30, 3, 2, g), l2=l2)
    second = Stage("finetune", Net(3, width=width), loss, data(30, 3, 3, g), l2=l2, **finetuning)
    return Study("random", [first, second], data(6, 3, 3, g))


def objective_of(position: int = 1, batch_size: int = 7, **options) -> Objective:
    """Over several minibatches, the last of them smaller."""
    return objectives_of(study_of(**options), batch_size=batch_size)[position]


def gradients(objective: Objective) -> torch.Tensor:
    return torch.cat([rows for _, rows in example_gradients(objective, objective.stage.data, objective.trained)])


def dense(objective: Objective, curvature: str = "ggn") -> torch.Tensor:
    return (ggn if curvature == "ggn" else hessian)(objective) + torch.diag(objective.ridge)


def solved_densely(matrix: torch.Tensor, damping: float, queries: torch.Tensor) -> torch.Tensor:
    return torch.linalg.solve(matrix + damping * torch.eye(len(matrix)).double(), queries.T).T
