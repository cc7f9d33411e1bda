"""A small causal language model, and a classifier on top of it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm, linear, scaled_dot_product_attention

from influence.studies.texts.tokenizing import PADDING, START

HEADS = 4
SPREAD = 0.02
"""Standard deviation of the initial weights. With torch's default for embeddings, 1, the model learns far less."""
COMMON = 3e-3


class TransformerBlock(nn.Module):
    """One transformer layer with pre-normalisation: causal attention and a feed-forward layer, each with a residual."""

    def __init__(self, width: int):
        super().__init__()
        self.before_attention, self.before_wider = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wider, self.back = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, states: Tensor) -> Tensor:
        rows, length, width = states.shape
        parts = self.query_key_value(self.before_attention(states)).view(rows, length, 3, HEADS, width // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        # Padding stands at the end, where a causal model cannot see it: no other mask is needed.
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
        states = states + self.attended(mixed.reshape(rows, length, width))
        return states + self.back(gelu(self.wider(self.before_wider(states))))


class Body(nn.Module):
    """Token ids (B, L), L at most 1 + context, to states (B, L, width).

    Attributes:
        emphasis: how much a token weighs in `sentence`, a buffer (vocabulary,): all the same, unless it is set.
        fading: by what each further token weighs less there: not at all, unless it is set.
    """

    emphasis: Tensor
    fading: float = 1.0

    def __init__(self, vocabulary: int, context: int, width: int, layers: int):
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(1 + context, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("emphasis", torch.ones(vocabulary), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=SPREAD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.norm(self.blocks(self.words(tokens) + self.places(places)))


class LanguageModel(nn.Module):
    """Causal language model: token ids (B, 1 + L) -> logits (B, L, vocabulary) of the last L tokens.

    The output weights are those of the word embedding (tied).
    """

    def __init__(self, vocabulary: int, context: int, width: int, layers: int):
        super().__init__()
        self.body = Body(vocabulary, context, width, layers)

    def forward(self, tokens: Tensor) -> Tensor:
        return linear(self.body(tokens[:, :-1]), self.body.words.weight)


class TextClassifier(nn.Module):
    """Class logits (B, classes) of token ids (B, 1 + L): a linear layer on `sentence`."""

    def __init__(self, vocabulary: int, context: int, width: int, layers: int, classes: int):
        super().__init__()
        self.body = Body(vocabulary, context, width, layers)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(sentence(self, tokens))


def sentence(model: nn.Module, tokens: Tensor) -> Tensor:
    """Features of each text, (B, 2 width): the mean state of its tokens, and the mean of their word embeddings.

    The latter tells topics apart that the states, which are for the next token, have forgotten. Means are weighted by
    the body's `emphasis` and `fading`, and normalised, so that a long text counts no less than a short one.
    """
    body = cast(Body, model.get_submodule("body"))
    faded = body.fading ** torch.arange(tokens.shape[1], device=tokens.device)
    weights = (((tokens != PADDING) & (tokens != START)) * body.emphasis[tokens] * faded)[..., None]
    means = ((each * weights).sum(1) / weights.sum(1) for each in (body(tokens), body.words(tokens)))
    return torch.cat([layer_norm(mean, mean.shape[-1:]) for mean in means], dim=1)


def emphasis(counts: Tensor) -> Tensor:
    """Weights (vocabulary,) of tokens, 0 to 1, by frequency: rare words tell more about a text than "the".

    After Arora, Liang & Ma (2017), a / (a + share): a token that is `COMMON` of all weighs half.
    """
    return COMMON / (COMMON + counts / counts.sum())


def token_losses(logits: Tensor, batch: list[Tensor]) -> Tensor:
    """Each token's share (B, L) of its text's loss, in nats: of L tokens, 1/L of its own loss; 0 at padding."""
    target = batch[0][:, 1:]
    each = cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PADDING, reduction="none")
    return each.view_as(target) / (target != PADDING).sum(1, keepdim=True)


def language_loss(logits: Tensor, batch: list[Tensor]) -> Tensor:
    """Mean loss of each text's tokens, (B,), in nats."""
    return token_losses(logits, batch).sum(1)


def class_loss(logits: Tensor, batch: list[Tensor]) -> Tensor:
    """Cross-entropy of each text's class, (B,), in nats."""
    return cross_entropy(logits, batch[1], reduction="none")
