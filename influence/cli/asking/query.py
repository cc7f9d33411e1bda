"""`upstream query`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import influence.live
import influence.run
from influence.cli.asking.explanation import Explanation, Form, plain, print_explanation
from influence.cli.options import (
    DEFAULT_RUNS,
    Function,
    NameOfRun,
    Quiet,
    Runs,
    Threads,
    largest_model,
    run_path,
    say_loading,
)
from influence.errors import StudyError, unsaid
from influence.threads import set_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from influence.live import Live
    from influence.run import Run

SAID = ("label", "prediction", "confidence", "loss", "title", "text")
"""Columns of a stored query that are printed where it has them."""


def query(
    run: NameOfRun,
    identity: Annotated[
        int | None, typer.Option("--id", help="A query of the run: its stored scores are read, nothing is computed.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="A new text.")] = None,
    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="A new picture.")] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="With --completion, of a finetuned language model.")
    ] = None,
    completion: Annotated[str | None, typer.Option("--completion", help="What is explained, after --prompt.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Only examples of this stage; default all.")] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=100_000, help="So many of each sign.")] = 10,
    of_class: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME", help="Explain the loss of this class; default the true one, else what is said."
        ),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="Of what is printed.")] = Form.table,
    study: Function = None,
    runs: Runs = DEFAULT_RUNS,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Print the training examples that made a prediction right or wrong: the strongest of each stage.

    A query of the run is looked up by its id. A new text, picture or completion is computed with the run's models.
    """
    given = {"--id": identity, "--text": text, "--image": image, "--prompt and --completion": prompt or completion}
    asked = [option for option, value in given.items() if value is not None]
    if len(asked) != 1 or (prompt is None) != (completion is None):
        raise StudyError(f"Say one of {', '.join(given)}; given: {', '.join(asked) or 'none'}.")
    opened = influence.run.Run.open(run_path(run, runs))
    stages = [opened.stage(stage).name] if stage else opened.stages
    if identity is not None and of_class is None:
        explanation = _stored(opened, identity, stages, top)
    else:
        influence.run.asked_of(opened, study)  # refused before PyTorch is loaded
        say_loading(quiet)
        set_threads(largest_model(opened), threads)
        live = influence.live.Live(opened, study)
        new = (prompt, completion) if prompt is not None else text if image is None else image
        explanation = _computed(live, identity, new, of_class, stages, top)
    print_explanation(explanation, form)


def _stored(run: Run, identity: int, stages: Sequence[str], top: int) -> Explanation:
    position = influence.run.position_of(run, identity)
    scores = influence.run.stored_scores(run, position, stages)
    row = run.queries().iloc[position]
    says = {name: plain(row[name]) for name in ("id", *SAID) if name in row}
    says["explained"] = run.manifest.measure
    units = {each: run.unit(run.methods(each)[0], each) for each in scores}
    why = [reason for each in scores for reason in run.order_only(run.methods(each)[0], each)]
    why += _slopes(run, scores)
    return Explanation(says, influence.run.strongest(run, scores, top), units, _once([*why, *run.manifest.warnings]))


def _computed(
    live: Live, identity: int | None, new: Any, of_class: str | None, stages: Sequence[str], top: int
) -> Explanation:
    says: dict[str, Any] = {}
    if identity is None:
        read = live.read(_question(live, new))
        item, notes = read.item, list(read.notes)
        if isinstance(read.shown, str):
            says["text"] = read.shown
    else:
        position = influence.run.position_of(live.run, identity)
        row, item, notes = live.run.queries().iloc[position], live.stored(position), []
        says = {name: plain(row[name]) for name in ("id", "label", "title", "text") if name in row}
    if live.classes or of_class:
        said = live.predict(item)
        target: Any = influence.live.Contrast(of_class or said.prediction)
        says |= {"prediction": said.prediction, "confidence": float(said.probabilities.max()), "explained": target.of}
    else:
        target = influence.live.Span()  # all of it
        says |= {"loss": live.losses(item).loss, "explained": live.run.manifest.measure}
    found = live.scores(item, target)
    scores = {stage: found[stage] for stage in stages if stage in found}
    lost = live.order_only
    units = {each: influence.run.ORDER_ONLY if lost else live.run.unit(_method(live.run), each) for each in scores}
    told = live.run.manifest.warnings
    warnings = _once([*notes, *lost, *_slopes(live.run, scores), *unsaid(live.warnings, told), *told])
    return Explanation(says, influence.run.strongest(live.run, scores, top), units, warnings)


def _slopes(run: Run, stages: Iterable[str]) -> list[str]:
    """What the scores of each stage, which are printed as stored, are to be multiplied by, where that was measured."""
    slopes = {stage: influence.run.slope_of(run, _method(run), stage) for stage in stages}
    return [f"{stage}, printed as stored: {slope.words}" for stage, slope in slopes.items() if slope]


def _method(run: Run) -> str:
    return run.manifest.default_method


def _question(live: Live, new: Any) -> Any:
    """What is asked, as the run's study reads it.

    Raises:
        StudyError: it takes questions of another form, or the picture cannot be read.
    """
    forms = {
        influence.live.TEXT: "--text",
        influence.live.PICTURE: "--image",
        influence.live.DRAWING: "--image",
        influence.live.COMPLETION: "--prompt and --completion",
    }
    given = "--image" if isinstance(new, Path) else "--text" if isinstance(new, str) else "--prompt and --completion"
    takes = forms.get(live.form)
    if live.form and takes != given:
        raise StudyError(f"Run {live.run.name} is asked with {takes or 'another form of question'}, not with {given}.")
    return influence.live.open_picture(new, largest=influence.live.UPLOAD_PIXELS) if isinstance(new, Path) else new


def _once(sentences: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(sentences))
