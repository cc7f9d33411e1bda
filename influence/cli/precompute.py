"""`upstream precompute`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import influence.attribution
import influence.engine
import influence.precompute
import influence.studies
from influence.cli.console import say
from influence.cli.options import (
    DEFAULT_RUNS,
    EngineName,
    GpusPerWorker,
    Quiet,
    Runs,
    Seed,
    Threads,
    Workers,
    say_loading,
    told,
)
from influence.errors import StudyError, UpstreamError
from influence.studies.texts.options import TextOptions
from influence.threads import set_threads

if TYPE_CHECKING:
    from influence import Exhibit, Run
    from influence.engine import Engine
    from influence.precompute import Need

WORKERS = 2, 8, 32
"""Of which a dry run says how long they take, if no number is asked for."""
Name = Annotated[str | None, typer.Option("--name", help="Beginning of the runs' names; default the study's name.")]


def precompute(
    study: Annotated[
        str | None,
        typer.Argument(help="Name of a built-in study (`upstream studies` lists them), or FILE.py:FUNCTION."),
    ] = None,
    images: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(
            "--images",
            metavar="PRETRAIN FINETUNE TEST",
            help="Instead of a study: three folders, each with a folder of pictures per class; or tar files "
            "('shards/*.tar'). TEST has classes of FINETUNE.",
        ),
    ] = None,
    texts: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(
            "--texts",
            metavar="PRETRAIN FINETUNE TEST",
            help="Instead of a study: three files of texts (.csv, .tsv, .parquet, .jsonl; PRETRAIN also .txt), or "
            "folders or quoted patterns of such ('texts/*.csv'). FINETUNE and TEST have labels.",
        ),
    ] = None,
    models: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--models",
            metavar="PRETRAINED FINETUNED",
            help="Before --texts or --images: the models that were trained on them, folders of transformers or peft "
            "(of pictures with --arch also state dicts). Nothing is trained.",
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="Of models whose class does not tell: causal, masked, classification, token-classification.",
        ),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="Network of state dicts: resnet18 (of torchvision) or timm:NAME.")
    ] = None,
    frozen: Annotated[
        list[str] | None,
        typer.Option("--frozen", metavar="PATTERN", help="Of models: parameters that the finetuning did not train."),
    ] = None,
    inherits: Annotated[
        list[str] | None,
        typer.Option("--inherits", metavar="HERE=THERE", help="Of models: a parameter that came from another name."),
    ] = None,
    new: Annotated[
        list[str] | None,
        typer.Option("--new", metavar="PATTERN", help="Of models: parameters that the finetuning began anew."),
    ] = None,
    proximity: Annotated[
        float | None, typer.Option("--proximity", min=0.0, help="Of models: of what was inherited and trained.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option("--text-column", metavar="NAME", help="Column or key of the texts; default text.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", metavar="NAME", help="Of their classes; default label.")
    ] = None,
    prompt_column: Annotated[
        str | None, typer.Option("--prompt-column", metavar="NAME", help="Of what texts complete; default prompt.")
    ] = None,
    pair_column: Annotated[
        str | None, typer.Option("--pair-column", metavar="NAME", help="Of second texts; default pair, if there.")
    ] = None,
    title_column: Annotated[
        str | None, typer.Option("--title-column", metavar="NAME", help="Of titles to show; default title, if there.")
    ] = None,
    source_column: Annotated[
        str | None, typer.Option("--source-column", metavar="NAME", help="Of where from; default source, if there.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=2, help="At most so many texts of each file, drawn by the seed.")
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option("--vocabulary", min=4, help=f"Words that are known; default {TextOptions.vocabulary}.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option("--context", min=2, help=f"Tokens that are read; default {TextOptions.context}."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where the data of cifar10 or fashion is.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help='"cnn" (default), or a classifier of torchvision, e.g. resnet18.')
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="safetensors file to start from; default random.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=8, max=1024, help="Side in pixels; default 32.")
    ] = None,
    finetuning: Annotated[
        str | None,
        typer.Option(
            "--finetuning", help="Backbone in finetuning: frozen, updated or both; default both, of definitions frozen."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the pictures, or the texts.")
    ] = None,
    l2: Annotated[
        list[str] | None,
        typer.Option(
            "--l2",
            metavar="NUMBER",
            help="l2 term; of texts, to pretrain. Of models also PATTERN=NUMBER, and STAGE: before either.",
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option("--queries", min=1, help="At most so many test examples, drawn by the seed.")
    ] = None,
    sentence_model: Annotated[
        Path | None,
        typer.Option(
            "--sentence-model", metavar="DIR", help="Of texts: a sentence-transformers model for map and nearest."
        ),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help="`upstream methods` lists them.")] = None,
    damping: Annotated[float | None, typer.Option("--damping", help="Added to every stage's curvature.")] = None,
    curvature: Annotated[str | None, typer.Option("--curvature", help="ggn or hessian.")] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, max=100, help="Trainings that scores are means over; default 1.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="all|strongest:K",
            help="Which scores a run keeps: all, or of each query the K most helpful and K most harmful, with sums "
            "over all and all of a random sample. Default: all up to 8 GB a method, else strongest:1000.",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where to compute, e.g. cuda.")] = "cpu",
    runs: Runs = DEFAULT_RUNS,
    name: Name = None,
    seed: Seed = None,
    threads: Threads = None,
    engine: EngineName = "here",
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = 0,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would need.")] = False,
) -> None:
    """Train a study's models, score its examples, and write runs.

    Every training example is scored against every test prediction.

    An interrupted computation resumes where it stopped when the same command is given again.
    """
    options: dict[str, Any] = {
        "data": data,
        "finetuning": finetuning,
        "l2": _l2(l2, models),
        "epochs": epochs,
        "queries": queries,
    }
    options |= {"model": model, "weights": weights, "size": image_size}
    options |= {"vocabulary": vocabulary, "context": context, "sample": sample, "sentence_model": sentence_model}
    options |= {"text_column": text_column, "label_column": label_column}
    options |= {"title_column": title_column, "source_column": source_column}
    options |= {"prompt_column": prompt_column, "pair_column": pair_column, "objective": objective, "arch": arch}
    options |= {"frozen": frozen or None, "inherits": inherits or None, "new": new or None, "proximity": proximity}
    solving: dict[str, Any] = {"method": method, "damping": damping, "curvature": curvature}
    say_loading(quiet or dry_run)
    influence.precompute.check_solver(**solving)
    solving |= {"seeds": seeds, "keep": keep}
    influence.attribution.usable(device)
    crew = influence.engine.engine_of(engine, workers=workers, threads=threads, gpus_per_worker=gpus_per_worker)
    exhibits = influence.studies.exhibits_for(study, images, texts, seed, options, solving, models, say)
    for run in compute(exhibits, runs, name, device, threads, quiet, dry_run, crew):
        say(f"Finished: {run.path}")
        for line in told(run):
            say(line, err=True)
    if not dry_run:
        say("Look at them with `upstream explore`.")


def _l2(values: list[str] | None, models: tuple[Path, Path] | None) -> float | list[str] | None:
    """Of models, as it is given; of other studies one number."""
    if models is not None or not values:
        return values or None
    try:
        (value,) = map(float, values)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise StudyError(f"--l2 is {' '.join(values)!r}, expected one number that is not negative.")
    return value


def compute(
    exhibits: list[Exhibit],
    runs: Path,
    name: str | None,
    device: str,
    threads: int | None,
    quiet: bool,
    dry_run: bool = False,
    engine: Engine | None = None,
) -> list[Run]:
    """Say what the runs of the exhibits will need, and compute them unless it is only said."""
    threads = engine.threads if engine else threads  # with others, this process would round otherwise
    models = [stage.model for exhibit in exhibits for stage in exhibit.study.stages]
    set_threads(max(sum(p.numel() for p in model.parameters()) for model in models), threads)
    names = ["-".join(filter(None, (name or exhibit.study.name, exhibit.variant))) for exhibit in exhibits]
    if dry_run:
        _say_needs(exhibits, names, runs, device, engine)
        return []
    return influence.precompute.precompute(
        exhibits, names, runs, device=device, progress=not quiet, announce=None if quiet else _announce,
        engine=engine or "here",
    )  # fmt: skip


def _say_needs(exhibits: list[Exhibit], names: list[str], runs: Path, device: str, engine: Engine | None) -> None:
    """Disk by the sizes, time and memory by a rehearsal, of the runs that are not there yet."""
    needs = influence.precompute.examine(exhibits, names, runs, device)
    missing = [exhibit for exhibit, name in zip(exhibits, names, strict=True) if name in needs]
    say("A rehearsal on samples of the data tells time and memory.", err=True)
    try:
        forecasts = influence.precompute.rehearse(missing, list(needs), device) if missing else {}
        said = {name: forecast.lines() for name, forecast in forecasts.items()}
        if engine:
            counts = (engine.workers,) if engine.workers > 1 else WORKERS
            for name, forecast in forecasts.items():
                said[name].append(forecast.line_of_workers(counts))
    except UpstreamError as error:
        said = {name: [f"  time and memory are not known, since the rehearsal failed: {error}"] for name in needs}
    for name, need in needs.items():
        for line in (*need.lines(name), *said[name]):
            say(line)
        if (seeds := exhibits[names.index(name)].seeds) > 1:
            say(f"  this is of one training; --seeds {seeds} trains and scores {seeds} times")


def _announce(run: str, need: Need) -> None:
    for line in need.lines(run):
        say(line, err=True)
