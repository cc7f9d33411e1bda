"""Fast convolution of data in double precision: the same numbers as torch's, with both derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from influence.derivatives.kernels import convolution
from influence.derivatives.kernels.convolution import FastConvolution, conv2d

g = torch.Generator().manual_seed(0)
WINDOWS = [
    {},
    {"stride": 2},
    {"stride": (1, 3), "padding": (2, 0)},
    {"padding": 1},
]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=g)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_it_is_torchs_and_so_are_first_and_second_derivatives(window, bias, channels_last, monkeypatch):
    pictures = random(5, 3, 11, 12)
    if channels_last:
        pictures = pictures.contiguous(memory_format=torch.channels_last)
    weights = [random(4, 3, 2, 3).requires_grad_(), *([random(4).requires_grad_()] if bias else [])]
    sides = [torch.randn_like(weight) for weight in weights]

    def everything(convolve):
        found = convolve(pictures, *weights, **window)
        slopes = torch.autograd.grad(found.exp().sum(), weights, create_graph=True)
        along = sum((slope * side).sum() for slope, side in zip(slopes, sides, strict=True))
        return found, *slopes, *torch.autograd.grad(along, weights)

    expected = everything(functional.conv2d)
    monkeypatch.setattr(functional, "conv2d", None)  # else all could be left to torch
    torch.testing.assert_close(everything(conv2d), expected)


@pytest.mark.parametrize(
    ("pictures", "window"),
    [
        (random(2, 4, 8, 8).float(), {}),
        (random(2, 4, 8, 8).requires_grad_(), {}),
        (random(4, 8, 8), {}),
        (random(2, 4, 8, 8), {"dilation": 2}),
        (random(2, 4, 8, 8), {"padding": "same"}),
        (random(2, 8, 8, 8), {"groups": 2}),
    ],
)
def test_others_are_left_to_torch(pictures, window):
    weight = torch.randn(6, 4, 3, 3, dtype=pictures.dtype, generator=g)
    expected = functional.conv2d(pictures, weight, **window)
    torch.testing.assert_close(conv2d(pictures, weight, **window), expected, rtol=0, atol=0)


def test_patches_that_are_too_large_are_not_made(monkeypatch):
    calls = []
    monkeypatch.setattr(
        functional, "conv2d", lambda *given, torchs=functional.conv2d: (calls.append(given), torchs(*given))[1]
    )
    pictures, weight = random(2, 1, 8, 8), random(1, 1, 3, 3)
    conv2d(pictures, weight)
    assert not calls
    monkeypatch.setattr(convolution, "LARGEST", 2 * 36 * 9 * 8 - 1)
    conv2d(pictures, weight)
    assert len(calls) == 1


def test_modules_use_it_where_it_is_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "influence.derivatives.kernels.convolution.conv2d",
        lambda *given, **options: (seen.append(given[0].shape), functional.conv2d(*given, **options))[1],
    )
    model, pictures = nn.Conv2d(1, 2, 3), torch.randn(4, 1, 8, 8)
    model(pictures)
    assert not seen
    with FastConvolution():
        model(pictures)
        torch.conv2d(pictures, model.weight)
    assert seen == [(4, 1, 8, 8)] * 2
