"""Names of the outputs of a head that nobody named: what the finetuned model itself takes each label for.

An adapter of peft, for one, is saved without the names of its outputs. Their order decides every loss,
so it is not guessed: the model was trained on these very texts and knows most of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from influence.errors import StudyError, listed
from influence.studies.checkpoints.checkpoint import NAMELESS
from influence.studies.checkpoints.texts.labels import label_text, plain_text
from influence.studies.checkpoints.texts.model import TextModel
from influence.studies.checkpoints.texts.objectives import CLASSIFICATION, forward_of
from influence.studies.checkpoints.texts.rows import Item

TEXTS, AT_ONCE = 256, 16
"""Texts, evenly spaced, that the model is asked about, and so many at a time."""
KNOWN = 0.5
"""Share of what the most frequent label gets wrong that a model which knows the labels gets right, at least."""


def names_of_outputs(model: TextModel, items: Sequence[Item]) -> tuple[list[str], list[str]]:
    """The names of a nameless head's outputs, in order, and a note; none where there is nothing to name.

    Args:
        model: a classifier.
        items: the texts that it was trained on, with the names of their classes as labels.

    Raises:
        StudyError: there are more classes than outputs, or the model does not tell them apart.
    """
    if model.head is None or model.head.kind != CLASSIFICATION or not model.head.is_nameless:
        return [], []
    labels = [label_text(plain_text(item.label)) for item in items]
    outputs, names = len(model.head.names), sorted(set(labels))
    if all(name.isdigit() or NAMELESS.fullmatch(name) for name in names):
        return [], []
    if len(names) > outputs:
        raise StudyError(
            f"{items[0].place.rpartition(',')[0] or 'The file to finetune on'}: there are {len(names)} labels "
            f"({listed(names)}), but the model's head has {outputs} outputs. Give the texts that it was trained on."
        )
    rows = np.linspace(0, len(items) - 1, min(TEXTS, len(items))).astype(int)
    told = _told(model, [items[row] for row in rows])
    counts = np.zeros((len(names), outputs), int)
    np.add.at(counts, ([names.index(labels[row]) for row in rows], told), 1)
    chosen = linear_sum_assignment(counts, maximize=True)
    right, most = int(counts[chosen].sum()), int(counts.sum(1).max())
    if right < most + KNOWN * (len(rows) - most):
        raise StudyError(
            f"The outputs of the model's head have no names, and which of {listed(names)} each of them is cannot be "
            f"told from what the model says: at best {right} of {len(rows)} texts would be right. Give their names "
            f"(id2label in the checkpoint's config.json), or numbers from 0 to {outputs - 1} as labels."
        )
    found = list(model.head.names)
    for name, output in zip(chosen[0], chosen[1], strict=True):
        found[output] = names[name]
    pairs = [f"{output} is {name!r}" for output, name in enumerate(found)]
    return found, [
        f"The outputs of the model's head have no names. By what it says of the texts that it was finetuned on, "
        f"{listed(pairs, ' and ')}: so {right} of {len(rows)} are right."
    ]


def _told(model: TextModel, items: Sequence[Item]) -> list[int]:
    """The output that the model takes each text for."""
    texts = model.preparation.examples([replace(item, label="0") for item in items], "the texts to finetune on")
    forward, told = forward_of(model.model, model.objective), []
    with torch.no_grad():
        for start in range(0, len(texts), AT_ONCE):
            batch = model.padding([texts[i] for i in range(start, min(start + AT_ONCE, len(texts)))])
            told += forward(model.model, batch).argmax(1).tolist()
    return told
