"""EK-FAC against the matrices that it approximates, and where it is no approximation."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch
from minima import data, loss
from scipy.stats import spearmanr
from tiny import tiny_study
from tiny_texts import text_study
from torch import nn
from torch.utils.data import TensorDataset

import influence.curvature.ekfac as ekfac
import influence.curvature.linear_algebra.axes as axes
from influence import Stage, Study, attribute
from influence.curvature import gathering
from influence.curvature.ekfac import EKFAC
from influence.derivatives.first.gradients import example_gradients, formed
from influence.derivatives.first.watch import Watch
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.fisher import Fisher
from influence.derivatives.second.gauss_newton import ggn
from influence.errors import CurvatureError, LossError, MethodError

g = torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _never_exact(monkeypatch):
    monkeypatch.setattr(ekfac, "MAX_EXACT_STAGE", 0)


def objective_of(model: nn.Module, examples, **options):
    stage = Stage("stage", model.double(), loss, examples, **options)
    return objectives_of(Study("one", [stage], examples), batch_size=7)[0]


def gradients_of(objective) -> torch.Tensor:
    return torch.cat([rows for _, rows in example_gradients(objective, objective.stage.data, objective.trained)])


def test_random_gradients_have_the_gauss_newton_matrix_as_covariance():
    torch.manual_seed(0)
    objective = objective_of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), data(20, 3, 3, g))
    layout, total, draws = objective.trained, 0, 400
    fisher = Fisher(objective)
    for _ in range(draws):
        for _, factors in fisher.factors():
            rows = torch.cat([factors[name][0].gradients() for name in layout.shapes], dim=1)
            total = total + rows.T @ rows / (draws * objective.count)
    assert (total - ggn(objective)).norm() < 0.1 * ggn(objective).norm()


@pytest.mark.parametrize("longest", [axes.MAX_SIDE, 0])
@pytest.mark.parametrize("l2", [0.1, {"weight": 0.1, "bias": 2}])
def test_one_linear_layer_of_independent_sides_is_exact(l2, longest, monkeypatch):
    """Inputs +-1 in every combination and constant curvature: the Gauss-Newton matrix is a Kronecker product."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()
    examples = TensorDataset(signs, torch.zeros(8, 2).double())
    scale = torch.tensor([[2.0, 0.3], [0.3, 1.0]]).double()
    quadratic = lambda o, b: 0.5 * (((o - b[1]) @ scale) * (o - b[1])).sum(1)  # noqa: E731
    monkeypatch.setattr(axes, "MAX_SIDE", longest)
    if not longest:  # coordinate axes are those of independent outputs
        scale = torch.diag(scale.diagonal())
    stage = Stage("linear", nn.Linear(3, 2).double(), quadratic, examples, l2=l2)
    (objective,) = objectives_of(Study("one", [stage], examples))
    solver = EKFAC(objective, draws=200)
    queries = gradients_of(objective)
    matrix = ggn(objective) + torch.diag(objective.ridge)
    exact = torch.linalg.solve(matrix, queries.T).T
    assert solver.report["blocks"]["kronecker"] == ["weight", "bias"]
    assert (solver.solve(queries) - exact).norm() < 0.1 * exact.norm()


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.mix, self.norm = nn.Embedding(7, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.cell, self.sweep, self.head = (
            nn.LSTM(4, 3, batch_first=True),
            nn.Conv1d(3, 3, 2, groups=3),
            nn.Linear(3, 3),
        )
        self.scale = nn.Parameter(torch.ones(600, 1))

    def forward(self, x):
        hidden = self.cell(self.layer(self.norm(torch.tanh(self.mix(self.table(x))))))[0]
        return self.head(torch.tanh(self.sweep(hidden.mT)).mean(2)) * self.scale.mean()


def test_every_parameter_is_in_a_block():
    torch.manual_seed(0)
    words = TensorDataset(torch.randint(7, (20, 5), generator=g), torch.randint(3, (20,), generator=g))
    objective = objective_of(Mixed(), words, l2=0.05)
    solver = EKFAC(objective)
    blocks = solver.report["blocks"]
    assert sorted(name for names in blocks.values() for name in names) == sorted(objective.trained.shapes)
    assert {"table.weight", "mix.weight", "mix.bias", "layer.self_attn.in_proj_weight", "sweep.weight"} <= {
        *blocks["kronecker"]
    }
    assert {"norm.weight", "cell.weight_ih_l0"} <= {*blocks["full"]}
    assert blocks["diagonal"] == ["scale"]
    queries = gradients_of(objective)
    solved = solver.solve(queries)
    assert (solved.norm(dim=1) <= queries.norm(dim=1) / 0.05 + 1e-9).all()


def test_tied_and_shared_weights_have_the_curvature_of_all_their_uses():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.mix = nn.Embedding(7, 3), nn.Linear(3, 3)

        def forward(self, x):
            return torch.tanh(self.mix(torch.tanh(self.mix(self.table(x).mean(1))))) @ self.table.weight.T

    torch.manual_seed(0)
    words = TensorDataset(torch.randint(7, (30, 4), generator=g), torch.randint(7, (30,), generator=g))
    objective = objective_of(Tied(), words)
    solver = EKFAC(objective, damping=0.1, draws=50)
    matrix = ggn(objective)
    # A change of axes keeps the trace: that of each block is the matrix's there.
    for block in solver.blocks.values():
        place = torch.cat([torch.arange(s.start, s.stop) for s in block.places])
        diagonal = block.curvature.diagonal() if block.form == "full" else block.curvature
        found = float(diagonal.sum()) / solver.count
        assert found == pytest.approx(float(matrix.diagonal()[place].sum()), rel=0.1)


@pytest.mark.parametrize("frozen", [True, False])
def test_across_stages_it_ranks_as_exact_does(frozen):
    exact, found, plain = (
        attribute(tiny_study(frozen), method=m, progress=False).values for m in ("exact", "ekfac", "identity")
    )

    def agreement(scores):
        return np.mean([spearmanr(a, b).statistic for a, b in zip(scores, exact, strict=True)])

    assert agreement(found) > max(0.5, agreement(plain))


def test_small_stages_are_solved_exactly(monkeypatch):
    monkeypatch.setattr(ekfac, "MAX_EXACT_STAGE", 1024)
    exact, found = (attribute(tiny_study(), method=m, progress=False) for m in ("exact", "ekfac"))
    np.testing.assert_allclose(found.values, exact.values)
    names = ["body.0.weight", "body.0.bias", "head.weight", "head.bias"]
    assert found.report["stages"][0]["blocks"] == {"exact": names}


def test_batches_and_repetition_make_no_difference_beyond_the_draws():
    torch.manual_seed(0)
    stage = Stage("stage", nn.Linear(3, 3).double(), loss, data(20, 3, 3, g), l2=0.1)
    one, two = (EKFAC(objectives_of(Study("one", [stage], stage.data), batch_size=7)[0]) for _ in range(2))
    queries = torch.randn(3, 12, dtype=torch.float64)
    assert torch.equal(one.solve(queries), two.solve(queries))
    together = one.solve(queries[:1] * 2 + queries[1:2])
    torch.testing.assert_close(one.solve(queries)[:1] * 2 + one.solve(queries)[1:2], together)


def test_what_it_cannot_do_is_refused():
    study = tiny_study()
    with pytest.raises(MethodError, match="Gauss-Newton"):
        attribute(study, method="ekfac", curvature="hessian", progress=False)
    with pytest.raises(MethodError, match="draws is 0"):
        attribute(study, method="ekfac", draws=0, progress=False)
    flat = Study("flat", [Stage("flat", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g))], data(2, 3, 3, g))
    with pytest.raises(CurvatureError, match="'flat'.*Set `damping`"):
        attribute(flat, method="ekfac", damping=0.0, progress=False)


