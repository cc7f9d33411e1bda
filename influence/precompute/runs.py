"""Runs of several exhibits: what they need, which are there already, and the computation of the others."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from influence.attribution.guards import usable
from influence.attribution.memory import with_smaller_batches
from influence.derivatives.modes import callers_modes_off
from influence.engine import Engine, engine_of
from influence.engine.choice import HERE
from influence.errors import RunError, StudyError
from influence.precompute.needs import (
    Need,
    need_of,
    refuse_what_cannot_be_solved,
    refuse_what_cannot_fit,
)
from influence.precompute.seeds.trainings import starts_of
from influence.precompute.steps import Shared, Steps
from influence.progress import Progress
from influence.run.draft import discard_work
from influence.run.files import JOURNAL_FILE, refuse_name
from influence.run.manifest import read_manifest
from influence.run.plain import refuse_odd_entries
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit


@callers_modes_off()
def precompute(
    exhibits: Sequence[Exhibit],
    names: Sequence[str],
    root: str | Path,
    *,
    device: torch.device | str = "cpu",
    progress: bool = True,
    announce: Callable[[str, Need], None] | None = None,
    engine: str | Engine = HERE,
    keep: str = "",
) -> list[Run]:
    """Compute a run of each exhibit under `root`; exhibits that share a `Stage` object share its work.

    A run that is there already with the same settings is opened, not computed again; one that was interrupted is
    resumed after its last finished step, scores after their last finished chunk. A run can be opened as soon as its
    models, tables and scores are there; its other parts are added to it one by one.

    Args:
        exhibits: what to compute.
        names: of their runs, as many.
        root: folder of the runs.
        device: where to compute.
        progress: show bars with time left.
        announce: called with the name of each run that is not there yet and what it needs, before any is computed.
        engine: who computes: "here", this process; "ray" or "ray://HOST:PORT", the workers of a Ray cluster (see
            `influence.engine.engine_of`); or an engine such as `OnRay(workers=8)`. With as many threads a worker as
            this process has, the runs are the same to the last byte.

        keep: which scores: "all", "strongest:1000" (see `Exhibit.keep`); "" leaves what each exhibit says.

    Raises:
        EngineError: the engine cannot be had, a worker is unlike this process, or a piece ended several.
        RunError: a run of that name exists with other settings, `root` cannot be written or lacks the space.
        MethodError, CurvatureError: an exhibit's method, curvature or damping cannot be, or the device.
        StudyError: an exhibit of several seeds is one whose models came trained; or `keep` cannot be.
    """
    exhibits = [dataclasses.replace(exhibit, keep=keep) for exhibit in exhibits] if keep else exhibits
    crew = engine_of(engine) if isinstance(engine, str) else engine
    refuse_seeds_of_trained_models(exhibits)
    for name, need in examine(exhibits, names, root, device).items():
        if announce:
            announce(name, need)
    # All are looked for before any is computed: what would be refused is refused at once.
    found = [existing(Path(root) / name, exhibit) for exhibit, name in zip(exhibits, names, strict=True)]
    shared = Shared()
    for exhibit in exhibits:
        if exhibit.seeds > 1:
            shared.starts |= starts_of(exhibit.study)  # before any of them is trained, in place
    runs = []
    with Progress(visible=progress) as bars, contextlib.ExitStack() as stack:
        for name, there in zip(names, found, strict=True):
            bars.run(name, readable=there is not None)
        if crew and not all(found):
            with bars.step("Reaching the cluster"):
                stack.enter_context(crew)
            bars.say(f"Workers: {crew.workers}, threads of each: {crew.threads}.")
        for exhibit, name, there in zip(exhibits, names, found, strict=True):
            steps = partial(Steps, exhibit, name, Path(root), usable(device), bars, shared, engine=crew)
            run = there or _computed(steps, shared)
            shared.runs.append((exhibit.study.stages[0], run))
            runs.append(run)
    return runs


@callers_modes_off()
def examine(
    exhibits: Sequence[Exhibit], names: Sequence[str], root: str | Path, device: torch.device | str = "cpu"
) -> dict[str, Need]:
    """What the runs that are not there yet will need, by name; what cannot be computed is refused.

    Raises:
        MethodError, CurvatureError: an exhibit's method, curvature or damping cannot be, or the device.
        RunError: a name cannot be a folder's, or the disk or the memory lacks the space.
    """
    for name in names:
        refuse_name(name, "a run's")
    usable(device)
    needs = {name: need_of(exhibit) for exhibit, name in zip(exhibits, names, strict=True)}
    for exhibit, need in zip(exhibits, needs.values(), strict=True):
        refuse_what_cannot_be_solved(exhibit, need)
    missing = {name: need for name, need in needs.items() if not (Path(root) / name).exists()}
    refuse_what_cannot_fit(missing, Path(root))
    return missing


def existing(folder: Path, exhibit: Exhibit) -> Run | None:
    """The run at `folder`, verified, if it was computed with the exhibit's settings; None if it is not complete.

    Raises:
        RunError: there is one with other settings, a damaged one, or one that cannot be completed.
    """
    if not folder.exists():
        return None
    there, wanted = read_manifest(folder).settings, json.loads(json.dumps(exhibit.all_settings))
    if there != wanted:
        other = next(key for key in {**there, **wanted} if there.get(key) != wanted.get(key))
        raise RunError(
            f"Run {folder} exists with other settings: {other} is {there.get(other)!r}, asked for "
            f"{wanted.get(other)!r}. "
            "Choose another --name, or delete that folder."
        )
    run = Run.open(folder)
    if run.pending and not (folder / JOURNAL_FILE).is_file():
        run = Run.open(folder)  # the process that computes it may have finished while its files were verified
    if run.pending and not (folder / JOURNAL_FILE).is_file():
        raise RunError(
            f"Run {folder} lacks {', '.join(run.pending)}, and journal.jsonl, which says how to go on. Delete the "
            "folder and compute it again."
        )
    if run.pending:
        return None
    if (folder / JOURNAL_FILE).is_file():
        refuse_odd_entries(folder)
        discard_work(folder)  # a process was killed between its last write and this
    return run


def _computed(steps: Callable[[int], Steps], shared: Shared) -> Run:
    """The run of one exhibit; where memory runs out it goes on from its last finished step, with smaller batches.

    Args:
        steps: halvings of the batches -> the steps of the run.
        shared: what they share with other runs.
    """

    def compute(halvings: int) -> Run:
        if halvings:
            shared.solvers.clear()  # they have batches of the size that was too large
        return steps(halvings).run()

    return with_smaller_batches(compute)


def refuse_seeds_of_trained_models(exhibits: Sequence[Exhibit]) -> None:
    """Raise StudyError if models that came trained, or begin at given weights, are asked for from other seeds."""
    for exhibit in exhibits:
        if exhibit.seeds > 1 and (not exhibit.train or (exhibit.asked.get("options") or {}).get("weights")):
            raise StudyError(
                f"--seeds is {exhibit.seeds}, but the models of study {exhibit.study.name!r} come trained or begin at "
                "given weights; other seeds need a random start. Leave --seeds out, or use attribute([study, ...])."
            )
