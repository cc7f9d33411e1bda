"""A two-stage study of any texts: a language model pretrained on some, finetuned to tell classes of others apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer

from influence.errors import StudyError
from influence.studies.cards import VARIANTS
from influence.studies.exhibit import Exhibit
from influence.studies.language import class_loss
from influence.studies.question import TEXT
from influence.studies.texts.corpus import Corpus
from influence.studies.texts.duplicates import near_duplicates
from influence.studies.texts.models import TextModels
from influence.studies.texts.options import TextOptions
from influence.studies.texts.question import text
from influence.studies.texts.sentence_model import SentenceModel
from influence.studies.texts.tokenizing import TokenData, Tokens, fit_tokenizer, padded, tokenize
from influence.studies.texts.transformer import transformer
from influence.studies.texts.word_pairs import word_pairs
from influence.study.stage import Stage
from influence.study.study import Study
from influence.training.recipe import Recipe

BATCH, RATE, TUNING_RATE = 32, 2e-3, 1e-3
TUNING_EPOCHS = 10
WARMUP = 100
ERROR = 0.03
"""Allowed relative error of a query's scores: vocabularies make vectors long, and EK-FAC's own error is larger."""


class TextStudy:
    """Exhibits `frozen` (body fixed) and `updated` (trained on, held near) over one pretrained language model.

    Args:
        name, subject: of the study; what the texts are, in words.
        parts: `pretrain`, `finetune` and `queries`; the latter two with labels.
        options: how it is made.
        method: default by the model's size.

    Raises:
        StudyError: fewer than two classes to finetune on, a query of another class, a text without tokens.
    """

    variants = VARIANTS
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Of its options, where they are other than usual."""

    def __init__(self, name: str, subject: str, parts: Mapping[str, Corpus], options: TextOptions, method: str = ""):
        self.name, self.subject, self.options, self.method = name, subject, options, method
        queries = parts["queries"]
        if 0 < options.queries < len(queries):
            drawn = np.random.default_rng(options.seed).permutation(len(queries))[: options.queries]
            queries = queries.chosen(sorted(drawn.tolist()))
        self.classes = sorted(set(parts["finetune"].labels))
        if len(self.classes) < 2:
            raise StudyError(
                f"Study {name!r}: there is only the class {', '.join(map(repr, self.classes)) or 'none'} to finetune "
                "on; a classifier needs at least two."
            )
        unknown = sorted(set(queries.labels) - set(self.classes))
        if unknown:
            raise StudyError(
                f"Study {name!r}: a test text has the label {unknown[0]!r}, which no text to finetune on has; those "
                f"have {', '.join(self.classes[:10])}. The model can only be asked about classes that it knows."
            )
        self.vectors = None if options.sentence_model is None else SentenceModel(Path(options.sentence_model))
        given = {**parts, "queries": queries}
        self.tokenizer: Tokenizer = fit_tokenizer(parts["pretrain"].texts, options.vocabulary)
        self.parts, self.tokens = {}, {}
        for part, corpus in given.items():
            self.parts[part], self.tokens[part] = self._by_length(part, corpus)

    def _by_length(self, part: str, corpus: Corpus) -> tuple[Corpus, Tokens]:
        """Shortest first, so that the texts of a batch are of like length; ids still say which text is which."""
        found = tokenize(self.tokenizer, corpus.texts, self.options.context, part)
        order = np.argsort([len(each) for each in found.ids], kind="stable").tolist()
        places = found.places.iloc[order].reset_index(drop=True)
        return corpus.chosen(order), Tokens([found.ids[i] for i in order], places, found.cut, found.unknown)

    def exhibit(self, variant: str) -> Exhibit:
        """The run `frozen` or `updated`."""
        frozen, body = variant == "frozen", self._body
        finetuning = Stage(
            "finetune",
            self.models.classifier(len(self.classes)),
            class_loss,
            self._data["finetune"],
            collate=padded,
            l2=dict(self.models.tuning_l2),
            frozen=body if frozen else [],
            proximity=0.0 if frozen else self.models.proximity,
            inherits={name: name for name in body},
        )
        tables = {part: table_of(corpus) for part, corpus in self.parts.items()}
        return Exhibit(
            study=Study(self.name, [self._pretraining, finetuning], self._data["queries"]),
            title=f"{self.subject}, body {variant}",
            summary=self._summary(frozen),
            classes={"pretrain": [], "finetune": self.classes},
            examples={stage: tables[stage] for stage in ("pretrain", "finetune")},
            queries=tables["queries"],
            embedding=lambda model, batch: self.models.sentence(model, batch[0]),
            vectors=self.vectors,
            token_losses={"pretrain": self.models.token_losses},
            tokens={part: found.places for part, found in self.tokens.items()},
            tokenizer=self.tokenizer.to_str(),
            form=TEXT,
            encode=partial(text, tokenizer=self.tokenizer, context=self.options.context),
            train=True,
            recipes=self._recipes,
            seed=self.options.seed,
            variant=variant,
            method=self.method,
            notes=self._notes,
            damping=self.models.damping,
            error=ERROR,
            settings={
                "vocabulary": self.options.vocabulary,
                "context": self.options.context,
                "width": self.options.width,
                "layers": self.options.layers,
                "fading": self.options.fading,
                **({} if self.vectors is None else {"sentence_model": str(self.vectors.folder.resolve())}),
            },
        )

    def _summary(self, frozen: bool) -> str:
        sizes = {name: f"{len(corpus):,}" for name, corpus in self.parts.items()}
        return (
            f"{self.models.words}, pretrained on {sizes['pretrain']} texts, then finetuned on {sizes['finetune']} to "
            f"tell {', '.join(self.classes[:10])} apart, with its body "
            f"{'kept fixed' if frozen else 'trained on, held near the pretrained one'}. The {sizes['queries']} queries "
            f"are texts that it never saw. A pretraining text's loss is the mean over its {self.models.counted}."
        )

    @cached_property
    def _data(self) -> dict[str, TokenData]:
        numbers = {name: number for number, name in enumerate(self.classes)}
        return {
            part: TokenData(
                self.tokens[part].ids,
                [0] * len(corpus) if part == "pretrain" else [numbers[label] for label in corpus.labels],
            )
            for part, corpus in self.parts.items()
        }

    @cached_property
    def _pretraining(self) -> Stage:
        return Stage(
            "pretrain",
            self.models.language_model(),
            self.models.language_loss,
            self._data["pretrain"],
            collate=self.models.collate,
            l2=self.models.l2,
        )

    @property
    def _body(self) -> list[str]:
        return [name for name, _ in self._pretraining.model.named_parameters() if name.startswith("body.")]

    @cached_property
    def models(self) -> TextModels:
        """The language model and the classifier."""
        seen = torch.cat(self.tokens["pretrain"].ids)
        counts = seen.bincount(minlength=self.tokenizer.get_vocab_size())
        return (transformer if self.options.layers else word_pairs)(self.options, counts)

    @property
    def _recipes(self) -> dict[str, Recipe]:
        if not self.models.epochs:
            return {}
        return {
            "pretrain": self._recipe("pretrain", self.models.epochs, RATE),
            "finetune": self._recipe("finetune", TUNING_EPOCHS, TUNING_RATE),
        }

    def _recipe(self, stage: str, epochs: int, rate: float) -> Recipe:
        count = len(self.parts[stage])
        steps = epochs * math.ceil(count / min(BATCH, count))
        return Recipe(
            steps,
            min(BATCH, count),
            rate,
            optimiser="adam",
            eps_root=1e-12,
            warmup=min(WARMUP, steps // 10),
            decay=True,
            seed=self.options.seed,
        )

    @cached_property
    def _notes(self) -> list[str]:
        """Notes for the run's page about the texts."""
        notes = []
        for part, found in self.tokens.items():
            if found.cut:
                notes.append(
                    f"{found.cut:,} of {len(found.ids):,} texts of {part!r} are longer than the model's context and "
                    f"were cut after {self.options.context} tokens."
                )
            if found.unknown > 0.1:
                notes.append(f"{found.unknown:.0%} of the tokens of {part!r} are not in the vocabulary.")
        for here, there in (("finetune", "pretrain"), ("queries", "pretrain"), ("queries", "finetune")):
            count = int((near_duplicates(self.parts[here].texts, self.parts[there].texts) >= 0).sum())
            if count:
                notes.append(f"{count:,} texts of {here!r} stand nearly word for word in {there!r} too.")
        return notes


def table_of(corpus: Corpus) -> pd.DataFrame:
    """The table of the texts as a run shows them."""
    columns: dict[str, Sequence[Any]] = {
        "id": corpus.ids or range(len(corpus)),
        "label": corpus.labels or [""] * len(corpus),
        "text": corpus.texts,
        "title": corpus.titles,
        "source": corpus.sources,
    }
    return pd.DataFrame({name: list(values) for name, values in columns.items() if len(values)})
