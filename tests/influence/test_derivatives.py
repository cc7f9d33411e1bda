"""Gradients and curvature products of many kinds of models, against loops and dense matrices made here."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from minima import data, loss
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

from influence import Stage, Study, attribute
from influence.chain import objectives_of
from influence.derivatives import Objective
from influence.derivatives.first import dots, example_gradients, gradient
from influence.derivatives.gauss_newton import ggn
from influence.derivatives.second import ggn_product, hessian, hessian_product
from influence.errors import LossError

g = torch.Generator().manual_seed(0)
DEFAULT = torch.float64


def images(count: int) -> TensorDataset:
    return TensorDataset(
        torch.randn(count, 1, 6, 6, generator=g, dtype=DEFAULT), torch.randint(3, (count,), generator=g)
    )


def words(count: int) -> TensorDataset:
    return TensorDataset(torch.randint(7, (count, 5), generator=g), torch.randint(3, (count,), generator=g))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cell(self.embed(x))[0].mean(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layer(self.embed(x)).mean(1))


class Tied(nn.Module):
    """The output layer is the embedding."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(7, 3), nn.Linear(3, 3), nn.Linear(3, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(torch.tanh(self.mix(self.embed(x).mean(1))))


class Unused(nn.Module):
    """A parameter that gets no gradient."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(3, 3), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


def convolutional(*extra: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), *extra, nn.Tanh(), nn.Flatten(), nn.Linear(32, 3))


class Spectral(nn.Module):
    """Real parameters that are put together to complex ones."""

    def __init__(self):
        super().__init__()
        self.real, self.imaginary = nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(2))

    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x) * torch.complex(self.real, self.imaginary), n=3)


class InTwoPrecisions(nn.Module):
    def __init__(self, inner: torch.dtype):
        super().__init__()
        self.inner, self.head = nn.Linear(3, 4).to(inner), nn.Linear(4, 3).double()

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x.to(self.inner.weight.dtype))).double())


MODELS = {
    "complex tensors of real parameters": (Spectral, lambda n: data(n, 3, 3, g)),
    "dense": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), lambda n: data(n, 3, 3, g)),
    "convolutions": (lambda: convolutional(), images),
    "batch norm in evaluation mode, dropout": (lambda: convolutional(nn.BatchNorm2d(2), nn.Dropout(0.5)), images),
    "LSTM": (Recurrent, words),
    "transformer": (Attention, words),
    "tied weights": (Tied, words),
    "unused parameter": (Unused, lambda n: data(n, 3, 3, g)),
}


@pytest.fixture(params=MODELS)
def stage(request) -> Stage:
    make, examples = MODELS[request.param]
    torch.manual_seed(1)
    return Stage("stage", make().double(), loss, examples(9), l2=0.1)


def objective_of(stage: Stage, **options) -> Objective:
    return objectives_of(Study("one", [stage], stage.data), **options)[0]


def flat_gradient(stage: Stage, positions: list[int]) -> torch.Tensor:
    """Gradient of the summed loss by plain autograd on the user's own model."""
    model = stage.model.eval()
    batch = [t[positions] for t in stage.data.tensors]
    total = loss(model(batch[0]), batch).sum()
    gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True, create_graph=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if d is None else d.flatten()
            for p, d in zip(model.parameters(), gradients, strict=True)
        ]
    )


def test_example_gradients_are_those_of_each_example_alone(stage):
    objective = objective_of(stage, batch_size=4)
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.all)])
    expected = torch.stack([flat_gradient(stage, [i]).detach() for i in range(9)])
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(objective), expected.mean(0))


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("start", [0, 4])
def test_products_with_one_vector_and_with_several(stage, queries, start):
    objective = objective_of(stage, batch_size=4)
    vectors = torch.randn(queries, objective.all.size, dtype=torch.float64, generator=g)
    found = torch.cat([block for _, block in dots(objective, stage.data, objective.all, vectors, start)])
    expected = torch.stack([flat_gradient(stage, [i]).detach() for i in range(start, 9)]) @ vectors.T
    torch.testing.assert_close(found, expected)