def test_axes_from_some_examples_keep_the_curvature_of_all(monkeypatch):
    monkeypatch.setattr(gathering, "EIGENBASIS_EXAMPLES", 12)
    torch.manual_seed(0)
    objective = objective_of(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)), data(60, 3, 3, g))
    solver = EKFAC(objective, damping=0.1, draws=30)
    trace = sum(float(torch.as_tensor(block.curvature).sum()) for block in solver.blocks.values()) / solver.count
    assert trace == pytest.approx(float(ggn(objective).trace()), rel=0.1)


class Expert(nn.Module):
    """A second layer, which only examples with a positive first number use."""

    def __init__(self):
        super().__init__()
        self.every, self.seldom = nn.Linear(3, 1), nn.Linear(3, 1, bias=False)

    def forward(self, x):
        chosen = (x[:, :1] > 0).to(x)
        return self.every(x) + (chosen * self.seldom(x) if chosen.any() else 0)


@pytest.mark.parametrize("span", [4096, 8])
def test_a_layer_that_none_of_the_sampled_examples_uses_has_its_curvature(span, monkeypatch):
    monkeypatch.setattr(gathering, "EIGENBASIS_EXAMPLES", 12)
    monkeypatch.setattr("influence.derivatives.batches.SPAN", span)
    x = torch.randn(40, 3, dtype=torch.float64, generator=g)
    x[:, 0] = -x[:, 0].abs()
    sampled = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:12]
    late = next(place for place in range(39, 0, -1) if place not in sampled)
    x[late, 0] = 2.0
    examples = TensorDataset(x, torch.randn(40, 1, dtype=torch.float64, generator=g))
    stage = Stage("stage", Expert().double(), lambda o, b: (o - b[1]).square().sum(1), examples, l2=0.1)
    (objective,) = objectives_of(Study("one", [stage], examples), batch_size=7)
    solver, queries = EKFAC(objective), torch.eye(objective.trained.size, dtype=torch.float64)
    place = objective.trained.slices["seldom.weight"]
    # One output number: a random gradient's square is the curvature itself.
    expected = torch.linalg.inv(2 * torch.outer(x[late], x[late]) / 40 + 0.1 * torch.eye(3))
    torch.testing.assert_close(solver.solve(queries)[place, place], expected)
    assert "seldom.weight" in solver.report["blocks"]["full"]


