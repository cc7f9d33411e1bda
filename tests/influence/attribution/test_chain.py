"""The chain against finite differences of real re-optimisation, for every way that parameters can be passed on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import Net, data, loss, minimise_chain

from influence import Stage, Study, attribute


def two_stages(seed: int, **finetuning) -> tuple[list[Stage], torch.utils.data.Dataset]:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stages = [
        Stage("pretrain", Net(2), loss, data(24, 3, 2, g), l2=0.02),
        Stage("finetune", Net(3), loss, data(18, 3, 3, g), **{"l2": 0.02, **finetuning}),
    ]
    return stages, data(4, 3, 3, g)


def three_stages(seed: int) -> tuple[list[Stage], torch.utils.data.Dataset]:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stages = [
        Stage("pretrain", Net(2), loss, data(24, 3, 2, g), l2=0.02),
        Stage("middle", Net(4), loss, data(20, 3, 4, g), l2=0.02, frozen=["first.*"], proximity=0.2),
        Stage("finetune", Net(3), loss, data(18, 3, 3, g), l2=0.02, frozen=["second.*"], proximity=0.1),
    ]
    return stages, data(4, 3, 3, g)


CASES = {
    "frozen (case 1)": lambda: two_stages(0, frozen=["first.*", "second.*"]),
    "updated (case 2)": lambda: two_stages(1, proximity=0.1),
    "partly frozen": lambda: two_stages(2, frozen=["first.*"], proximity=0.3),
    "weights frozen, biases trained": lambda: two_stages(3, frozen=["first.weight", "second.weight"], proximity=0.3),
    "three stages": lambda: three_stages(4),
    "groups of l2": lambda: two_stages(5, proximity=0.1, l2={"*.bias": 0.005, "head.*": 0.05, "first.*": 0.02}),
}


def query_losses(stages: list[Stage], queries) -> torch.Tensor:
    x, y = queries.tensors
    return loss(stages[-1].model(x), [x, y]).detach()


def finite_difference(stages: list[Stage], queries, stage: int, example: int, step: float = 1e-4) -> np.ndarray:
    """-d(query losses)/d(weight of one example), by optimising every stage again with the weight moved both ways."""
    sides = []
    for sign in (1, -1):
        weights = torch.ones(len(stages[stage].data), dtype=torch.float64)
        weights[example] += sign * step
        sides.append(query_losses(minimise_chain(stages, {stages[stage].name: weights}), queries))
    return (-(sides[0] - sides[1]) / (2 * step)).numpy()


@pytest.mark.parametrize("case", CASES)
def test_scores_of_every_stage_are_the_derivative_of_real_training(case):
    stages, queries = CASES[case]()
    stages = minimise_chain(stages)
    study = Study(case, stages, queries)
    for position, stage in enumerate(stages):
        scores = attribute(study, stage=stage.name, method="exact", curvature="hessian", damping=0.0, progress=False)
        for example in (0, 7):
            measured = finite_difference(stages, queries, position, example)
            assert np.abs(measured).max() > 1e-6, "the test would not notice a zero"
            np.testing.assert_allclose(
                scores.values[:, example], measured, rtol=1e-4, atol=1e-4 * np.abs(measured).max()
            )


def test_renamed_parameters_pass_on_through_inherits():
    stages, queries = CASES["partly frozen"]()

    class Renamed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = Net(3)

        def forward(self, x):
            return self.body(x)

    pairs = {f"body.{part}.{kind}": f"{part}.{kind}" for part in ("first", "second") for kind in ("weight", "bias")}
    torch.manual_seed(2)
    renamed = Stage(
        "finetune", Renamed(), loss, stages[1].data, l2=0.02, frozen=["body.first.*"], proximity=0.3, inherits=pairs
    )
    stages = minimise_chain([stages[0], renamed])
    scores = attribute(Study("renamed", stages, queries), method="exact", curvature="hessian", progress=False)
    measured = finite_difference(stages, queries, 0, 3)
    np.testing.assert_allclose(scores.values[:, 3], measured, rtol=1e-4, atol=1e-4 * np.abs(measured).max())


def test_one_stage_is_the_classical_influence_function():
    """Koh & Liang 2017: grad l_t' H^-1 grad l_z / m, formed densely here."""
    g = torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    (stage,) = minimise_chain([Stage("only", Net(2), loss, data(20, 3, 2, g), l2=0.02)])
    queries = data(3, 3, 2, g)
    scores = attribute(Study("single", [stage], queries), method="exact", curvature="hessian", progress=False)

    names, shapes = zip(*[(n, p.shape) for n, p in stage.model.named_parameters()], strict=True)
    point = torch.cat([p.detach().flatten() for p in stage.model.parameters()])

    def value(vector, x, y):
        parts = vector.split([s.numel() for s in shapes])
        named = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        return torch.nn.functional.cross_entropy(torch.func.functional_call(stage.model, named, (x,)), y)

    x, y = stage.data.tensors
    curvature = torch.func.hessian(value)(point, x, y) + stage.l2 * torch.eye(len(point), dtype=torch.float64)
    rows = [torch.func.grad(value)(point, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    sides = [torch.func.grad(value)(point, q[None], t[None]) for q, t in queries]
    expected = torch.stack(sides) @ torch.linalg.solve(curvature, torch.stack(rows).T) / len(x)
    np.testing.assert_allclose(scores.values, expected.numpy(), rtol=1e-5, atol=1e-8)


def test_sign_a_mislabelled_pretraining_example_is_harmful():
    """Two clear clusters, the same in both stages; one pretraining example carries the wrong label."""
    g = torch.Generator().manual_seed(6)
    torch.manual_seed(6)
    centres = torch.tensor([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]], dtype=torch.float64)

    def clusters(count):
        y = torch.arange(count) % 2
        return centres[y] + 0.5 * torch.randn(count, 3, generator=g, dtype=torch.float64), y

    x, y = clusters(40)
    y[11] = 1 - y[11]
    wrong = torch.utils.data.TensorDataset(x, y)
    finetuning, queries = (torch.utils.data.TensorDataset(*clusters(n)) for n in (20, 30))
    torch.manual_seed(6)
    stages = minimise_chain(
        [
            Stage("pretrain", Net(2), loss, wrong, l2=0.02),
            Stage("finetune", Net(2), loss, finetuning, l2=0.05, proximity=0.5, frozen=["first.*"]),
        ]
    )
    scores = attribute(Study("planted", stages, queries), method="exact", curvature="hessian", progress=False)
    total = scores.values.sum(0)
    assert total.argmin() == 11
    assert total[11] < 0
    assert total[11] < 2 * np.delete(total, 11).min(), "it stands out"
    hurt = int(scores.values[:, 11].argmin())
    assert scores.top(hurt, 1, helpful=False)["id"].tolist() == [11]
