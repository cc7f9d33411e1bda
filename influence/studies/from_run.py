"""Rebuild the study that a run was computed from, with its models at the run's parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from influence.errors import RunError, StudyError
from influence.run.asked import asked_of
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit
from influence.studies.request import PATHS, exhibits_for


def exhibit_of(run: Run, function: str | None = None) -> Exhibit:
    """The exhibit of a run, with its data and trained models, for retraining and new queries.

    Args:
        run: a finished run.
        function: FILE.py:FUNCTION of a run that was computed from one. Code that a run merely names is never executed.

    Raises:
        RunError: the run does not say what it was computed from, or its data or code are no longer the same.
        StudyError: the data is not where it was.
    """
    return exhibit_and_starts_of(run, function)[0]


def exhibit_and_starts_of(run: Run, function: str | None = None) -> tuple[Exhibit, dict[str, dict[str, Tensor]]]:
    """The exhibit as `exhibit_of` gives it, and stage -> its parameters before training, by name; built once."""
    exhibit = exhibit_asked(asked_of(run, function), run.manifest.variant)
    _refuse_other_settings(run, exhibit)
    stages, models = exhibit.study.stages, run.models()
    starts = {s.name: {n: p.detach().clone() for n, p in s.model.named_parameters()} for s in stages}
    for stage in stages:
        try:
            stage.model.load_state_dict(models[stage.name])
        except (KeyError, RuntimeError) as error:
            raise RunError(
                f"The parameters of run {run.name} do not fit the model of stage {stage.name!r}: {error}. Compute the "
                "run again with `upstream precompute`."
            ) from error
    return exhibit, starts


def exhibit_asked(asked: Mapping[str, Any], variant: str) -> Exhibit:
    """The exhibit of a variant of what was asked for, see `Exhibit.asked`.

    Raises:
        StudyError: the study cannot be made, or has no such variant.
    """
    made = exhibits_for(
        asked.get("study"),
        _paths(asked.get("images")),
        _paths(asked.get("texts")),
        asked.get("seed"),
        {name: Path(value) if name in PATHS else value for name, value in (asked.get("options") or {}).items()},
        asked.get("solving") or {},
        _paths(asked.get("models")),
        terms=asked.get("terms"),
    )
    for exhibit in made:
        if exhibit.variant == variant:
            return exhibit
    there = ", ".join(repr(exhibit.variant) for exhibit in made)
    raise StudyError(f"The study has no variant {variant!r}, which the run is of; it has {there}.")


def _refuse_other_settings(run: Run, exhibit: Exhibit) -> None:
    there, now = run.manifest.settings, json.loads(json.dumps(exhibit.all_settings))
    for key in {**there, **now}:
        if there.get(key) != now.get(key):
            raise RunError(
                f"Run {run.name} was computed with other data or settings than its study has now: {key} was "
                f"{there.get(key)!r} and is {now.get(key)!r}. Compute the run again with `upstream precompute`."
            )


def _paths(texts: Sequence[str] | None) -> list[Path] | None:
    return None if texts is None else [Path(text) for text in texts]
