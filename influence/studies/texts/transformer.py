"""The text study's models with transformer layers, as most language models have them: trained to no minimum."""

from __future__ import annotations

import torch
from torch import Tensor

from influence.studies.language import (
    LanguageModel,
    TextClassifier,
    emphasis,
    language_loss,
    sentence,
    token_losses,
)
from influence.studies.texts.models import TextModels
from influence.studies.texts.options import TextOptions
from influence.studies.texts.tokenizing import padded

EPOCHS = 5
DAMPING = 1e-5
"""Replaces an l2 term: Adam would scale up its gradient for rare words, which have no other, and erase them."""


def transformer(options: TextOptions, counts: Tensor) -> TextModels:
    """The models of `options`; `counts` (vocabulary,) are of each token in the texts to pretrain on."""
    weights = emphasis(counts)

    def made(model: type[LanguageModel] | type[TextClassifier], *classes: int) -> LanguageModel | TextClassifier:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            found = model(len(counts), options.context, options.width, options.layers, *classes)
        found.body.fading, found.body.emphasis = options.fading, weights
        return found

    return TextModels(
        language_model=lambda: made(LanguageModel),
        classifier=lambda classes: made(TextClassifier, classes),
        collate=padded,
        language_loss=language_loss,
        token_losses=token_losses,
        sentence=sentence,
        l2=0.0 if options.l2 is None else options.l2,
        tuning_l2={"*": 2e-2},
        proximity=0.01,
        damping=DAMPING,
        epochs=EPOCHS if options.epochs is None else options.epochs,
        words=f"A causal language model of {options.layers} transformer layers",
        counted="tokens",
    )
