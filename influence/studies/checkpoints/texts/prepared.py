"""Texts as a checkpoint's own tokenizer prepares them for its objective: token ids, labels, places."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from influence.errors import StudyError
from influence.studies.checkpoints.texts.labels import Head
from influence.studies.checkpoints.texts.objectives import CAUSAL, IGNORED, MASKED, TAGS, TextObjective, plain
from influence.studies.checkpoints.texts.rows import Item
from influence.studies.text_files.labels import label_text, plain_text

MASKED_SHARE, HIDDEN_SHARE, OTHER_SHARE = 0.15, 0.8, 0.1
"""Of a text's tokens, those to be predicted; of these, those that are hidden, and those shown as another token."""
MANY = 2**20
"""A tokenizer says a larger number where it knows no longest text."""


class TextExamples(torch.utils.data.Dataset[dict[str, Any]]):
    """Prepared texts: examples {"input_ids": (L,), "labels": ..., "places": (L,)}, for `Padding` to make batches of.

    Attributes:
        table: id, label, text, and title, source and prompt_end where there are any.
        tokens: `starts` and `ends` of the tokens in the texts, in characters; None: the tokenizer does not tell.
        notes: sentences for people.
        paired: whether texts are pairs.
        lengths: tokens of each text, by which training puts texts of like length into a batch.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        table: pd.DataFrame,
        tokens: pd.DataFrame | None,
        notes: list[str],
        paired: bool = False,
    ):
        self.rows, self.table, self.tokens, self.notes, self.paired = rows, table, tokens, notes, paired
        self.lengths = torch.tensor([len(row["input_ids"]) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.rows[position]

    def ordered(self) -> TextExamples:
        """Shortest first, so that the texts of a batch are of like length; ids still say which text is which."""
        return self.chosen(np.argsort(self.lengths.numpy(), kind="stable").tolist())

    def chosen(self, rows: list[int]) -> TextExamples:
        """Some of the texts, in this order."""
        tokens = None if self.tokens is None else self.tokens.iloc[rows].reset_index(drop=True)
        table = self.table.iloc[rows].reset_index(drop=True)
        return TextExamples([self.rows[row] for row in rows], table, tokens, self.notes, self.paired)


@dataclass(frozen=True)
class Padding:
    """Makes a batch of examples: each filled up to the longest with what is neither attended to nor predicted.

    Args:
        token: id of what texts are filled up with.
        left: whether they are filled up on the left.
    """

    token: int
    left: bool = False

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        ids = [torch.as_tensor(each["input_ids"]) for each in examples]
        batch = {
            "input_ids": self._filled(ids, self.token),
            "attention_mask": self._filled([torch.ones_like(each) for each in ids], 0),
        }
        for key in examples[0].keys() - batch.keys():
            values = [torch.as_tensor(each[key]) for each in examples]
            of_tokens = key != "labels" or all(v.dim() and not v.is_floating_point() for v in values)
            fill = IGNORED if key == "labels" else 0
            batch[key] = self._filled(values, fill) if of_tokens else torch.stack(values)
        return batch

    def _filled(self, rows: list[Tensor], value: int) -> Tensor:
        side = "left" if self.left else "right"
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value, padding_side=side)


@dataclass(frozen=True)
class Preparation:
    """How texts become examples of one model.

    Args:
        tokenizer: the model's, of `transformers`.
        objective: its own.
        head: its outputs; None for language models.
        context: tokens that it reads at most; None: any number.
        cut: whether it is stated that longer texts are cut.
        seed: of the masks.
    """

    tokenizer: Any
    objective: TextObjective
    head: Head | None = None
    context: int | None = None
    cut: bool = False
    seed: int = 0

    def examples(self, items: Sequence[Item], what: str) -> TextExamples:
        """The items as examples.

        Args:
            items: at least one.
            what: they are, for messages.

        Raises:
            StudyError: a label does not fit the head, a text has no token, or all are longer than the context.
        """
        texts = [_Text(item, self.objective.kind == TAGS) for item in items]
        encoded = self._encoded(texts)
        rows, kept, cut = [], [], 0
        for text, encoding in zip(texts, encoded, strict=True):
            cut += bool(encoding.overflowing)
            read = _Read(text, encoding, self.tokenizer.bos_token_id)
            row = self._row(text, read)
            if row is not None:
                rows.append(row)
                kept.append((text, read))
        notes = self._notes(what, len(texts), len(kept), cut)
        tables = [text.shown(self._label(text, row)) for (text, _), row in zip(kept, rows, strict=True)]
        places = pd.DataFrame({"starts": [r.starts for _, r in kept], "ends": [r.ends for _, r in kept]})
        return TextExamples(rows, _table(tables), places, notes, any(item.pair for item in items))

    def _encoded(self, texts: Sequence[_Text]) -> list[Any]:
        given: dict[str, Any] = {"truncation": self.context is not None, "max_length": self.context, "verbose": False}
        if any(text.pair for text in texts):
            given["text_pair"] = [text.pair for text in texts]
        split = any(text.words for text in texts)
        firsts = [text.words or text.first for text in texts]
        if not self.tokenizer.is_fast:
            raise StudyError("The tokenizer is a slow one, which does not tell where tokens lie; save its fast form.")
        try:
            found = self.tokenizer(firsts, is_split_into_words=split, **given)
        except (AssertionError, ValueError, TypeError, IndexError) as error:
            raise StudyError(f"The tokenizer cannot prepare the texts: {error}.") from error
        return list(found.encodings)

    def _row(self, text: _Text, read: _Read) -> dict[str, Any] | None:
        """The example; None where nothing of it is predicted, because its prompt fills the context."""
        row: dict[str, Any] = {"input_ids": torch.tensor(read.ids)}
        if any(read.types):
            row["token_type_ids"] = torch.tensor(read.types)
        kind = self.objective.kind
        if kind == CAUSAL:
            row["labels"] = torch.tensor([i if on else IGNORED for i, on in zip(read.ids, read.said, strict=True)])
            if text.item.prompt and not any(read.said[1:]):
                return None
        elif kind == MASKED:
            row |= self._masked(row["input_ids"], read)
        elif kind == TAGS:
            row["labels"] = torch.tensor(self._tags(text, read))
        elif self.head is not None:
            target = self.head.target(text.item.label, text.item.place)
            row["labels"] = torch.tensor(target) if isinstance(target, list) else target
        if self.objective.of_tokens:
            row["places"] = torch.tensor(read.places)
        return row

    def _masked(self, ids: Tensor, read: _Read) -> dict[str, Tensor]:
        """Masks that are drawn once: the same text has the same ones, whatever stands beside it."""
        mask = self.tokenizer.mask_token_id
        if mask is None:
            raise StudyError("The tokenizer has no mask token, so a masked language model cannot be asked.")
        digest = hashlib.sha256(ids.numpy().tobytes() + self.seed.to_bytes(8, "little")).digest()
        random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        places = np.flatnonzero(read.shown)
        chosen = np.sort(random.permutation(places)[: max(1, round(MASKED_SHARE * len(places)))])
        labels, hidden = torch.full_like(ids, IGNORED), ids.clone()
        labels[chosen] = ids[chosen]
        for place, draw in zip(chosen.tolist(), random.random(len(chosen)), strict=True):
            if draw < HIDDEN_SHARE:
                hidden[place] = mask
            elif draw < HIDDEN_SHARE + OTHER_SHARE:
                hidden[place] = int(random.integers(len(self.tokenizer)))
        return {"input_ids": hidden, "labels": labels}

    def _tags(self, text: _Text, read: _Read) -> list[int]:
        """Of each word's first token its class; the others cost nothing, as it is usual."""
        assert self.head is not None
        tags = self.head.tags(text.item.label, len(text.words), text.item.place)
        found, last = [], None
        for word in read.words:
            found.append(IGNORED if word is None or word == last else tags[word])
            last = word
        return found

    def _label(self, text: _Text, row: dict[str, Any]) -> str:
        if self.objective.kind == TAGS:
            return ""
        if self.head is None:
            return label_text(plain_text(text.item.label)) if isinstance(text.item.label, str | int | float) else ""
        target = row["labels"]
        return self.head.shown(target.tolist() if isinstance(target, Tensor) else target)

    def _notes(self, what: str, count: int, kept: int, cut: int) -> list[str]:
        if not kept:
            raise StudyError(
                f"{what}: every prompt fills the model's context of {self.context} tokens, so that nothing of a "
                "completion is left to predict. Give shorter prompts."
            )
        if cut == count and not self.cut:
            raise StudyError(
                f"{what}: every text is longer than the model's context of {self.context} tokens; most likely they "
                "were split into pieces for training. Split them in the same way, or say --context "
                f"{self.context} if they were cut there."
            )
        notes = []
        if cut:
            notes.append(
                f"{cut:,} of {count:,} texts of {what} are longer than the model's context and were cut after "
                f"{self.context} tokens."
            )
        if kept < count:
            notes.append(
                f"{count - kept:,} texts of {what} were left out: their prompt fills the model's context of "
                f"{self.context} tokens."
            )
        return notes


