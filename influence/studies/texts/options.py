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
        width: entries of a text's state: so many common words are predicted from the words beside them.
        layers: of a transformer, and `width` is its own; 0: a model of word pairs, which is trained to its minimum.
        l2: of pretraining; None: as fits the model.
        epochs: passes over the texts to pretrain on, by mini-batches; 0: to a minimum; None: as fits the model.
        fading: by what each further token weighs less in a text's mean; below 1 where texts say first what they are.
        queries: at most so many test texts, drawn by the seed; 0 for all.
        sentence_model: folder of a `SentenceModel`, which makes the run's embedding; default the model's own states.
        seed: of the start, the order of training and the draw.
    """

    vocabulary: int = 3000
    context: int = 48
    width: int = 200
    layers: int = 0
    l2: float | None = None
    epochs: int | None = None
    fading: float = 1.0
    queries: int = 0
    sentence_model: Path | None = None
    seed: int = 0
