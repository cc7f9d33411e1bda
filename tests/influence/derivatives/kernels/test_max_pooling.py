"""Fast pooling: the same numbers as torch's, forward, backward and along a direction."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import jvp
from torch.nn import functional

from influence.derivatives.first.tape import Tape
from influence.derivatives.kernels.max_pooling import FastPooling, max_pool2d

g = torch.Generator().manual_seed(0)
WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (1, 2), "dilation": (2, 1)},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_torchs(window, dtype):
    pictures = torch.randn(5, 3, 11, 12, dtype=dtype, generator=g).relu().requires_grad_()  # relu: many are equal
    direction = torch.randn(pictures.shape, dtype=dtype, generator=g)
    expected, found = functional.max_pool2d(pictures, **window), max_pool2d(pictures, **window)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    side = torch.randn(found.shape, dtype=dtype, generator=g)
    one, other = (torch.autograd.grad(pooled, pictures, side)[0] for pooled in (found, expected))
    torch.testing.assert_close(one, other)
    with torch.no_grad():
        along, exactly = (
            jvp(lambda p, pool=pool: pool(p, **window), (pictures.detach(),), (direction,))[1]
            for pool in (max_pool2d, functional.max_pool2d)
        )
    torch.testing.assert_close(along, exactly, rtol=0, atol=0)


@pytest.mark.parametrize(
    "pictures", [torch.randn(3, 8, 8), torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)]
)
def test_others_are_left_to_torch(pictures):
    torch.testing.assert_close(max_pool2d(pictures, 2), functional.max_pool2d(pictures, 2), rtol=0, atol=0)
    values, places = max_pool2d(pictures, 2, return_indices=True)
    assert values.shape == places.shape


def test_modules_use_it_where_it_is_asked_for(monkeypatch):
    pools = []
    monkeypatch.setattr(
        "influence.derivatives.kernels.max_pooling.max_pool2d",
        lambda *given, **options: (pools.append(given[0].shape), functional.max_pool2d(*given, **options))[1],
    )
    model, pictures = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)), torch.randn(4, 1, 8, 8)
    model(pictures)
    assert not pools
    with FastPooling():
        model(pictures)
        torch.max_pool2d(pictures, 2)
    Tape(dict(model.named_parameters()), 4).forward(lambda: model(pictures))
    assert pools == [(4, 2, 6, 6), (4, 1, 8, 8), (4, 2, 6, 6)]
