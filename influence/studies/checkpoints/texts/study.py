"""A study of two checkpoints of `transformers` and the texts that they were trained and tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from influence.errors import StudyError, printable
from influence.studies.checkpoints.checkpoint import Checkpoint, read_checkpoint
from influence.studies.checkpoints.correspondence import correspondence
from influence.studies.checkpoints.options import STAGES, CheckpointOptions
from influence.studies.checkpoints.statement import Statement
from influence.studies.checkpoints.texts.model import TextModel, shown
from influence.studies.checkpoints.texts.naming import names_of_outputs
from influence.studies.checkpoints.texts.objectives import TAGS, TextObjective, objective_of, plain
from influence.studies.checkpoints.texts.prepared import TextExamples
from influence.studies.checkpoints.texts.rows import Rows, rows_of
from influence.studies.exhibit import Exhibit
from influence.study.study import Study

PARTS = (*STAGES, "queries")
ERROR = 0.03
"""Allowed relative error of a query's scores, as of other texts: EK-FAC's own is larger."""


class CheckpointTexts:
    """The one exhibit of two checkpoints: `frozen` if no inherited parameter was trained on, else `updated`.

    Args:
        models: the pretrained and the finetuned one's folders.
        files: texts to pretrain on, to finetune on, and to test.
        options: what a person states.
        terms: of the stages' objectives, as an earlier exhibit had them; None: stated or estimated.

    Attributes:
        lines: what is inherited, frozen, tied or new, a line each.

    Raises:
        StudyError: models, files and options do not fit each other.
    """

    def __init__(
        self,
        models: tuple[Path, Path],
        files: Sequence[Path],
        options: CheckpointOptions,
        terms: Mapping[str, Any] | None = None,
    ):
        self.options, self.terms = options, terms
        said = self._said()
        self.checkpoints = self._checkpoints(models, said)
        before, after = (self.checkpoints[stage].model for stage in STAGES)
        self.pairs = correspondence(
            before, after, frozen=options.frozen, inherits=options.pairs or None, new=options.new
        )
        self.lines = self.pairs.lines()
        self.rows = self._read(files, {s: objective_of(each.model, said[s]) for s, each in self.checkpoints.items()})
        self.models = {stage: self._model(stage, said[stage]) for stage in STAGES}
        self.data = {part: self._prepared(part) for part in PARTS}
        self.variants = ("updated" if set(self.pairs.inherits) - set(self.pairs.frozen) else "frozen",)

    def exhibit(self, variant: str) -> Exhibit:
        """The exhibit of the only variant."""
        found, fields = self._stages(), shown(self.models, self.data)
        read = [note for each in self.checkpoints.values() for note in each.notes]
        read += [note for part in PARTS for note in self.rows[part].notes]
        notes = dict.fromkeys([*read, *fields.pop("notes"), *self.pairs.notes, *found.notes])
        return Exhibit(
            study=Study("texts", found.stages, self.data["queries"]),
            title=f"{self._named('finetune')}, from {self._named('pretrain')}",
            summary=self._summary(),
            train=False,
            seed=self.options.seed,
            variant=variant,
            notes=list(notes),
            damping=found.damping,
            error=ERROR,
            **fields,
        )

    # Models and data

    def _said(self) -> dict[str, str]:
        """Stage -> its objective, where it was said."""
        parts = [each.strip() for each in self.options.objective.split(",")]
        if len(parts) > 2:
            raise StudyError(f"--objective is {self.options.objective!r}, expected one, or one of each model.")
        return dict(zip(STAGES, [*parts, ""], strict=False))

    @staticmethod
    def _checkpoints(models: tuple[Path, Path], said: Mapping[str, str]) -> dict[str, Checkpoint]:
        tasks = [{TAGS: "tokens"}.get(said[stage], said[stage]) for stage in STAGES]
        before = read_checkpoint(models[0], task=tasks[0])
        return {"pretrain": before, "finetune": read_checkpoint(models[1], base=before, task=tasks[1])}

    def _read(self, files: Sequence[Path], kinds: Mapping[str, TextObjective]) -> dict[str, Rows]:
        columns, found = self.options.columns, {}
        for number, (part, path) in enumerate(zip(PARTS, files, strict=True)):
            needed = [] if kinds[_stage_of(part)].of_language else ["label"]
            found[part] = rows_of(path, columns, needed, self.options.sample, (self.options.seed, number))
        for kind, name in vars(columns).items():
            if name is not None and not any(name == rows.named.get(kind) for rows in found.values()):
                raise StudyError(f"--{kind}-column: no file has a column {name!r}.")
        items = found["queries"].items
        if 0 < self.options.queries < len(items):
            drawn = np.random.default_rng(self.options.seed).permutation(len(items))[: self.options.queries]
            found["queries"].items = [items[row] for row in sorted(drawn.tolist())]
        return found

    def _model(self, stage: str, said: str) -> TextModel:
        checkpoint, options = self.checkpoints[stage], self.options
        tokenizer, what = checkpoint.tokenizer(), printable(checkpoint.path)

        def made_with(classes: Sequence[str]) -> TextModel:
            return TextModel(checkpoint.model, tokenizer, what, said, classes, options.context, options.seed)

        made = made_with(self.rows[stage].classes)
        config = plain(checkpoint.model).config
        if config.pad_token_id is None:  # a decoder's head takes several texts only where it knows their last tokens
            config.pad_token_id = made.padding.token
        names, notes = names_of_outputs(made, self.rows[stage].items)
        self.rows[stage].notes += notes
        return made_with(names) if names else made

    def _prepared(self, part: str) -> TextExamples:
        return self.models[_stage_of(part)].preparation.examples(self.rows[part].items, repr(part)).ordered()

    def _stages(self) -> Statement:
        """The stages with all terms of their objectives; those that nobody stated are estimated."""
        pretrained, finetuned = (self.models[stage] for stage in STAGES)
        pairs = {"frozen": self.pairs.frozen, "inherits": self.pairs.inherits}
        stages = [
            pretrained.stage("pretrain", self.data["pretrain"]),
            finetuned.stage("finetune", self.data["finetune"], **pairs),
        ]
        return self.options.stated(stages, self.terms)

    # What is shown

    def _named(self, stage: str) -> str:
        checkpoint = self.checkpoints[stage]
        return f"{printable(checkpoint.path.resolve().name)} ({checkpoint.architecture})"

    def _summary(self) -> str:
        kinds = {stage: model.objective.kind for stage, model in self.models.items()}
        sizes = {part: f"{len(data):,}" for part, data in self.data.items()}
        summed = any(model.objective.of_tokens for model in self.models.values())
        return (
            f"{self._named('pretrain')} was pretrained on {sizes['pretrain']} texts ({kinds['pretrain']}), then "
            f"{self._named('finetune')} finetuned on {sizes['finetune']} ({kinds['finetune']}). The "
            f"{sizes['queries']} queries are explained by both."
            + (" The loss of a text is the sum over its tokens." if summed else "")
        )


def _stage_of(part: str) -> str:
    return "finetune" if part == "queries" else part
