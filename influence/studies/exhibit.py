"""`Exhibit`: a study with everything that a run shows of it: pictures or texts, labels, embedding, titles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from influence.attribution.edits.votes import Votes
from influence.errors import StudyError
from influence.run.kept.choice import strongest_kept
from influence.studies.defaults import class_names, penultimate, table_of
from influence.studies.question import Input
from influence.study.parameters import size_of
from influence.study.stage import Stage, TokenLosses
from influence.study.study import Study
from influence.training.recipe import Recipe, usual_recipe
from influence.version import VERSION

EXACT_BY_DEFAULT = 2000
"""By default, stages with at most this many trained parameters are solved exactly."""


@dataclass
class Exhibit:
    """A study with everything that precompute needs to make a run of it.

    Only the study is required; all else is taken from its data where it is not given.

    Attributes:
        study: its stages at their starting points if `train`, else at their trained parameters.
        title, summary: for people; one line, one paragraph.
        measure: what is explained, in words.
        classes: stage -> names of the model's outputs, in order; default the data set's `classes`, else numbers. Empty:
            the stage's model is no classifier, for instance a language model.
        examples: stage -> table with id, label and image (PNG bytes) or text, in the order of the stage's data;
            default from its examples: their integer class, a tensor or PIL image that is a picture, a text.
        queries: the same for the test queries.
        embedding: (first stage's model, batch) -> (B, d), what the map is made of; default what goes into the model's
            last linear layer.
        vectors: in its place, the texts of examples or queries -> (n, d), by another model.
        token_losses: stage -> (outputs, batch) -> (B, L), each token's share of its text's loss; with it the
            strongest scores are split over tokens.
        tokens: stage, or "queries" -> table of `starts` and `ends` of each text's tokens, in characters.
        votes: stage -> the votes of the rules that made its labels (`influence.Votes`), with the rules' names.
        tokenizer: the model's, as JSON of the `tokenizers` library.
        form, encode: of new questions: "drawing" or "picture" (a PIL image) or "text" (a string), and what the model
            makes of one.
        train: fit the stages before attributing.
        epochs: by mini-batches and so many passes over the data; 0: full batch to a minimum, for small models.
        recipes: stage -> how its mini-batches are made, where that is other than usual.
        seed: of everything random.
        variant: of the study, for instance how it was finetuned.
        notes: what a careful reader should know of the data; the run's warnings begin with them.
        method, damping, curvature: how the run's scores are solved; the default method goes by the model's size.
        error: relative error that a query's scores may have for speed; what it is, is measured and reported.
        settings: further JSON values that the run depends on.
        seeds: number of trainings from other seeds that the run's scores are means over.
        keep: "all" scores; "strongest:1000", those alone of either sign and query; "": all up to 8 GB a method, else
            "strongest:1000" (`influence.run.kept.choice`).
        asked: what `studies.request.exhibits_for` was given, as JSON, so that a run's study can be made again.

    Raises:
        StudyError: something that is not given cannot be found in the data; or votes are of another stage, or of other
            numbers of examples or classes.
    """

    study: Study
    title: str = ""
    summary: str = ""
    measure: str = "loss of the true class"
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    examples: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    queries: pd.DataFrame = field(default_factory=pd.DataFrame)
    embedding: Callable[[nn.Module, Any], torch.Tensor] | None = None
    vectors: Callable[[Sequence[str]], np.ndarray] | None = None
    token_losses: Mapping[str, TokenLosses] = field(default_factory=dict)
    tokens: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    votes: Mapping[str, Votes] = field(default_factory=dict)
    tokenizer: str = ""
    form: str = ""
    encode: Callable[[Any], Input] | None = None
    train: bool = False
    epochs: int = 0
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    seed: int = 0
    variant: str = ""
    notes: Sequence[str] = ()
    method: str = ""
    damping: float | None = None
    curvature: str = "ggn"
    error: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    keep: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stages, last = self.study.stages, self.study.stages[-1]
        self.classes = {
            **{s.name: class_names(s, s.data) for s in stages if s.name not in self.classes},
            **self.classes,
        }
        shown = {
            s.name: table_of(s.data, self.classes[s.name], f"Stage {s.name!r}")
            for s in stages
            if s.name not in self.examples
        }
        self.examples = {**shown, **self.examples}
        if not len(self.queries):
            self.queries = table_of(self.study.queries, self.classes[last.name], "The queries")
        self._refuse_other_votes()
        self.title = self.title or self.study.name
        self.summary = self.summary or _description(self.study)
        self.method = self.method or default_method(self.study)
        assert stages[0].forward is not None
        self.embedding = self.embedding or penultimate(stages[0].forward)

    @property
    def strongest(self) -> int:
        """How many of the strongest scores of either sign and query the run keeps; 0: all scores.

        Raises:
            StudyError: `keep` is of another form, or cannot be.
        """
        examples = [len(stage.data) for stage in self.study.stages]
        return strongest_kept(self.keep, examples, len(self.study.queries), self.seeds)

    def _refuse_other_votes(self) -> None:
        for name, votes in self.votes.items():
            stage = self.study.stages[self.study.position(name)]
            expected = len(stage.data), len(self.classes[name])
            if (len(votes.table), votes.classes) != expected:
                raise StudyError(
                    f"There are votes on {len(votes.table)} examples of stage {name!r} for {votes.classes} classes; it "
                    f"has {expected[0]} examples and {expected[1]} classes."
                )

    @property
    def all_settings(self) -> dict[str, Any]:
        """What the run depends on: equal settings give an equal run."""
        stages = [
            {
                "name": s.name,
                "examples": len(s.data),
                "shown": _digest(self.examples[s.name]),
                "classes": list(self.classes[s.name]),
                "l2": list(s.l2.items()) if isinstance(s.l2, Mapping) else s.l2,  # in order: the first match counts
                "proximity": s.proximity,
                "frozen": list(s.frozen),
                "inherits": None if s.inherits is None else dict(s.inherits),
            }
            for s in self.study.stages
        ]
        return {
            "version": VERSION,
            "study": self.study.name,
            "variant": self.variant,
            "seed": self.seed,
            "method": self.method,
            "curvature": self.curvature,
            "measure": self.measure,
            "train": self.train,
            "models": None if self.train else [fingerprint(s.model) for s in self.study.stages],
            "queries": _digest(self.queries),
            "stages": stages,
            "damping": self.damping,
            "epochs": self.epochs,
            "error": self.error,
            "recipes": {stage: asdict(recipe) for stage, recipe in self.recipes.items()},
            **({"seeds": self.seeds} if self.seeds > 1 else {}),
            **({"strongest": self.strongest} if self.strongest else {}),
            **(
                {"votes": {stage: _digest(pd.DataFrame(v.table, columns=v.rules)) for stage, v in self.votes.items()}}
                if self.votes
                else {}
            ),
            **self.settings,
        }


def default_method(study: Study) -> str:
    """Name of the method for a study's size: `exact` for small models, `ekfac` for others."""
    largest = max(size_of(stage, previous).trained for previous, stage in study.pairs())
    return "exact" if largest <= EXACT_BY_DEFAULT else "ekfac"


def _description(study: Study) -> str:
    stages = ", then ".join(f"{stage.name} on {len(stage.data):,} examples" for stage in study.stages)
    return f"A model trained in stages: {stages}. The {len(study.queries):,} queries are explained by them."


def _digest(table: pd.DataFrame) -> str:
    """A fingerprint of a table's contents, so that a run of other data is not taken for this one."""
    return hashlib.sha256(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()).hexdigest()[:16]


def fingerprint(model: nn.Module) -> str:
    """Of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def recipe_of(exhibit: Exhibit, stage: Stage) -> Recipe | None:
    """How a stage of an exhibit is trained by mini-batches; None: full batch to a minimum."""
    usual = usual_recipe(len(stage.data), exhibit.epochs, exhibit.seed) if exhibit.epochs else None
    return exhibit.recipes.get(stage.name, usual)
