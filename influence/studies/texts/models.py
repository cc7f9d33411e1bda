"""`TextModels`: the two models of a text study, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class TextModels:
    """The language model and the classifier of a text study. The classifier inherits the part that is called `body`.

    Attributes:
        language_model: makes the model that is pretrained.
        classifier: number of classes -> the model that is finetuned.
        collate: examples (token ids, class) -> the batch of texts to pretrain on.
        language_loss: (outputs, batch) -> (B,), nats, of the language model.
        token_losses: (outputs, batch) -> (B, L), each token's share of it.
        sentence: (model, token ids (B, 1 + L)) -> (B, d), the features of each text.
        l2: of pretraining.
        tuning_l2: parameter -> l2 of finetuning.
        proximity: of an updated body to the pretrained one.
        damping: of the solves of both stages.
        epochs: passes over the texts to pretrain on, by mini-batches; 0 trains to a minimum.
        words, counted: what the language model is, and over what of a text its loss is a mean, for people.
    """

    language_model: Callable[[], nn.Module]
    classifier: Callable[[int], nn.Module]
    collate: Callable[[Sequence[tuple[Tensor, int]]], list[Tensor]]
    language_loss: Callable[[Tensor, Any], Tensor]
    token_losses: Callable[[Tensor, Any], Tensor]
    sentence: Callable[[nn.Module, Tensor], Tensor]
    l2: float
    tuning_l2: Mapping[str, float]
    proximity: float
    damping: float
    epochs: int
    words: str
    counted: str
