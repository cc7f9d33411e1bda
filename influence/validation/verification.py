"""`verify`: the exact derivative of one query through the trainings of all stages, beside the list that the run has.

No minimum is assumed. A run keeps no recording: its recipe, its seed and its data determine the training, which is
repeated and recorded, and must end where the run's did. A derivative says little where training is not smooth: so the
strongest example by it, and that by the run's scores, are really left out, too.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from influence.attribution.replay import replay
from influence.errors import RunError, TrainingError
from influence.progress import Progress
from influence.run.additions import add_tables
from influence.run.files import retrainings_locked
from influence.run.kept.scores import StageScores
from influence.run.lists.strongest import position_of
from influence.run.measured.replayed import VERIFIED, Replayed, by_steps, replayed
from influence.run.reading import Run
from influence.study.copies import copied, put
from influence.study.stage import Stage
from influence.training.recording import Recording, record
from influence.validation.bench import Bench, bench_of
from influence.validation.statistics import overlap, spearman

MAX_DRIFT = 1e-2
"""Largest distance of the repeated training's end from the run's parameters, as a share of the way."""
LIST_LENGTH = 10


def verify(
    run: Run,
    query: int,
    *,
    stage: str | None = None,
    function: str | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Run:
    """Replay one query's derivative through the trainings of all stages, and add it to the run's table `verified`.

    Args:
        run: a finished run, a stage of which was trained by the steps of a recipe.
        query: id of the query.
        stage: whose examples; default the first (pretraining).
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to train; the run's own, since others round differently.
        progress: show bars with time left.

    Returns:
        The run, read again. A query that the table already has is not computed again.

    Raises:
        RunError: there is no such query; the stage was trained to a minimum, so that there are no steps to replay; or
            the run's study cannot be made again.
        TrainingError: a training cannot be repeated: the models came trained, or it ends elsewhere than the run's; or
            its derivative is not finite.
    """
    name, position = run.stage(stage or run.stages[0]).name, position_of(run, query)
    if replayed(run, name, position) is not None:
        return run
    with retrainings_locked(run.path), Progress(visible=progress) as bars:
        began = time.perf_counter()
        with bars.step("Reading the study"):
            bench = bench_of(run, name, function=function, device=device)
            minima = [each for each in run.stages if not by_steps(run, each)]
        if not bench.retrainer.starts:
            raise TrainingError(
                f"The models of run {run.name} came trained: how their training went is not known, so it cannot be "
                "repeated. Leave the list's strongest examples out instead, `upstream leave-out`."
            )
        if name in minima:
            raise RunError(
                f"Stage {name!r} of run {run.name} was trained full batch, towards a minimum: there are no steps to "
                "replay. Leave the list's strongest examples out instead, `upstream leave-out`: it trains on to the "
                "minimum without them."
            )
        recordings, drift = _repeated(bench, minima, bars)
        study = bench.retrainer.study_at(_parameters(bench, recordings))
        for recording in recordings:
            recording.stage = study.stages[study.position(recording.stage.name)]
        with bars.step("Replaying the query's derivative through the steps"):
            found = replay(study, recordings, stage=name, queries=[position], minima=minima, device=device)
        scores = found.scores[name][0].numpy().astype(np.float32)
        row = {
            "stage": name,
            "query": np.int32(position),
            "seconds": np.float32(time.perf_counter() - began),
            "drift": np.float32(drift),
            "scores": scores,
        }
        with bars.step("Training again without the strongest example of either list", total=3) as bench.bar:
            row |= _really(bench, position, [scores, bench.scores[position]])
        old = Run.open(run.path).validation(VERIFIED)
        new = pd.DataFrame([row])
        return add_tables(run, {VERIFIED: new if old is None else pd.concat([old, new], ignore_index=True)})


def _really(bench: Bench, position: int, lists: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The strongest example of each list, and how one query's loss changed when it was left out, from scratch."""
    examples = [int(np.abs(scores).argmax()) for scores in lists]
    changes = [bench.change_without([example], "scratch") for example in examples]
    measured = [change[position] for change in changes if change is not None]  # without a limit of time there are all
    return {"examples": np.array(examples, np.int32), "measured": np.array(measured, np.float32)}


