"""Time and memory of runs, forecast by a rehearsal: their steps are taken on samples of the data, and extrapolated.

A step's time is fixed plus proportional in its examples, and so in its queries. Rehearsals on a small sample, on one
with more examples and on one with more queries tell these parts. The very first also loads libraries, once.

Samples are timed in processor time, which other processes disturb little. The rehearsal as a whole tells how much of
it a second on the wall is, by the threads and by what else the machine does.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Subset

from influence.attribution.memory import VECTOR_COPIES
from influence.attribution.report import peak_memory
from influence.curvature import method_named
from influence.curvature.iterative import Iterative
from influence.derivatives import Objective
from influence.derivatives.batch_size import widen
from influence.derivatives.batches import spans
from influence.derivatives.first.gradients import objective_gradient
from influence.derivatives.modes import callers_modes_off
from influence.derivatives.objective import objectives_of
from influence.precompute.embedding import embedded, map_of
from influence.precompute.forecasts.forecast import Forecast, growth
from influence.precompute.forecasts.sample import sampled
from influence.precompute.needs import VECTOR_BYTES, methods_of, need_of
from influence.precompute.pieces.query_block import query_blocks
from influence.precompute.pieces.scores import scores_of
from influence.precompute.pieces.self_influence import MAX_SOLVES
from influence.precompute.shares import SCORES_SPLIT
from influence.precompute.steps import Shared, Steps
from influence.progress import Progress
from influence.run.plain import bytes_in
from influence.studies.exhibit import Exhibit, recipe_of
from influence.study.parameters import groups_of, size_of
from influence.study.stage import Stage
from influence.training.fitting import fit
from influence.training.minimum import STEPS_PER_ROUND, fit_stage
from influence.training.recipe import Recipe

PASS_SECONDS = 0.3
"""What a pass over the larger sample may take. A rehearsal takes tens of passes."""
BATCHES = 4
"""Batches of a stage that are enough for the larger sample."""
LEAST = 8
"""Examples of a stage in the larger sample, at least."""
QUERY_NUMBERS = 10_000_000
"""Numbers in the vectors of the sample's queries, about."""
MOST_QUERIES = 512
"""Queries of the larger sample, at most."""
SMALLER = 4
"""How many times smaller the small sample is."""
BATCH_STEPS = 2, 2, 12
"""Steps of mini-batch trainings that are timed: the first sets things up, the others tell what a step takes."""
STEPS_TO_MINIMUM = 150
"""Steps that a training to a minimum is taken to need. It ends by its gradient; the digits' took 54 and 156."""
MAPPED = 16, 300, 1200
"""Random vectors that are mapped: a few to load what the map needs, then two numbers to compare."""
OF_NO_QUERY = ("curvature", "self-influence")
"""How the names of steps begin that take as long for any number of queries."""
MAP_STEP, WRITING = "map of the embedding", "tables and files"
"""Steps: the map's, and what lies between those that a manifest has the time of."""

Apart = Mapping[str, Mapping[str, float]]
"""Run -> step -> seconds of processor time, of steps that are timed otherwise."""


@dataclass(frozen=True)
class _Taken:
    """A run of a sample: seconds of processor time by step, and bytes on disk without the scores."""

    sample: Exhibit
    seconds: Mapping[str, float]
    stored: int


