"""Flags that change a batch's gradient and not its loss, and views that want even places: scores are the loss's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute


def cross_entropy(outputs, batch):
    return functional.cross_entropy(outputs, batch[1], reduction="none")


def scores(model, data, method, **options):
    if method != "identity":
        options = {"damping": 0.1} | options
    return attribute(
        Study("one", [Stage("one", model, cross_entropy, data, l2=0.1)], data), method=method, progress=False, **options
    )


class Words(nn.Module):
    """A table, looked up by `look`, and a head."""

    def __init__(self, look):
        super().__init__()
        self.table, self.head, self.look = nn.Parameter(torch.randn(7, 4)), nn.Linear(4, 3), look

    def forward(self, words):
        return self.head(torch.tanh(self.look(words, self.table)))


FLAGS = {"sparse": True, "scale_grad_by_freq": True}
LOOKS = {
    "functional": lambda words, table, **flags: functional.embedding(words, table, **flags).mean(1),
    "torch": lambda words, table, **flags: torch.embedding(table, words, **flags).mean(1),
    "bags": lambda words, table, **flags: functional.embedding_bag(words, table, **flags),
}


@pytest.mark.parametrize("method", ["identity", "exact", "cg", "ekfac"])
@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("look", LOOKS)
def test_flags_of_tables_make_no_difference(look, flag, method):
    draw = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randint(0, 7, (14, 5), generator=draw), torch.arange(14) % 3)
    plain, flagged = Words(LOOKS[look]), Words(lambda *given: LOOKS[look](*given, **{flag: True}))
    flagged.load_state_dict(plain.state_dict())
    expected, found = (scores(model, data, method) for model in (plain, flagged))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-4, atol=1e-6)
    assert len(found.report["warnings"]) == len(expected.report["warnings"])  # that it stands at no minimum
    assert not found.report["without_rule"]


def test_flags_of_modules_make_no_difference():
    draw = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randint(0, 7, (14, 5), generator=draw), torch.arange(14) % 3)
    found = []
    for flags in ({}, {"sparse": True}, {"scale_grad_by_freq": True}):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(7, 4, **flags), nn.Flatten(), nn.Linear(20, 3))
        found.append(scores(model, data, "exact").values)
        assert all(getattr(model[0], name) for name in flags)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


class Spectral(nn.Module):
    """Multiplies frequencies by a complex weight, which begins behind an odd number of parameters."""

    def __init__(self, together, shape):
        super().__init__()
        self.shift, self.weight, self.head = (
            nn.Parameter(torch.ones(3)),
            nn.Parameter(torch.randn(shape)),
            nn.Linear(6, 3),
        )
        self.together = together

    def forward(self, x):
        product = torch.fft.rfft(x) @ self.together(self.weight.view(4, 4, 2))
        return self.head(torch.tanh(torch.fft.irfft(product, n=6))) + self.shift


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 8)])
@pytest.mark.parametrize("method", ["identity", "exact", "cg", "ekfac"])
def test_complex_weights_at_odd_places(method, shape):
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(14, 6).double(), torch.arange(14) % 3)
    viewed, built = (
        Spectral(torch.view_as_complex, shape),
        Spectral(lambda w: torch.complex(w[..., 0], w[..., 1]), shape),
    )
    built.load_state_dict(viewed.state_dict())
    found, expected = (scores(model.double(), data, method) for model in (viewed, built))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-9)


class Pictures(nn.Module):
    """A norm of channels, which then become the last dimension, as between convolutions and attention."""

    def __init__(self, norm):
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(1, 4, 3, padding=1), norm, nn.Linear(4, 3)

    def forward(self, x):
        places = torch.tanh(self.head(self.norm(self.first(x)).flatten(2).transpose(1, 2)))
        return (places * torch.linspace(0, 1, places.shape[1], dtype=x.dtype)[:, None]).sum(1)


class Formula(nn.Module):
    """The norm's own formula, with its parameters and its mean and variance."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias, self.norm = nn.Parameter(norm.weight.data), nn.Parameter(norm.bias.data), [norm]

    def forward(self, x):
        norm, (mean, variance) = self.norm[0], (x.mean((2, 3)), x.var((2, 3), unbiased=False))
        if isinstance(norm, nn.BatchNorm2d):
            mean, variance = norm.running_mean[None], norm.running_var[None]
        normal = (x - mean[..., None, None]) / (variance[..., None, None] + norm.eps).sqrt()
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


@pytest.mark.parametrize("batch_size", [1, 4])  # the last batch has one example
@pytest.mark.parametrize("method", ["identity", "cg"])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_norms_of_one_picture_whose_channels_move(kind, method, batch_size):
    torch.manual_seed(0)
    norm = kind(4, affine=True).double()
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    if kind is nn.BatchNorm2d:
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    model = Pictures(norm).double()
    plain = Pictures(Formula(norm)).double()
    plain.load_state_dict(model.state_dict(), strict=False)
    data = TensorDataset(torch.randn(9, 1, 4, 4).double(), torch.arange(9) % 3)
    found, expected = (scores(m, data, method, batch_size=b) for m, b in ((model, batch_size), (plain, 9)))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-4, atol=1e-7)
    assert not found.report["without_rule"]


class Branches(nn.Module):
    """One of two layers, by the model's own number: by `torch.cond`, or in Python."""

    def __init__(self, compiled):
        super().__init__()
        self.first, self.second, self.compiled = nn.Linear(4, 3), nn.Linear(4, 3), compiled
        self.register_buffer("chosen", torch.tensor(1.0))

    def forward(self, x):
        if self.compiled:
            return torch.cond(self.chosen > 0, lambda v: self.first(v), lambda v: self.second(v), (x,))
        return self.first(x)


@pytest.mark.parametrize("queries", [1, 6])
def test_layers_within_a_branch_of_torch_have_their_share_of_the_scores(queries):
    data = TensorDataset(torch.randn(6, 4), torch.randint(3, (6,)))
    asked, found = TensorDataset(*(tensor[:queries] for tensor in data.tensors)), []
    models = Branches(True), Branches(False)
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        study = Study("one", [Stage("one", model, cross_entropy, data, l2=0.1)], asked)
        found.append(attribute(study, method="exact", progress=False).values)
    assert found[1].any()
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)
