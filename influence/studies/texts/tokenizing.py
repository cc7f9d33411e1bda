"""A tokenizer of whole words and signs; its vocabulary comes from the texts to pretrain on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from influence.errors import StudyError

PADDING, START, UNKNOWN = 0, 1, 2
"""Ids of the special tokens: padding, start of text, unknown word."""
FIRST_WORD = 3
"""Id of the most frequent word; the others follow by frequency."""


def fit_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of the most frequent words and signs: at most `vocabulary` of them, case ignored.

    Words and not parts of words, since people are to read which of them a score stems from. Han characters count as
    words. The same texts give the same tokenizer.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unknown>"))  # noqa: S106 - no password
    # Nothing is cleaned away: a text's characters are data, and tokens keep their places in it.
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["<padding>", "<start>", "<unknown>"]
    tokenizer.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    )
    return tokenizer


@dataclass(frozen=True)
class Tokens:
    """Texts as the model reads them.

    Attributes:
        ids: of each text's tokens, int64 (n,) each.
        places: `starts` and `ends` of each token in its text, in characters.
        cut: texts that are longer than the context.
        unknown: share of the tokens that the vocabulary lacks.
    """

    ids: list[Tensor]
    places: pd.DataFrame
    cut: int
    unknown: float


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], context: int, what: str) -> Tokens:
    """The first `context` tokens of every text.

    Args:
        tokenizer: of `fit_tokenizer`.
        texts: never empty ones.
        context: tokens of a text that are kept.
        what: the texts are, for errors.

    Raises:
        StudyError: a text has none: it is empty, or has nothing but space.
    """
    ids, starts, ends, cut = [], [], [], 0
    for number, found in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        if not found.ids:
            raise StudyError(
                f"{what}: text {number} ({texts[number]!r}) has no token; leave out empty texts, and those of nothing "
                "but space."
            )
        cut += len(found.ids) > context
        ids.append(torch.tensor(found.ids[:context]))
        starts.append(np.array([place[0] for place in found.offsets[:context]], np.int32))
        ends.append(np.array([place[1] for place in found.offsets[:context]], np.int32))
    every = torch.cat(ids)
    unknown = float((every == UNKNOWN).float().mean())
    return Tokens(ids, pd.DataFrame({"starts": starts, "ends": ends}), cut, unknown)


class TokenData(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Texts as examples (token ids, class), for `padded` to make batches of.

    Args:
        ids: of each text's tokens.
        classes: of each text, 0 where there are none.

    Attributes:
        lengths: tokens of each text, by which training puts texts of like length into a batch.
    """

    def __init__(self, ids: Sequence[Tensor], classes: Sequence[int]):
        self.ids, self.classes = ids, classes
        self.lengths = torch.tensor([len(each) for each in ids])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return self.ids[position], self.classes[position]


def padded(examples: Sequence[tuple[Tensor, int]]) -> list[Tensor]:
    """Token ids (B, 1 + longest), each text begun with START and filled up with PADDING; classes (B,)."""
    ids = torch.nn.utils.rnn.pad_sequence([each for each, _ in examples], batch_first=True, padding_value=PADDING)
    start = torch.full((len(ids), 1), START)
    return [torch.cat([start, ids], dim=1), torch.tensor([number for _, number in examples])]