@callers_modes_off()
def rehearse(
    exhibits: Sequence[Exhibit], names: Sequence[str], device: torch.device | str = "cpu"
) -> dict[str, Forecast]:
    """What each of the runs will take, by name; runs of exhibits that share a stage share its work.

    Everything is computed in a folder that is deleted. The models stay as they are.

    Raises:
        UpstreamError: a step cannot be computed, at least not on the samples.
    """
    began, wall, device = time.process_time(), time.perf_counter(), torch.device(device)
    share, least, lower = _share(exhibits, device), LEAST, LEAST // SMALLER
    if any(issubclass(method_named(exhibit.method), Iterative) for exhibit in exhibits):
        least = lower = MAX_SOLVES + 1  # with fewer examples they would get the self-influence, a solve for each
    widest = max(size_of(stage, before).whole for e in exhibits for before, stage in e.study.pairs())
    asked = max(4, min(MOST_QUERIES, QUERY_NUMBERS // widest))
    fewer = max(2, asked // SMALLER)
    low = sampled(exhibits, share / SMALLER, lower, fewer)
    middle, high = (sampled(exhibits, share, least, queries) for queries in (fewer, asked))
    apart = _training(exhibits, names, (low, high), device), _maps(exhibits, names, high, device)
    runs = zip(*(_taken(samples, device) for samples in (low, low, middle, high)), strict=True)
    pace = (time.perf_counter() - wall) / (time.process_time() - began)
    found = {}
    for name, exhibit, taken in zip(names, exhibits, runs, strict=True):
        seconds = _seconds(exhibit, *taken) | {
            step: spent for steps in apart for step, spent in steps.get(name, {}).items()
        }
        found[name] = Forecast(
            {step: pace * spent for step, spent in seconds.items()},
            pace,
            peak_memory() + _further(exhibit, len(taken[-1].sample.study.queries)),
            _stored(exhibit, *taken[1:]),
            _extent(taken[-1].sample, exhibit),
            _pieces(exhibit, seconds, device),
        )
    return found


def _seconds(exhibit: Exhibit, once: _Taken, small: _Taken, large: _Taken, largest: _Taken) -> dict[str, float]:
    """Processor time of the steps of the exhibit's run."""
    found, methods = {}, {*methods_of(largest.sample)} - {*methods_of(exhibit)}
    whole = small.sample, largest.sample, exhibit
    queries = [len(each.study.queries) for each in whole]
    for step, spent in largest.seconds.items():
        if any(step.endswith(f"({method})") for method in methods):
            continue  # what a run without many examples also has
        times = growth(small.seconds[step], large.seconds[step], [_examples(each, step) for each in whole])
        if not step.startswith(OF_NO_QUERY):
            times *= growth(large.seconds[step], spent, queries)
        found[step] = spent * times + max(0.0, once.seconds[step] - small.seconds[step])
    return found


def _stored(exhibit: Exhibit, small: _Taken, large: _Taken, largest: _Taken) -> int:
    """Bytes of the exhibit's finished run: the scores by their shape, the rest by its growth."""
    found = float(largest.stored)
    for one, other, count in ((small, large, _examples), (large, largest, _queries)):
        low, high = count(one.sample), count(other.sample)
        if high > low:
            found += (other.stored - one.stored) / (high - low) * (count(exhibit) - high)
    return need_of(exhibit).scores + int(found)


def _extent(sample: Exhibit, exhibit: Exhibit) -> str:
    parts = ((f"{count(sample):,} of {count(exhibit):,}") for count in (_examples, _queries))
    return "{} examples and {} queries".format(*parts)


def _pieces(exhibit: Exhibit, steps: Iterable[str], device: torch.device) -> dict[str, int]:
    """Step -> the pieces that it is computed in, of steps with several."""
    objectives = [Objective(stage, groups_of(stage, before), device=device) for before, stage in exhibit.study.pairs()]
    queries, counts = len(exhibit.study.queries), dict[str, int]()
    for method in methods_of(exhibit):
        # The first block is the driver's.
        counts[f"pulling queries back ({method})"] = len(query_blocks(objectives, method, queries)) - 1
        for objective in objectives:
            stage = objective.stage.name
            counts[f"scoring {stage} ({method})"] = len(scores_of(objective, method, queries))
            counts[f"self-influence of {stage}"] = len(spans(objective.count, objective.all.size))
    return {step: count for step, count in counts.items() if count > 1 and step in steps}


def _share(exhibits: Sequence[Exhibit], device: torch.device) -> float:
    """The share (0..1) of the examples that the larger sample has."""
    stages = {id(stage): (before, stage) for e in exhibits for before, stage in e.study.pairs()}
    seconds, share = 0.0, 1.0
    for before, stage in stages.values():
        objective = Objective(stage, groups_of(stage, before), device=device)
        widen([objective])
        seconds += objective.count * _seconds_an_example(objective, before)
        share = min(share, max(BATCHES * objective.batch_size, LEAST) / objective.count)
    return min(share, PASS_SECONDS / seconds)


def _seconds_an_example(objective: Objective, previous: Stage | None) -> float:
    """Of a forward and a backward pass over a batch, or over as many of its examples as are quick enough."""
    before = dict(previous.model.named_parameters()) if previous else {}
    count, spent = 0, 0.0
    while count < min(objective.batch_size, objective.count) and spent < PASS_SECONDS / SMALLER:
        # The first two are of one size: the first pass also sets things up.
        count = min(count * SMALLER if spent else 2, objective.batch_size, objective.count)
        for _ in range(1 if spent else 2):
            some = Subset(objective.stage.data, range(count))
            began = time.process_time()
            objective_gradient(objective.with_stage(dataclasses.replace(objective.stage, data=some)), before)
            spent = time.process_time() - began
    return spent / count


def _taken(samples: Sequence[Exhibit], device: torch.device) -> list[_Taken]:
    """Runs of the samples, without training."""
    found = []
    shared = Shared()
    with tempfile.TemporaryDirectory() as folder, Progress(visible=False, clock=time.process_time) as bars:
        for i, sample in enumerate(samples):
            began = time.process_time()
            run = Steps(sample, f"rehearsal-{i}", Path(folder), device, bars, shared, 0).run()
            steps = defaultdict(float, run.manifest.timings)
            steps[WRITING] = max(0.0, time.process_time() - began - sum(steps.values()))
            shared.runs.append((sample.study.stages[0], run))
            found.append(_Taken(sample, steps, bytes_in(run.path) - bytes_in(run.path / "scores")))
    return found


def _first_seen(
    exhibits: Sequence[Exhibit], names: Sequence[str], samples: Sequence[Exhibit]
) -> Iterator[tuple[str, Exhibit, Exhibit, int]]:
    """(run, exhibit, sample, position of a stage) of every stage, where it is met for the first time."""
    seen: set[int] = set()
    for name, exhibit, sample in zip(names, exhibits, samples, strict=True):
        for position, stage in enumerate(exhibit.study.stages):
            if id(stage) not in seen:
                seen.add(id(stage))
                yield name, exhibit, sample, position


def _training(
    exhibits: Sequence[Exhibit],
    names: Sequence[str],
    samples: tuple[Sequence[Exhibit], Sequence[Exhibit]],
    device: torch.device,
) -> Apart:
    """What training takes, by some steps on the small and the large samples, whose models are trained by that."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    small, large = (dict(zip(names, of, strict=True)) for of in samples)
    for name, exhibit, _, position in _first_seen(exhibits, names, samples[1]):
        if exhibit.train:
            stage, pairs = exhibit.study.stages[position], [list(of[name].study.pairs()) for of in (small, large)]
            recipe, (previous, some) = recipe_of(exhibit, stage), pairs[1][position]
            if recipe is None:
                seconds = _to_minimum([of[position] for of in pairs], len(stage.data))
            else:
                seconds = _by_batches(some, previous, recipe, len(stage.data) / len(some.data), device)
            found[name][f"training {stage.name}"] = seconds
    return found


def _to_minimum(samples: Sequence[tuple[Stage | None, Stage]], count: int) -> float:
    """Seconds of a training to a minimum on `count` examples, by a few steps on the small and the large sample.

    What a step takes for the parameters alone does not grow with the examples.
    """
    spent = []
    for previous, stage in samples:
        began = time.process_time()
        fit_stage(stage, previous, iterations=STEPS_PER_ROUND)
        spent.append(time.process_time() - began)
    times = growth(spent[0], spent[1], [*(len(stage.data) for _, stage in samples), count])
    return spent[1] * times * STEPS_TO_MINIMUM / STEPS_PER_ROUND


def _by_batches(stage: Stage, previous: Stage | None, recipe: Recipe, times: float, device: torch.device) -> float:
    """Seconds of a training by the recipe on `times` as many examples: so much a step, and so much an example.

    A last layer alone is trained without steps, by passes over the examples.
    """
    batch = min(recipe.batch_size, len(stage.data))
    spent: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for steps in BATCH_STEPS:
            cut = dataclasses.replace(recipe, steps=steps, batch_size=batch, warmup=0)
            began = time.process_time()
            fit(stage, previous, cut, device, Path(folder) / f"{len(spent)}.checkpoint", lambda _: None)
            spent.append(time.process_time() - began)
    few, many = BATCH_STEPS[1:]
    step = max(0.0, spent[2] - spent[1]) / (many - few)
    return step * recipe.steps * recipe.batch_size / batch + max(0.0, spent[1] - few * step) * times


def _maps(exhibits: Sequence[Exhibit], names: Sequence[str], samples: Sequence[Exhibit], device: torch.device) -> Apart:
    """What the maps of the first stages' examples take: embedding them, and mapping as many vectors."""
    found: dict[str, dict[str, float]] = {}
    for name, exhibit, sample, position in _first_seen(exhibits, names, samples):
        if position == 0:
            count, draw = len(exhibit.study.stages[0].data), np.random.default_rng(0)
            spent = []
            for vectors in (draw.normal(size=(some, 16)).astype(np.float32) for some in MAPPED):
                began = time.process_time()
                map_of(vectors, vectors[:1], 0)
                spent.append(time.process_time() - began)
            began = time.process_time()
            embedded(sample, objectives_of(sample.study, device=device))
            embedding = (time.process_time() - began) * count / len(sample.study.stages[0].data)
            mapping = spent[2] * growth(spent[1], spent[2], [*MAPPED[1:], count])
            found[name] = {MAP_STEP: spent[0] + mapping + embedding}
    return found


def _examples(exhibit: Exhibit, step: str = "") -> int:
    """Examples of the stages that a step is about; all stages' if it names none."""
    stages = [stage for stage in exhibit.study.stages if stage.name in step.split()] or exhibit.study.stages
    count = sum(len(stage.data) for stage in stages)
    return min(count, 2 * SCORES_SPLIT) if step.startswith("splitting") else count


def _queries(exhibit: Exhibit) -> int:
    return len(exhibit.study.queries)


def _further(exhibit: Exhibit, queries: int) -> int:
    """Bytes of query vectors beyond those of the sample's: while they are pulled back, or mapped for the scores."""
    sizes = [size_of(stage, before) for before, stage in exhibit.study.pairs()]
    single = max(of.whole * of.itemsize for of in sizes)
    at_once = max(1, VECTOR_BYTES // (VECTOR_COPIES * single))
    count = len(exhibit.study.queries)
    pulled = VECTOR_COPIES * single * (min(count, at_once) - min(queries, at_once))
    return max(pulled, single * (count - queries))
