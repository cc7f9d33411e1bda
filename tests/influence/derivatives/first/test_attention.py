"""Attention and models made of it: per-example gradients against those of each example alone."""

from __future__ import annotations

import pytest
import torch
from alone import N, check, covered, noise, stage_of, words
from torch import nn
from torch.nn import functional


class Attending(nn.Module):
    def __init__(self, batch_first=True, cross=False, masked=False, **options):
        super().__init__()
        self.first, self.cross, self.masked = batch_first, cross, masked
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first, **options)
        self.key, self.value = (nn.Linear(4, options.get(k, 4)) for k in ("kdim", "vdim"))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        mask = x[:, :, 0] > 1 if self.masked else None
        x = x if self.first else x.transpose(0, 1)
        key = torch.tanh(self.key(x)) if self.cross else x
        value = torch.tanh(self.value(x)) if self.cross else key
        x = self.attention(x, key, value, key_padding_mask=mask, need_weights=False)[0]
        return self.head(torch.tanh(x).mean(1 if self.first else 0))


@pytest.mark.parametrize(
    ("options", "uncovered"),
    [
        ({}, set()),
        ({"batch_first": False}, set()),
        ({"cross": True, "bias": False}, set()),
        ({"cross": True, "batch_first": False, "masked": True}, set()),
        ({"cross": True, "kdim": 5, "vdim": 3, "bias": False}, set()),
        ({"cross": True, "kdim": 5, "vdim": 3}, None),
        ({"add_bias_kv": True, "add_zero_attn": True}, None),
        ({"masked": True}, set()),
    ],
)
@pytest.mark.parametrize("length", [3, 4])
def test_attention(options, uncovered, length):
    torch.manual_seed(0)
    found = check(stage_of(Attending(**options), noise(N, length, 4)))
    assert uncovered is None or found.remarks.without_rule == uncovered


class Decoder(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.read, self.write = (
            nn.TransformerEncoderLayer(4, 2, 6, **options),
            nn.TransformerDecoderLayer(4, 2, 6, **options),
        )
        self.head = nn.Linear(4, 3)
        self.dim = 1 if options.get("batch_first") else 0

    def forward(self, x):
        x = self.embed(x if self.dim else x.T)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[self.dim], dtype=x.dtype)
        return self.head(self.write(x, self.read(x, src_mask=mask), tgt_mask=mask).mean(self.dim))


@pytest.mark.parametrize(
    "options",
    [{"batch_first": True, "activation": "gelu"}, {"batch_first": True, "norm_first": True}, {"bias": False}, {}],
)
def test_transformer_layers(options):
    torch.manual_seed(0)
    covered(stage_of(Decoder(**options), words(4)))


class Perceiving(nn.Module):
    """Patches by a convolution, a class token, positions, gated blocks: a vision transformer."""

    def __init__(self):
        super().__init__()
        self.patches, self.token, self.places = (
            nn.Conv2d(1, 4, 2, stride=2),
            nn.Parameter(torch.zeros(1, 1, 4)),
            nn.Parameter(torch.zeros(1, 5, 4)),
        )
        self.norm, self.qkv, self.out, self.gate = (
            nn.LayerNorm(4),
            nn.Linear(4, 12),
            nn.Linear(4, 4),
            nn.Parameter(torch.ones(4)),
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        x = x + self.gate * self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head(x[:, 0])


def test_a_vision_transformer():
    torch.manual_seed(0)
    covered(stage_of(Perceiving(), noise(N, 1, 4, 4)))


class Writing(nn.Module):
    """Tied to its embedding, with a loss over tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.places, self.mix = nn.Embedding(7, 4), nn.Embedding(8, 4), nn.Linear(4, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(torch.tanh(self.mix(self.embed(x) + self.places(torch.arange(x.shape[1])))))


def over_tokens(outputs, batch):
    x = batch[0]
    each = functional.cross_entropy(outputs[:, :-1].flatten(0, 1), x[:, 1:].flatten(), reduction="none")
    return each.view(len(x), -1).mean(1)


def test_a_tied_language_model_with_a_loss_over_tokens():
    torch.manual_seed(0)
    covered(stage_of(Writing(), words(), loss=over_tokens))
    covered(stage_of(Writing(), words(4), loss=over_tokens))
