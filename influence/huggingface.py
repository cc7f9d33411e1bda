"""Stages and exhibits from what a training with `transformers` had: model, tokenizer, dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn

from influence.errors import StudyError, listed
from influence.studies.checkpoints.correspondence import correspondence
from influence.studies.checkpoints.texts.model import TextModel, shown
from influence.studies.checkpoints.texts.objectives import INPUTS
from influence.studies.checkpoints.texts.prepared import TextExamples
from influence.studies.checkpoints.texts.rows import Item
from influence.studies.exhibit import Exhibit
from influence.study.stage import Stage
from influence.study.study import Study

LABELS = ("labels", "label")


def stage(
    name: str,
    model: nn.Module,
    data: Any,
    tokenizer: Any,
    *,
    after: Stage | None = None,
    objective: str = "",
    columns: Mapping[str, str] | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
    context: int | None = None,
    frozen: Sequence[str] = (),
    inherits: Mapping[str, str] | None = None,
    new: Sequence[str] = (),
    l2: float | Mapping[str, float] = 0.0,
    proximity: float = 0.0,
    seed: int = 0,
) -> Stage:
    """A stage of a model of `transformers`, or of `peft` around one.

    The loss is that of the model's class: of causal and masked language models the sum of a text's token losses, of
    heads the loss of the class, the labels or the numbers (`problem_type`), of token classifiers the sum over words.

    Args:
        name: of the stage.
        model: at its trained parameters.
        data: `datasets.Dataset`, a pandas table, a list of dicts, or a dict of lists: with texts, which the tokenizer
            prepares, or with `input_ids` (a `BatchEncoding`), and labels where the model needs them.
        tokenizer: the model's own.
        after: the stage before; what is inherited from its model, frozen or new is worked out by `correspondence`.
        objective: "causal", "masked", "classification" or "token-classification", for classes that are several.
        columns: {"text", "label", "prompt", "pair": name in the data}, where that is another.
        collate: of data with `input_ids`, such as `DataCollatorWithPadding(tokenizer)`; default: padded likewise.
        context: tokens of a text that are read; None: as many as the model reads.
        frozen: patterns of parameters or modules that were not trained, where that was not seen.
        inherits: {here: there in the model before}, of those that names do not tell.
        new: patterns of those that were begun anew.
        l2: as of `Stage`.
        proximity: as of `Stage`.
        seed: of the masks of masked language models, which are drawn once an example.

    Returns:
        The stage; its `data` has the `table` of texts and labels, and `notes` on what was cut.

    Raises:
        StudyError: model, tokenizer and data do not fit each other.
    """
    rows = _rows(data)
    names = {kind: (columns or {}).get(kind, kind) for kind in ("text", "label", "prompt", "pair", "title", "source")}
    classes = getattr(getattr(data, "features", {}).get(names["label"]), "names", None) or ()
    reader = _Reader(TextModel(model, tokenizer, f"Stage {name!r}", objective, classes, context, seed), names, collate)
    more: dict[str, Any] = {"l2": l2, "proximity": proximity}
    if collate is not None:
        more["collate"] = collate
    if after is not None:
        pairs = correspondence(after.model, model, frozen=frozen, inherits=inherits, new=new)
        more |= {"frozen": pairs.frozen, "inherits": pairs.inherits}
    return reader.model.stage(name, reader.examples(rows, repr(name)), **more)


def exhibit(name: str, stages: Sequence[Stage], queries: Any, **more: Any) -> Exhibit:
    """The study of stages made by `stage`, with everything that a run shows of it.

    Args:
        name: of the study.
        stages: first to last.
        queries: test examples, as the last stage's data.
        more: other fields of `Exhibit`.

    Raises:
        StudyError: a stage was made otherwise, or the queries do not fit the last one.
    """
    other = [each.name for each in stages if not isinstance(each.data, _Examples)]
    if other:
        raise StudyError(f"{listed(map(repr, other))} were not made by `stage`; give Exhibit its tables yourself.")
    data: dict[str, Any] = {each.name: each.data for each in stages}
    asked = stages[-1].data.reader.examples(_rows(queries), "'queries'")
    fields = shown({each.name: each.data.reader.model for each in stages}, {**data, "queries": asked})
    return Exhibit(Study(name, stages, asked), **{**fields, **more})


class _Examples(TextExamples):
    """Texts with what read them, so that queries are read likewise."""

    def __init__(self, found: TextExamples, reader: _Reader):
        super().__init__(found.rows, found.table, found.tokens, found.notes, found.paired)
        self.reader = reader


@dataclass(frozen=True)
class _Reader:
    model: TextModel
    names: Mapping[str, str]
    collate: Callable[[list[Any]], Any] | None

    def examples(self, rows: Sequence[Mapping[str, Any]], what: str) -> _Examples:
        if not rows:
            raise StudyError(f"{what}: there are no examples.")
        if self.names["text"] in rows[0]:
            items = [self._item(place, row) for place, row in enumerate(rows)]
            return _Examples(self.model.preparation.examples(items, what), self)
        if "input_ids" not in rows[0]:
            raise StudyError(
                f"{what}: an example has {listed(map(repr, rows[0]))}, and neither {self.names['text']!r} nor "
                "'input_ids'. Say which holds the text: columns={'text': NAME}."
            )
        return _Examples(self._tokenized(rows), self)

    def _item(self, place: int, row: Mapping[str, Any]) -> Item:
        found = {kind: row[name] for kind, name in self.names.items() if row.get(name) is not None}
        return Item(place, f"example {place}", **found)

    def _tokenized(self, rows: Sequence[Mapping[str, Any]]) -> TextExamples:
        """Examples of token ids that the user's own preparation made."""
        read, tokenizer = [self._row(row) for row in rows], self.model.tokenizer
        texts = [tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in read]
        shown = [""] * len(read)
        if self.model.classes:
            shown = [self.model.classes[int(row["labels"])] for row in read]
        given = read if self.collate is None else [_inputs(row) for row in rows]
        return TextExamples(given, pd.DataFrame({"id": range(len(read)), "label": shown, "text": texts}), None, [])

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Its tokens without what fills it up, and its labels."""
        whole = torch.as_tensor(row["input_ids"])
        read = torch.as_tensor(row.get("attention_mask", torch.ones_like(whole))).bool()
        labels = next((row[key] for key in (*LABELS, self.names["label"]) if key in row), None)
        if labels is None and not self.model.objective.of_language:
            raise StudyError(f"An example has {listed(map(repr, row))}, and no labels.")
        found = torch.as_tensor(whole if labels is None else labels)
        of_tokens = self.model.objective.of_tokens
        types = {"token_type_ids": torch.as_tensor(row["token_type_ids"])[read]} if "token_type_ids" in row else {}
        return {
            "input_ids": whole[read],
            **types,
            "labels": found[read] if of_tokens else (found if found.dim() else found.item()),
        }


def _inputs(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a collator of `transformers` takes of a row."""
    return {key: row[key] for key in (*INPUTS, *LABELS) if key in row}


def _rows(data: Any) -> list[Mapping[str, Any]]:
    """A row an example, of a dataset, a table, a list of rows, or a dict of columns."""
    if isinstance(data, pd.DataFrame):
        return data.to_dict("records")  # type: ignore[return-value]
    if isinstance(data, Mapping):
        return [dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)]
    if not isinstance(data, Iterable) or not hasattr(data, "__len__"):
        raise StudyError(f"The data is a {type(data).__name__}, expected a dataset, a table, or a list of dicts.")
    found = list(data)
    if not all(isinstance(row, Mapping) for row in found):
        raise StudyError(f"The data holds a {type(found[0]).__name__}, expected dicts: {{'text': ..., 'label': ...}}.")
    return found
