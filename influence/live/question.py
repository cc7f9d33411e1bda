"""What is asked of a model, and what it says: all that a page needs before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from influence.studies.images.picture_files import UPLOAD_PIXELS, open_picture, thumbnail
from influence.studies.question import DRAWING, PICTURE, TEXT, Input

__all__ = ["DRAWING", "PICTURE", "TEXT", "UPLOAD_PIXELS", "Contrast", "Input", "Reading", "open_picture", "thumbnail"]


@dataclass(frozen=True)
class Contrast:
    """What is explained: the loss of class `of`, or (with `against`) that loss minus the loss of class `against`.

    A positive score means that the example helps the model to say `of`, or to prefer it to `against`.
    """

    of: str
    against: str | None = None


@dataclass(frozen=True)
class Reading:
    """What the finetuned model makes of one item: probabilities (classes,), and its place in the embedding (d,).

    The place is empty, (0,), where the run's embedding is not its own model's.
    """

    prediction: str
    probabilities: np.ndarray
    embedding: np.ndarray