def sentence(run: Run, stage: str, position: int, found: Replayed) -> str:
    """How the run's list of a query agrees with the replayed one."""
    own = StageScores(run, stage, run.methods(stage)[0]).row(position)
    there = np.isfinite(own)
    k = min(LIST_LENGTH, int(there.sum()) // 2)
    pair = own[there][None], found.scores[there][None]
    ranks, shared = spearman(*pair)[0], overlap(*pair, k)[0]
    ids, over = run.examples(stage)["id"].to_numpy(), "all" if there.all() else "the kept scores of"
    really = "; ".join(
        f"without #{ids[example]} the loss changed by {measured:+.3g} nats (replayed {found.scores[example]:+.3g}, in "
        f"the list {own[example]:+.3g})"
        for example, measured in found.measured.items()
    )
    return (
        f"Replayed through the steps of the trainings: rank correlation with the run's list {ranks:.2f} over "
        f"{over} {int(there.sum()):,} examples; of its {k} strongest of either sign {shared:.0%} are among the "
        f"replayed ones'. "
        f"Really trained again: {really}."
    )


def _repeated(bench: Bench, minima: list[str], bars: Progress) -> tuple[list[Recording], float]:
    """The recordings of all stages but the `minima`, from the stage on the bench to the last; and the largest drift.

    Raises:
        TrainingError: one ends elsewhere than the run's.
    """
    recordings: list[Recording] = []
    drifts, retrainer = [0.0], bench.retrainer
    before: Recording | Stage | None = None
    for objective in retrainer.objectives:
        stage = objective.stage
        if stage.name in minima or bench.study.position(stage.name) < bench.study.position(bench.stage):
            before = stage
            continue
        model = copied(stage.model)
        put(model, retrainer.starts[stage.name])
        begun = dataclasses.replace(stage, model=model)
        with bars.step(f"Training {stage.name} again, recorded", total=1) as bar:
            done = record(begun, before, retrainer.recipes[stage.name], device=objective.device, report=bar.at)
        drift = _drift(done, objective.parameters)
        if drift > MAX_DRIFT:
            raise TrainingError(
                f"The training of stage {stage.name!r} cannot be repeated: this one ended {drift:.1%} of its way from "
                f"where the run's ended, at most {MAX_DRIFT:.0%} is rounding. The run was computed on another machine, "
                "with other threads or another version; compute it again with `upstream precompute`, then verify."
            )
        before = done
        recordings.append(done)
        drifts.append(drift)
    return recordings, max(drifts)


def _drift(recording: Recording, ends: dict[str, Tensor]) -> float:
    """Distance of where a recording ended from the parameters `ends`, as a share of the way that it went."""
    names = [name for name in (*recording.groups.held, *recording.groups.new) if name in ends]
    here, there, begin = (
        torch.cat([values[name].detach().double().flatten().cpu() for name in names])
        for values in (recording.parameters, ends, recording.start)
    )
    return float((here - there).norm() / (here - begin).norm().clamp(min=1e-30))


def _parameters(bench: Bench, recordings: list[Recording]) -> list[dict[str, Tensor]]:
    """Every stage's parameters: of its recording, or the run's with what it inherits from the recording before."""
    known = {recording.stage.name: recording.parameters for recording in recordings}
    found: list[dict[str, Tensor]] = []
    for objective in bench.retrainer.objectives:
        own = {name: value.cpu() for name, value in objective.parameters.items()}
        inherited = {here: found[-1][there] for here, there in objective.groups.inherited.items()} if found else {}
        found.append(known.get(objective.stage.name, {**own, **inherited}))
    return found