class _Text:
    """An item as it is shown and tokenized."""

    def __init__(self, item: Item, of_words: bool):
        self.item = item
        self.words = (item.text.split() if isinstance(item.text, str) else list(item.text)) if of_words else []
        whole = item.text if isinstance(item.text, str) and not of_words else " ".join(self.words or item.text)
        self.first, self.pair = item.prompt + whole, item.pair
        self.whole = f"{self.first}\n{self.pair}" if self.pair else self.first
        self.prompt_end = len(item.prompt)
        self.word_starts = np.cumsum([0, *(len(word) + 1 for word in self.words)]).tolist()

    def shown(self, label: str) -> dict[str, Any]:
        return {
            "id": self.item.row,
            "label": label,
            "text": self.whole,
            "title": self.item.title,
            "source": self.item.source,
            "prompt_end": self.prompt_end,
        }


@dataclass
class _Read:
    """A text's tokens.

    Attributes:
        ids, types, words: of every token; the last is None where it belongs to no word.
        shown: whether it has characters of the text.
        said: whether a language model is to predict it: no token of a prompt.
        places: which of the shown tokens it is, or counts with.
        starts, ends: of the shown tokens, in characters.
    """

    text: _Text
    encoding: Any
    begin: int | None
    ids: list[int] = field(init=False)

    def __post_init__(self) -> None:
        found, text = self.encoding, self.text
        # A text that already holds the token that begins texts has it once, not twice.
        self.twice = self.begin is not None and found.ids[:2] == [self.begin, self.begin]
        part = slice(int(self.twice), None)
        self.ids, self.types, self.words = found.ids[part], found.type_ids[part], found.word_ids[part]
        special, of = found.special_tokens_mask[part], found.sequence_ids[part]
        spans = [self._span(*each) for each in zip(found.offsets[part], of, self.words, strict=True)]
        self.shown = [not sign and end > start for sign, (start, end) in zip(special, spans, strict=True)]
        if not any(self.shown):
            raise StudyError(f"{text.item.place}: the text {text.whole[:60]!r} has no token.")
        prompt = [on and end <= text.prompt_end for on, (_, end) in zip(self.shown, spans, strict=True)]
        begun = max((place for place, asked in enumerate(prompt) if asked), default=-1)
        self.said = [place > begun for place in range(len(spans))]
        # A token without characters counts with the one before, but none of the completion with one of the prompt.
        after = min(sum(prompt), sum(self.shown) - 1)
        found_at = np.maximum(np.cumsum(self.shown) - 1, 0)
        self.places = np.where(self.said, np.maximum(found_at, after), found_at).tolist()
        kept = [span for span, on in zip(spans, self.shown, strict=True) if on]
        self.starts, self.ends = (np.array(side, np.int32) for side in zip(*kept, strict=True))

    def _span(self, offsets: tuple[int, int], sequence: int | None, word: int | None) -> tuple[int, int]:
        """(start, end) of a token in the text that is shown."""
        text, (start, end) = self.text, offsets
        if text.words:
            base = 0 if word is None else text.word_starts[word]
        else:
            base = len(text.first) + 1 if sequence == 1 else 0
        return start + base, end + base


def context_of(model: nn.Module, tokenizer: Any) -> int | None:
    """The most tokens that a model reads, as it or its tokenizer say; None: any number."""
    inner = plain(model)
    known = [tokenizer.model_max_length] if tokenizer.model_max_length < MANY else []
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        value = getattr(inner.config, name, None)
        if isinstance(value, int) and value > 0:
            known.append(value)
    for name, module in inner.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            known.append(module.num_embeddings - module.padding_idx - 1)  # counted from behind the padding's place
    return min(known, default=None)


def refuse_other_tokenizer(model: nn.Module, tokenizer: Any, what: str) -> None:
    """Raise StudyError if the tokenizer has tokens that the model does not embed."""
    rows, largest = plain(model).get_input_embeddings().num_embeddings, max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise StudyError(
            f"{what}: its tokenizer has token ids up to {largest}, the model embeds {rows} tokens (0 to {rows - 1}): "
            "they do not belong together. Save both in one folder, after model.resize_token_embeddings."
        )


def _table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Without titles, sources and prompts where no row has any."""
    table = pd.DataFrame(rows)
    table["prompt_end"] = table["prompt_end"].astype(np.int32)
    return table.drop(columns=[name for name in ("title", "source", "prompt_end") if not table[name].any()])
