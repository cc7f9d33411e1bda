"""How a text study is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TextOptions:
    """How a text study is made.

    Attributes:
        vocabulary: words and signs that the model knows.
        context: tokens of a text that it reads.
        width, layers: of the model.
        l2: of pretraining.
        epochs: passes over the texts to pretrain on.
        fading: by what each further token weighs less in a text's mean; below 1 where texts say first what they are.
        queries: at most so many test texts, drawn by the seed; 0 for all.
        sentence_model: folder of a `SentenceModel`, which makes the run's embedding; default the model's own states.
        seed: of the start, the order of training and the draw.
    """

    vocabulary: int = 2500
    context: int = 48
    width: int = 64
    layers: int = 2
    l2: float = 0.0
    epochs: int = 5
    fading: float = 1.0
    queries: int = 0
    sentence_model: Path | None = None
    seed: int = 0