def test_one_vector_where_forward_mode_has_no_rule():
    """As oneDNN's LSTM in single precision."""
    torch.manual_seed(1)
    stage = Stage("stage", Recurrent(), loss, words(9), l2=0.1)
    objective = objective_of(stage, batch_size=4)
    vector = torch.randn(1, objective.all.size, generator=g)
    found = torch.cat([block for _, block in dots(objective, stage.data, objective.all, vector)])
    expected = torch.stack([flat_gradient(stage, [i]).detach() for i in range(9)]) @ vector.T
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def dense_hessian(stage: Stage) -> torch.Tensor:
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no second derivative
        gradient = flat_gradient(stage, list(range(9))) / 9
    rows = [
        torch.autograd.grad(value, list(stage.model.parameters()), retain_graph=True, allow_unused=True)
        if value.requires_grad
        else [None] * len(list(stage.model.parameters()))
        for value in gradient
    ]
    parameters = list(stage.model.parameters())
    return torch.stack(
        [
            torch.cat(
                [
                    torch.zeros(p.numel(), dtype=DEFAULT) if d is None else d.flatten()
                    for p, d in zip(parameters, row, strict=True)
                ]
            )
            for row in rows
        ]
    )


def test_hessian_products_and_matrix(stage):
    objective = objective_of(stage, batch_size=4)
    expected = dense_hessian(stage)
    vectors = torch.randn(3, objective.trained.size, generator=g, dtype=DEFAULT)
    torch.testing.assert_close(hessian_product(objective, vectors), vectors @ expected, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(hessian(objective), expected, atol=1e-10, rtol=1e-7)


def test_gauss_newton_products_and_matrix(stage):
    """J' (diag p - p p') J, the Jacobian by plain autograd."""
    objective = objective_of(stage, batch_size=4)
    model, expected = stage.model.eval(), 0
    for i in range(9):
        outputs = model(stage.data.tensors[0][[i]])[0]
        rows = [torch.autograd.grad(o, list(model.parameters()), retain_graph=True, allow_unused=True) for o in outputs]
        jacobian = torch.stack(
            [
                torch.cat(
                    [
                        torch.zeros_like(p).flatten() if d is None else d.flatten()
                        for p, d in zip(model.parameters(), row, strict=True)
                    ]
                )
                for row in rows
            ]
        )
        p = outputs.softmax(0).detach()
        expected = expected + jacobian.T @ (torch.diag(p) - p[:, None] * p) @ jacobian / 9
    vectors = torch.randn(3, objective.trained.size, generator=g, dtype=DEFAULT)
    torch.testing.assert_close(ggn(objective), expected, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(ggn_product(objective, vectors), vectors @ expected, atol=1e-10, rtol=1e-7)


def test_the_user_model_stays_as_it_was(stage):
    stage.model.train()
    before = {n: t.clone() for n, t in stage.model.state_dict().items()}
    attribute(Study("one", [stage], stage.data), method="cg", progress=False)
    assert stage.model.training
    assert all(module.training for module in stage.model.modules())
    assert all(torch.equal(t, before[n]) for n, t in stage.model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in stage.model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in stage.model.modules())


class Dicts(Dataset):
    """Examples as dicts, of several lengths, as a tokenizer gives them."""

    def __init__(self, lengths):
        self.rows = [torch.randint(7, (n,), generator=g) for n in lengths]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"tokens": self.rows[i], "labels": int(self.rows[i].sum()) % 2, "name": f"row {i}"}


def pad(rows):
    return {
        "tokens": nn.utils.rnn.pad_sequence([r["tokens"] for r in rows], batch_first=True),
        "mask": nn.utils.rnn.pad_sequence([torch.ones(len(r["tokens"])) for r in rows], batch_first=True),
        "labels": torch.tensor([r["labels"] for r in rows]),
        "name": [r["name"] for r in rows],
    }


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 3), nn.Linear(3, 2)

    def forward(self, tokens, mask, labels, name):
        pooled = (self.embed(tokens) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return {"logits": self.head(torch.tanh(pooled)), "names": name}


def test_dict_batches_with_padding_and_structured_outputs():
    """What else stands in a batch makes no difference: padding is masked out."""
    torch.manual_seed(0)
    study = Study(
        "dicts",
        [
            Stage(
                "one",
                Pooled().double(),
                lambda o, b: cross_entropy(o["logits"], b["labels"], reduction="none"),
                Dicts([3, 5, 2, 6]),
                collate=pad,
                l2=0.1,
            )
        ],
        Dicts([4, 1, 2]),
    )
    whole, alone = (
        attribute(study, method=m, batch_size=b, progress=False).values for m, b in (("exact", 4), ("cg", 1))
    )
    torch.testing.assert_close(torch.tensor(whole), torch.tensor(alone), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            lambda o, b: loss(o, b).mean(),
            r"shape \(\), expected one value per example, shape \(9,\). Use reduction='none'",
        ),
        (lambda o, b: torch.stack([loss(o, b)] * 2, 1), r"shape \(9, 2\), expected one value per example"),
        (lambda o, b: 1.0, "gave a float"),
        (lambda o, b: torch.where(torch.arange(9) == 4, torch.nan, loss(o, b)), "loss of example 4 is nan"),
    ],
)
def test_losses_that_are_not_one_finite_number_per_example(bad, message):
    stage = Stage("bad", nn.Linear(3, 3).double(), bad, data(9, 3, 3, g), l2=0.1)
    with pytest.raises(LossError, match=message):
        attribute(Study("bad", [stage], stage.data), progress=False)