@pytest.mark.parametrize("small", [0, 10**6])
def test_norms_are_products_with_what_is_solved(small, monkeypatch):
    monkeypatch.setattr(ekfac, "MAX_EXACT_STAGE", small)
    study = text_study(seed=5)  # tied embeddings, norms, attention; one place of nine is never used
    objective = objectives_of(study)[0]
    solver = EKFAC(objective, damping=0.01)
    rows = torch.randn(4, objective.trained.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(solver.norms(rows), (solver.solve(rows) * rows).sum(1))


def test_a_model_in_single_precision_solves_what_is_in_double():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    examples = [(x.float(), label) for x, label in data(20, 3, 3, g)]
    stage = Stage("stage", model, loss, examples)
    solver = EKFAC(objectives_of(Study("one", [stage], examples))[0], damping=0.01)
    rows = torch.randn(2, solver.objective.trained.size, dtype=torch.float64)
    solved = solver.solve(rows)
    assert solved.dtype == torch.float64
    torch.testing.assert_close(solver.solve(rows.float()).double(), solved, rtol=1e-4, atol=1e-4)


def test_the_rows_of_a_tied_embedding_are_axes():
    objective = objectives_of(text_study(seed=6))[0]
    solver = EKFAC(objective, damping=0.01)
    (block,) = [b for names, b in solver.blocks.items() if "body.words.weight" in names]
    assert block.form == "kronecker"
    assert block.axes[0].basis is None
    assert block.axes[1].basis.shape == (1, 4, 4)


def test_stages_that_count_as_small_are_solved_exactly():
    objective = objective_of(nn.Linear(3, 4), data(9, 3, 4, g), l2=0.1)
    assert "exact" in EKFAC(objective, small=16).report["blocks"]
    assert "exact" not in EKFAC(objective, small=15).report["blocks"]


@pytest.mark.parametrize(("largest", "form"), [(0, "diagonal"), (gathering.MAX_FULL_BLOCK, "full")])
def test_what_one_found_serves_another_without_the_data(largest, form, monkeypatch, tmp_path):
    monkeypatch.setattr(gathering, "MAX_FULL_BLOCK", largest)
    objective = objectives_of(text_study(seed=5))[0]
    solver = EKFAC(objective, damping=0.01)
    assert {form, "kronecker"} <= set(solver.report["blocks"])
    safetensors.torch.save_file(solver.state(), tmp_path / "state.safetensors")
    monkeypatch.setattr(gathering, "Fisher", None)
    again = EKFAC(objective, damping=0.01, state=safetensors.torch.load_file(tmp_path / "state.safetensors"))
    rows = torch.randn(4, objective.trained.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.solve(rows), solver.solve(rows))
    torch.testing.assert_close(again.norms(rows), solver.norms(rows))
    assert again.report == solver.report


def test_a_stage_that_is_solved_exactly_keeps_nothing():
    objective = objective_of(nn.Linear(3, 4), data(9, 3, 4, g), l2=0.1)
    assert EKFAC(objective, small=16).state() == {}


@pytest.mark.parametrize("small", [0, 10**6])
@pytest.mark.parametrize("kind", ["texts", "pictures"])
def test_norms_of_factors_are_those_of_what_they_form(kind, small):
    torch.manual_seed(0)
    if kind == "texts":
        objective = objectives_of(text_study(seed=5))[0]
    else:
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3)).double()
        pictures = TensorDataset(torch.randn(30, 1, 6, 6, dtype=torch.float64), torch.randint(3, (30,)))
        objective = objective_of(net, pictures, l2={"*weight": 0.1})
    solver = EKFAC(objective, damping=0.01, small=small)
    watch = Watch(objective, objective.trained)
    for positions, batch in objective.batches(objective.stage.data):
        count = positions.stop - positions.start
        factors = watch.factors(batch, count)
        rows = formed(objective, objective.trained, factors, slice(0, count))
        norms, lengths = solver.norms_of(factors, count)
        torch.testing.assert_close(norms, solver.norms(rows))
        torch.testing.assert_close(lengths, rows.norm(dim=1))


class Sharing(nn.Module):
    """All examples' losses depend on the numbers of the second output, a parameter or what is made of it."""

    def __init__(self, made: bool):
        super().__init__()
        self.body, self.shift, self.made = nn.Linear(4, 3), nn.Parameter(torch.randn(3, 3)), made
        self.double()

    def forward(self, x):
        return self.body(x), self.shift.exp() if self.made else self.shift


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("count", [3, 12])
def test_outputs_that_several_examples_share_are_no_loss_of_curvature(made, count):
    """All parameters have a rule, or none to have: once the second output's curvature was silently missing."""
    torch.manual_seed(0)
    examples = data(count, 4, 3, torch.Generator().manual_seed(0))

    def shifted(outputs, batch):
        return loss(outputs[0] + outputs[1].sum(0), batch)

    def found(**options):
        return attribute(study, progress=False, **options).values

    study = Study("one", [Stage("one", Sharing(made), shifted, examples, l2=0.1)], examples)
    with pytest.raises(LossError, match="'one': the model returns numbers that the losses of several examples depend"):
        found(method="ekfac", small=0)
    exact = found(method="exact")
    np.testing.assert_allclose(found(method="cg"), exact, rtol=1e-4, atol=1e-6 * abs(exact).max())
