"""Training against closed forms, and what it promises: weights, seeds, small gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from minima import Net, data, loss, minimise_chain
from torch import nn
from torch.distributions import Categorical
from torch.nn.functional import nll_loss
from torch.utils.data import TensorDataset

import influence
from influence import Stage, Study, attribute
from influence.errors import TrainingError
from influence.study.parameters import groups_of
from influence.training.minimum import Trainer, fit_stage


def squared_error(outputs, batch):
    return (outputs[:, 0] - batch[1]).square() / 2


def ridge_stage(l2: float = 0.1) -> Stage:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, generator=g, dtype=torch.float64)
    y = x @ torch.randn(4, generator=g, dtype=torch.float64) + torch.randn(30, generator=g, dtype=torch.float64)
    return Stage("ridge", nn.Linear(4, 1, bias=False).double(), squared_error, TensorDataset(x, y), l2=l2)


@pytest.mark.parametrize("left_out", [None, 0, 17])
def test_ridge_regression_is_solved_in_closed_form(left_out):
    stage = ridge_stage()
    x, y = stage.data.tensors
    weights = torch.ones(30, dtype=torch.float64)
    if left_out is not None:
        weights[left_out] = 0
    fit = Trainer(stage, groups_of(stage, None)).fit(weights=weights)
    matrix = (weights[:, None] * x).T @ x / 30 + 0.1 * torch.eye(4)
    torch.testing.assert_close(fit.parameters["weight"][0], torch.linalg.solve(matrix, x.T @ (weights * y) / 30))
    assert fit.converged
    assert fit.gradient_norm < 1e-8


def test_proximity_is_really_in_the_objective():
    """Ridge towards inherited values: (X'X/m + l2 + 2 alpha)^-1 (X'y/m + 2 alpha w0)."""
    before = ridge_stage()
    stage = ridge_stage(l2=0.05)
    stage.proximity = 0.7
    inherited = {"weight": torch.tensor([[1.0, -2.0, 3.0, 0.5]], dtype=torch.float64)}
    fit = Trainer(stage, groups_of(stage, before)).fit(inherited=inherited)
    x, y = stage.data.tensors
    matrix = x.T @ x / 30 + (0.05 + 1.4) * torch.eye(4)
    expected = torch.linalg.solve(matrix, x.T @ y / 30 + 1.4 * inherited["weight"][0])
    torch.testing.assert_close(fit.parameters["weight"][0], expected)


def network(seed: int = 0) -> Stage:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    return Stage("net", Net(3), loss, data(40, 3, 3, g), l2=0.02)


def test_the_same_minimum_as_plain_newton_from_there():
    stage = network()
    fit = Trainer(stage, groups_of(stage, None)).fit()
    stage.model.load_state_dict(fit.parameters)
    (again,) = minimise_chain([stage])
    for name, parameter in again.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), fit.parameters[name], rtol=1e-5, atol=1e-6)


def test_the_same_call_gives_bit_identical_parameters():
    fits = [Trainer(network(), groups_of(network(), None)).fit() for _ in range(2)]
    for name, value in fits[0].parameters.items():
        assert torch.equal(value, fits[1].parameters[name])


def test_the_report_says_how_far_every_stage_is_from_its_minimum():
    before, stage = network(0), network(1)
    stage.name, stage.proximity = "second", 0.3
    study = Study("two", [before, stage], stage.data)
    away = attribute(study, method="identity", progress=False).report["stages"]
    assert all(each["gradient_norm"] > 1e-2 for each in away)
    fit_stage(before, None)
    fit_stage(stage, before)
    there = attribute(study, method="identity", progress=False).report["stages"]
    assert all(each["gradient_norm"] < 1e-7 for each in there)
    alone = attribute(study, stage="second", method="identity", progress=False).report["stages"]
    assert alone == there[1:]


def test_the_model_is_not_changed_and_frozen_parameters_take_inherited_values():
    before, stage = network(0), network(1)
    stage.frozen = ("first.*",)
    kept = {n: p.clone() for n, p in stage.model.named_parameters()}
    inherited = {n: p.detach() for n, p in before.model.named_parameters()}
    fit = Trainer(stage, groups_of(stage, before)).fit(inherited=inherited)
    assert torch.equal(fit.parameters["first.weight"], inherited["first.weight"])
    assert not torch.equal(fit.parameters["second.weight"], inherited["second.weight"])
    assert all(torch.equal(p, kept[n]) for n, p in stage.model.named_parameters())


@pytest.mark.parametrize("form", ["log-probabilities", "a distribution"])
def test_outputs_without_a_gauss_newton_matrix_lead_to_the_same_minimum(form):
    """Of a loss that is linear in the outputs it is 0, and of outputs that are no tensors there is none."""
    g = torch.Generator().manual_seed(0)
    rows = TensorDataset(torch.randn(40, 3, dtype=torch.float64, generator=g), torch.randint(3, (40,), generator=g))
    forwards = {
        "log-probabilities": lambda model, batch: model(batch[0]).log_softmax(1),
        "a distribution": lambda model, batch: Categorical(logits=model(batch[0])),
    }
    losses = {
        "log-probabilities": lambda outputs, batch: nll_loss(outputs, batch[1], reduction="none"),
        "a distribution": lambda outputs, batch: -outputs.log_prob(batch[1]),
    }
    torch.manual_seed(0)
    model = nn.Linear(3, 3).double()
    usual = Stage("usual", model, loss, rows)
    other = Stage("other", model, losses[form], rows, forward=forwards[form])
    expected, found = (Trainer(s, groups_of(s, None)).fit() for s in (usual, other))
    assert expected.converged
    assert found.converged
    torch.testing.assert_close(found.parameters, expected.parameters, rtol=1e-5, atol=1e-6)


def test_progress_is_reported_up_to_the_end():
    stage, seen = network(), []
    Trainer(stage, groups_of(stage, None)).fit(report=seen.append)
    assert seen
    assert all(0 <= share <= 1 for share in seen)
    assert seen[-1] == 1


def test_weights_of_the_wrong_length_are_named():
    stage = ridge_stage()
    with pytest.raises(TrainingError, match=r"weights have shape \(29,\), expected \(30,\)"):
        Trainer(stage, groups_of(stage, None)).fit(weights=torch.ones(29))


def test_an_objective_that_is_not_finite_stops_the_fit():
    stage = ridge_stage()
    stage.data.tensors[1][3] = float("nan")
    with pytest.raises(TrainingError, match="'ridge': the objective became nan"):
        Trainer(stage, groups_of(stage, None)).fit()


def test_no_compiler_is_loaded_for_a_fit():
    """In a process of its own; it takes a second or more, and nothing is compiled."""
    program = (
        "import sys, torch\n"
        "from minima import data, loss\n"
        "from influence import Stage\n"
        "from influence.training.minimum import fit_stage\n"
        "model = torch.nn.Linear(3, 2).double()\n"
        "stage = Stage('one', model, loss, data(9, 3, 2, torch.Generator().manual_seed(0)), l2=0.1)\n"
        "assert fit_stage(stage, None).converged\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    places = [Path(__file__).parents[1], Path(influence.__file__).parents[1]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