def test_half_precision_models_are_scored_in_float32():
    torch.manual_seed(0)
    model = nn.Linear(3, 3).double()
    examples = data(9, 3, 3, g)
    exact = attribute(Study("double", [Stage("one", model, loss, examples, l2=0.1)], examples), progress=False).values
    halves = TensorDataset(examples.tensors[0].bfloat16(), examples.tensors[1])
    half = Stage("one", copy.deepcopy(model).bfloat16(), loss, halves, l2=0.1)
    found = attribute(Study("half", [half], halves), progress=False).values
    assert found.dtype == exact.dtype
    assert abs(found - exact).max() < 0.05 * abs(exact).max()


def test_a_forward_that_calls_another_model_is_found_out():
    other = nn.Linear(3, 3).double()
    examples = data(9, 3, 3, g)
    stage = Stage("one", nn.Linear(3, 3).double(), loss, examples, forward=lambda model, batch: other(batch[0]), l2=0.1)
    report = attribute(Study("other", [stage], examples), progress=False).report
    assert any("one: no loss depends on the model's parameters" in note for note in report["notes"])


def test_data_that_the_model_cannot_take_is_named():
    stage = Stage("one", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g), l2=0.1)
    with pytest.raises(LossError, match="'one': its model or loss failed on the queries: RuntimeError: mat1 and mat2"):
        attribute(Study("wide", [stage], data(4, 5, 3, g)), progress=False)
    stage = Stage("one", nn.Linear(3, 3).double(), loss, [(torch.ones(3), None)], l2=0.1)
    with pytest.raises(LossError, match="'one': its model or loss failed on its training examples: TypeError"):
        attribute(Study("none", [stage], data(4, 3, 3, g)), progress=False)


