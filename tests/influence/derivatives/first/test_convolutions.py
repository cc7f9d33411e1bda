"""Convolutions of every kind: per-example gradients against those of each example alone."""

from __future__ import annotations

import pytest
from alone import N, after, covered, noise, stage_of
from torch import nn

CONVOLUTIONS = {
    "plain": lambda: (nn.Conv2d(2, 3, 3), (2, 6, 6)),
    "no bias": lambda: (nn.Conv2d(2, 3, 3, bias=False), (2, 6, 6)),
    "pointwise": lambda: (nn.Conv2d(2, 3, 1), (2, 4, 4)),
    "strided, dilated, padded": lambda: (
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(2, 1)),
        (2, 7, 6),
    ),
    "grouped": lambda: (nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 5, 5)),
    "depthwise": lambda: (nn.Conv2d(3, 6, 3, groups=3), (3, 5, 5)),
    "same": lambda: (nn.Conv2d(2, 3, 4, padding="same", dilation=(1, 2)), (2, 6, 7)),
    "valid": lambda: (nn.Conv2d(2, 3, 3, padding="valid"), (2, 6, 7)),
    "reflect": lambda: (nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"), (2, 5, 6)),
    "replicate": lambda: (nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"), (2, 5, 6)),
    "circular": lambda: (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 5, 6)),
    "same, circular": lambda: (nn.Conv2d(2, 3, 4, padding="same", padding_mode="circular"), (2, 5, 6)),
    "one dimension": lambda: (nn.Conv1d(2, 3, 3, stride=2, padding=2, dilation=2), (2, 9)),
    "one dimension, grouped, same": lambda: (nn.Conv1d(4, 4, 4, groups=2, padding="same"), (4, 9)),
    "three dimensions": lambda: (
        nn.Conv3d(2, 4, (2, 3, 2), stride=(1, 2, 1), padding=(0, 1, 1), groups=2),
        (2, 3, 5, 4),
    ),
    "three dimensions, same": lambda: (nn.Conv3d(1, 2, (2, 3, 4), padding="same"), (1, 3, 4, 4)),
    "transposed": lambda: (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 4, 3)),
    "transposed, grouped, dilated": lambda: (
        nn.ConvTranspose2d(4, 6, (2, 3), stride=(3, 1), dilation=(1, 2), groups=2, output_padding=(2, 0)),
        (4, 3, 4),
    ),
    "transposed, output padding of a dilated kernel": lambda: (
        nn.ConvTranspose1d(2, 3, 2, stride=1, dilation=3, output_padding=2),
        (2, 5),
    ),
    "transposed, one dimension": lambda: (nn.ConvTranspose1d(2, 3, 4, stride=3, padding=2, output_padding=2), (2, 5)),
    "transposed, three dimensions": lambda: (
        nn.ConvTranspose3d(2, 2, 2, stride=2, padding=1, output_padding=1),
        (2, 3, 3, 3),
    ),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions(kind):
    layer, shape = CONVOLUTIONS[kind]()
    inputs = noise(N, *shape)
    covered(stage_of(after(layer, layer(inputs[:1].float()).numel()), inputs))
