"""A model of texts with its objective and tokenizer: how it reads texts, and what a run shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from influence.errors import StudyError, listed
from influence.studies.checkpoints.texts.labels import head_of
from influence.studies.checkpoints.texts.objectives import (
    CAUSAL,
    CLASSIFICATION,
    REGRESSION,
    forward_of,
    mean_state,
    objective_of,
    plain,
)
from influence.studies.checkpoints.texts.prepared import (
    Padding,
    Preparation,
    TextExamples,
    context_of,
    refuse_other_tokenizer,
)
from influence.studies.checkpoints.texts.rows import Item
from influence.studies.question import COMPLETION, TEXT, Input
from influence.study.stage import Stage

CHARACTERS_READ = 20_000
"""Of a question."""


class TextModel:
    """A trained model of `transformers` or `peft`, and how it reads texts.

    Args:
        model: in whatever mode.
        tokenizer: its own.
        what: it is, for messages.
        objective: of `OBJECTIVES`, where it is stated.
        classes: names of classes in the data, for a head whose own were never given.
        context: tokens of a text that are read; None: as many as the model reads.
        seed: of masks.

    Raises:
        StudyError: the model has no objective, or the tokenizer or context does not fit it.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        what: str,
        objective: str = "",
        classes: Sequence[str] = (),
        context: int | None = None,
        seed: int = 0,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.objective = objective_of(model, objective)
        kind, config = self.objective.kind, plain(model).config
        self.head = None if self.objective.of_language else head_of(config, kind, classes)
        refuse_other_tokenizer(model, tokenizer, what)
        known = context_of(model, tokenizer)
        if context is not None and known is not None and context > known:
            raise StudyError(f"The context is {context}, but {what} reads {known} tokens.")
        read = known if context is None else context
        self.preparation = Preparation(tokenizer, self.objective, self.head, read, context is not None, seed)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes that it tells apart; none unless an example has one of them."""
        return self.head.names if self.head is not None and self.head.kind == CLASSIFICATION else []

    @property
    def padding(self) -> Padding:
        """How batches are made: filled up on the right but for heads that read the last place."""
        config, tokenizer = plain(self.model).config, self.tokenizer
        known = [tokenizer.pad_token_id, config.pad_token_id, tokenizer.eos_token_id, 0]
        token = next(each for each in known if each is not None)
        return Padding(token, tokenizer.padding_side == "left" and not self.objective.of_tokens)

    def stage(self, name: str, data: Any, **more: Any) -> Stage:
        """The stage that it is trained in."""
        more = {"collate": self.padding, **more}
        return Stage(
            name, self.model, self.objective.loss, data, forward=forward_of(self.model, self.objective), **more
        )


def shown(models: Mapping[str, TextModel], data: Mapping[str, TextExamples]) -> dict[str, Any]:
    """What an exhibit shows of texts: its fields by name.

    Args:
        models: stage -> its model, first to last.
        data: stage, or "queries" -> its texts.
    """
    last = list(models.values())[-1]
    fast = hasattr(last.tokenizer, "backend_tokenizer")
    notes = [note for each in data.values() for note in each.notes]
    for name, model in models.items():
        if model.objective.kind == REGRESSION:
            notes.append(f"Losses of {name!r} are squared errors, in the unit of its labels squared, and no nats.")
    splits = [name for name, model in models.items() if model.objective.of_tokens and data[name].tokens is not None]
    return {
        "measure": last.objective.measure,
        "classes": {name: model.classes for name, model in models.items()},
        "examples": {name: data[name].table for name in models},
        "queries": data["queries"].table,
        "embedding": mean_state,
        "token_losses": {name: models[name].objective.token_losses for name in splits},
        "tokens": {part: each.tokens for part, each in data.items() if each.tokens is not None},
        "tokenizer": last.tokenizer.backend_tokenizer.to_str() if fast else "",
        "notes": [*notes, *_other_numbers([model.tokenizer for model in models.values()])],
        **_question(last, data["queries"]),
    }


def _other_numbers(tokenizers: Sequence[Any]) -> list[str]:
    known, own = tokenizers[0].get_vocab(), tokenizers[-1].get_vocab()
    other = [token for token, number in own.items() if known.get(token, number) != number]
    if not other:
        return []
    return [
        f"The models' tokenizers number {len(other):,} tokens differently ({listed(other[:3])}): what is one word to "
        "the last is another to the first."
    ]


def _question(model: TextModel, queries: TextExamples) -> dict[str, Any]:
    if queries.paired:
        return {}
    if model.objective.kind == CAUSAL:
        return {"form": COMPLETION, "encode": partial(_completion, model=model)}
    return {"form": TEXT, "encode": partial(_text, model=model)} if model.classes else {}


def _text(written: str, model: TextModel) -> Input:
    """A text as a classifier reads it."""
    return _input(Item(0, "Your text", written[:CHARACTERS_READ], 0), model)


def _completion(written: tuple[str, str], model: TextModel) -> Input:
    """A prompt and its completion, as a language model reads them."""
    prompt, said = (part[:CHARACTERS_READ] for part in written)
    return _input(Item(0, "Your text", said, prompt=prompt), model)


def _input(item: Item, model: TextModel) -> Input:
    if not item.text.strip():
        raise StudyError("There is no text. Write a sentence.")
    read = model.preparation
    cutting = Preparation(read.tokenizer, read.objective, read.head, read.context, True, read.seed)
    found = cutting.examples([item], "your text")
    assert found.tokens is not None
    end, notes = int(found.tokens["ends"][0][-1]), []
    if found.notes:
        notes.append(f"The text is longer than what the model reads: it was cut after {read.context} tokens.")
    if read.tokenizer.unk_token_id is not None:
        unknown = int((found[0]["input_ids"] == read.tokenizer.unk_token_id).sum())
        if unknown:
            notes.append(f"{unknown} of its tokens are not in the model's vocabulary; it reads each as “unknown”.")
    starts, ends = (found.tokens[name][0].tolist() for name in ("starts", "ends"))
    return Input(found[0], found.table["text"][0], end, tuple(notes), starts, ends, len(item.prompt))