class Steps(nn.Module):
    """Adds a function of a matrix that all examples share."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x, shared):
        return self.head(x + torch.tanh(shared).sum(0))


@pytest.mark.parametrize("batch_size", [4, 5, 9])
def test_a_shared_tensor_is_not_taken_for_one_row_an_example(batch_size):
    """Four rows: as many as the batch of four, or as the last batch, has examples."""
    shared = torch.randn(4, 3, generator=g, dtype=DEFAULT)
    stage = Stage(
        "shared", Steps().double(), loss, data(9, 3, 3, g), l2=0.1,
        forward=lambda model, batch: model(batch[0], batch[2]),
        collate=lambda rows: [torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows]), shared],
    )  # fmt: skip
    objective = objective_of(stage, batch_size=batch_size)
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.all)])
    alone = torch.cat(
        [rows for _, rows in example_gradients(objective_of(stage, batch_size=1), stage.data, objective.all)]
    )
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(ggn(objective), ggn(objective_of(stage, batch_size=1)))


def test_a_model_that_squeezes_a_batch_of_one_away():
    stage = Stage(
        "squeeze", nn.Linear(3, 1).double(),
        lambda o, b: nn.functional.binary_cross_entropy_with_logits(o, (b[1] % 2).double(), reduction="none"),
        data(9, 3, 3, g), l2=0.1, forward=lambda model, batch: model(batch[0]).squeeze(),
    )  # fmt: skip
    study = Study("squeeze", [stage], data(4, 3, 3, g))
    exact, cg = (attribute(study, method=method, progress=False) for method in ("exact", "cg"))
    torch.testing.assert_close(torch.tensor(exact.values), torch.tensor(cg.values), rtol=1e-4, atol=1e-7)


def test_a_model_that_is_random_in_evaluation_mode_is_refused():
    stage = Stage(
        "random", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g), l2=0.1,
        forward=lambda model, batch: nn.functional.dropout(model(batch[0]), 0.5),
    )  # fmt: skip
    with pytest.raises(LossError, match="the same batch gave two different losses"):
        attribute(Study("random", [stage], stage.data), progress=False)


def test_a_loss_that_differs_by_rounding_from_time_to_time_is_taken():
    draw = torch.Generator().manual_seed(0)
    stage = Stage(
        "rounding", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g), l2=0.1,
        forward=lambda model, batch: model(batch[0]) + 1e-15 * torch.randn(3, dtype=torch.float64, generator=draw),
    )  # fmt: skip
    with torch.no_grad():
        assert not torch.equal(*(stage.forward(stage.model, stage.data.tensors) for _ in range(2)))
    assert objective_of(stage).checked_losses(stage.data).isfinite().all()


def test_torchs_settings_are_as_before_while_gradients_are_handed_out():
    stage = Stage("one", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g), l2=0.1)
    objective = objective_of(stage, batch_size=4)
    rows = example_gradients(objective, stage.data, objective.all)
    next(rows)
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


class TimeFirst(nn.Module):
    """Outputs (T, B, C), as recurrent layers give them by default."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x.transpose(0, 1))


@pytest.mark.parametrize("batch_size", [5, 3])
def test_outputs_whose_examples_are_not_first(batch_size):
    """Not to be taken for examples first where a batch is as long as a sequence."""
    torch.manual_seed(0)
    examples = TensorDataset(torch.randn(10, 5, 4), torch.randint(3, (10,)))

    def mean_loss(outputs, batch):
        return cross_entropy(outputs.mean(0), batch[1], reduction="none")

    study = Study("one", [Stage("stage", TimeFirst(), mean_loss, examples, l2=0.02)], examples)
    whole, found = (
        attribute(study, method="exact", batch_size=size, progress=False).values for size in (10, batch_size)
    )
    np.testing.assert_allclose(found, whole, atol=1e-4 * abs(whole).max())


@pytest.mark.parametrize("method", ["identity", "exact", "cg"])
def test_parameters_of_two_precisions(method):
    models = [InTwoPrecisions(torch.float32), InTwoPrecisions(torch.float64)]
    models[1].load_state_dict(models[0].state_dict())
    examples = data(9, 3, 3, g)
    found, expected = (
        attribute(
            Study("one", [Stage("stage", model, loss, examples, l2=0.1)], examples), method=method, progress=False
        ).values
        for model in models
    )
    np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())


class Square(torch.autograd.Function):
    """In the older style, which `torch.func` does not take."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0]


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return Square.apply(self.inner(x))


@pytest.mark.parametrize("method", ["identity", "exact"])
def test_a_function_that_torch_func_does_not_take(method):
    torch.manual_seed(0)
    stage = Stage("stage", Squares().double(), loss, data(9, 3, 3, g), l2=0.1)
    found = attribute(Study("one", [stage], stage.data), method=method, damping=0.0, progress=False).values
    rows = torch.stack([flat_gradient(stage, [i]).detach() for i in range(9)])
    curvature = ggn(objective_of(stage)) + 0.1 * torch.eye(12) if method == "exact" else torch.eye(12)
    expected = rows @ torch.linalg.solve(curvature.double(), rows.T) / 9
    torch.testing.assert_close(torch.from_numpy(found).double(), expected, rtol=1e-4, atol=1e-6)


def test_torchs_random_numbers_are_left_alone(stage):
    before = torch.get_rng_state()
    attribute(Study("one", [stage], stage.data), method="identity", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
