"""A text as a new query: its tokens, and notes about words that the model does not know."""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer

from influence.errors import StudyError
from influence.studies.question import Input
from influence.studies.texts.tokenizing import UNKNOWN, tokenize

CHARACTERS_READ = 20_000
"""Characters of a text that are read."""
NAMED, LONGEST_NAMED = 8, 40
"""Number of unknown words that are named, and characters of each."""


def text(written: str, tokenizer: Tokenizer, context: int) -> Input:
    """The first `context` tokens of a text, and notes about words that the model does not know.

    Raises:
        StudyError: it is empty, or nothing but space.
    """
    whole = written[:CHARACTERS_READ]
    if not whole.strip():
        raise StudyError("There is no text. Write a sentence.")
    found = tokenize(tokenizer, [whole], context, "Your text")
    ids, end = found.ids[0], int(found.places["ends"].iloc[0][-1])
    notes = []
    if found.cut or len(whole) < len(written):
        notes.append(f"The text is longer than what the model reads: it was cut after {context} tokens.")
    if unknown := np.flatnonzero(ids == UNKNOWN).tolist():
        starts, ends = (found.places[name].iloc[0] for name in ("starts", "ends"))
        words = list(dict.fromkeys(whole[starts[at] : ends[at]] for at in unknown))
        named = ", ".join(f"“{word[:LONGEST_NAMED]}”" for word in words[:NAMED]) + (" …" if len(words) > NAMED else "")
        count = f"{len(unknown)} of {len(ids)} tokens are not in the model's vocabulary"
        notes.append(f"{count}; it reads each as “unknown”: {named}.")
    return Input((ids, 0), whole, end, tuple(notes))
