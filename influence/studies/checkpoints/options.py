"""What a person states of two checkpoints, where what is worked out is not what happened."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from influence.errors import StudyError
from influence.studies.checkpoints.statement import Statement, statement
from influence.studies.text_files.columns import Columns
from influence.study.stage import Stage

STAGES = ("pretrain", "finetune")
"""Names of the stages of every study of two checkpoints."""


@dataclass(frozen=True)
class CheckpointOptions:
    """Options of a study of two checkpoints.

    Attributes:
        objective: of the pretrained model or, with a comma, of both, where their classes do not tell.
        arch: network of a state dict; "" where folders say what they are.
        frozen, new: patterns of the finetuned model's parameters that were not trained, or begun anew.
        inherits: "HERE=THERE", where names differ.
        l2: "VALUE" or "PATTERN=VALUE", of both stages; nothing: estimated.
        proximity: of inherited parameters that are trained on; None: estimated.
        columns: of texts.
        context: tokens of a text that are read; None: as many as the model reads.
        sample: at most so many of each file or folder, drawn by the seed.
        queries: at most so many test examples, drawn by the seed; 0: all.
        size: side of pictures in pixels; 0: as the model's own preparation says.
        seed: of all that is drawn.
    """

    objective: str = ""
    arch: str = ""
    frozen: Sequence[str] = ()
    inherits: Sequence[str] = ()
    new: Sequence[str] = ()
    l2: Sequence[str] = ()
    proximity: float | None = None
    columns: Columns = field(default_factory=Columns)
    context: int | None = None
    sample: int | None = None
    queries: int = 0
    size: int = 0
    seed: int = 0

    @property
    def pairs(self) -> dict[str, str]:
        """What is inherited under another name: {here: there}.

        Raises:
            StudyError: one is no pair.
        """
        found = {}
        for each in self.inherits:
            here, equals, there = each.partition("=")
            if not (equals and here and there):
                raise StudyError(f"--inherits is {each!r}, expected HERE=THERE, names in the two models.")
            found[here] = there
        return found

    @property
    def decay(self) -> float | dict[str, float] | None:
        """The stated l2, as `Stage` takes it; None: nothing is stated.

        Raises:
            StudyError: a value is no number.
        """
        found: dict[str, float] = {}
        for each in self.l2:
            pattern, equals, value = each.rpartition("=")
            try:
                found[pattern if equals else "*"] = float(value)
            except ValueError:
                raise StudyError(f"--l2 is {each!r}, expected a number, or PATTERN=NUMBER such as *.bias=0.") from None
        return found.get("*") if list(found) in (["*"], []) else found

    def stated(self, stages: Sequence[Stage], terms: Mapping[str, Any] | None = None) -> Statement:
        """Stages with all terms of their objectives: those that `terms_of` once told, or stated here, or estimated."""
        if terms is None:
            return statement(stages, l2=self.decay, proximity=self.proximity)
        found = [copy.copy(stage) for stage in stages]
        for stage, own in zip(found, terms["stages"], strict=True):
            stage.l2, stage.proximity = own["l2"], own["proximity"]
            stage.__post_init__()
        return Statement(found, damping=terms["damping"])

    @classmethod
    def of(cls, given: Mapping[str, Any], seed: int) -> CheckpointOptions:
        """From the command's options, by name; those that are not given are missing."""
        kinds = {f"{kind}_column": kind for kind in vars(Columns())}
        columns = Columns(**{kinds[name]: value for name, value in given.items() if name in kinds})
        rest = {name: value for name, value in given.items() if name not in kinds}
        return cls(**rest, columns=columns, seed=seed)


def terms_of(stages: Sequence[Stage], damping: float | None) -> dict[str, Any]:
    """The terms of stages' objectives as JSON, for `CheckpointOptions.stated` to take up."""
    terms = [{"l2": dict(s.l2) if isinstance(s.l2, Mapping) else s.l2, "proximity": s.proximity} for s in stages]
    return {"stages": terms, "damping": damping}
