"""The paper's experiments, one seed at a time: each is a function from settings to figures, by name."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute
from influence.errors import CurvatureError
from influence.studies.images.networks import SmallCnn
from influence.validation.checks.noise import NUDGE
from trust.again import Again
from trust.settings import FINETUNE, PRETRAIN, Setting, Size, cifar, cifar_pictures, picture_loss, recipe

Figures = dict[str, float]

SIMILAR, DISSIMILAR = PRETRAIN, ("automobile", "deer")
TUNING_RATE = 0.02
"""Of the experiment on how much one finetunes, where training is to stop short of its minimum."""


def left_out(setting: Setting, strongest: int, random: int) -> Figures:
    """Single pretraining examples left out: predicted and measured change of the test set's mean loss.

    `r START METHOD WHICH` is Pearson's r over examples, of `all` that were left out or of the `random` ones alone.
    """
    again, found = Again(setting), Figures()
    nudged = torch.ones(1, again.count, dtype=torch.float64)
    nudged[0, again.count // 2] += NUDGE
    found["nudge solution"] = _size(again.from_solution(nudged))
    exact, found["hessian"] = _exact(again)
    predicted = {
        "exact": exact.mean(0),
        "gauss-newton": again.scores(method="exact").mean(0),
        "identity": again.scores(method="identity").mean(0),
        "replay": again.replayed(again.everything)[0] / len(exact),
    }
    order, rng = np.argsort(-np.abs(predicted["exact"]), kind="stable"), np.random.default_rng(0)
    examples = np.concatenate([order[:strongest], rng.choice(order[strongest:], random, replace=False)])
    weights = again.without([[int(each)] for each in examples])
    # Once more from another start and in another order: what of a change belongs to the example at all.
    other = Again(setting.other(1000))
    found["seed"] = abs(float((other.losses - again.losses).mean()))
    ceiling = other.from_scratch(weights)
    nudge, *scratch = again.from_scratch(torch.cat([nudged, weights]))
    found["nudge scratch"] = _size(nudge[None])
    measured = {"scratch": np.stack(scratch), "solution": again.from_solution(weights)}
    for start, changes in measured.items():
        total = changes.mean(1)
        found[f"effect {start}"] = float(np.sqrt((total**2).mean()))
        for method, scores in predicted.items():
            found[f"r {start} {method} all"] = correlation(scores[examples], total)
            found[f"r {start} {method} random"] = correlation(scores[examples[strongest:]], total[strongest:])
            found[f"slope {start} {method}"] = float(np.polyfit(scores[examples], total, 1)[0])
        found[f"r {start} exact pairs"] = correlation(exact[:, examples].T, changes)
    found["r seeds all"] = correlation(ceiling.mean(1), measured["scratch"].mean(1))
    found["r seeds random"] = correlation(ceiling.mean(1)[strongest:], measured["scratch"].mean(1)[strongest:])
    return found


def removal(setting: Setting, seed: int, share: float = 0.1) -> Figures:
    """Test accuracy, 0..1, and mean loss, nats, after dropping some of the pretraining examples, from scratch.

    The most harmful are chosen by one half of the test set and judged by the other.
    """
    again = Again(setting)
    rng = np.random.default_rng(seed)
    choosing, judging = np.array_split(rng.permutation(len(setting.truth)), 2)
    scores, _ = _exact(again)
    order, number = np.argsort(scores[choosing].mean(0), kind="stable"), round(share * again.count)
    dropped = {
        "nothing": [],
        "harmful": order[:number].tolist(),
        "helpful": order[-number:].tolist(),
        "random": rng.permutation(again.count)[:number].tolist(),
    }
    accuracy, loss = again.accuracies(again.without(list(dropped.values())), judging)
    return {f"accuracy {name}": float(each) for name, each in zip(dropped, accuracy, strict=True)} | {
        f"loss {name}": float(each) for name, each in zip(dropped, loss, strict=True)
    }


def similarity(size: Size, seed: int, data: Path) -> Figures:
    """Mean |score|, nats, of a pretraining example, summed over the test set, for a similar and a dissimilar task."""
    found = Figures()
    for name, classes in (("similar", SIMILAR), ("dissimilar", DISSIMILAR)):
        scores, _ = _exact(Again(cifar("frozen", size, seed, data, classes)))
        found[name] = float(np.abs(scores.sum(0)).mean())
    return found


def amount(size: Size, seed: int, data: Path, steps: int) -> Figures:
    """Mean |score|, nats, of a pretraining example, summed over the test set, for `steps` and for more finetuning.

    Scores are by replay, since at a minimum there is no number of steps; nothing but those holds the embedding.
    """
    found = Figures()
    for name, more_data, more_steps in (("once", 1, 1), ("data", 3, 1), ("steps", 1, 3), ("both", 3, 3)):
        asked = dataclasses.replace(size, finetune=size.finetune * more_data, proximity=0.0)
        setting = cifar("updated", asked, seed, data)
        tuning = recipe(dataclasses.replace(size, steps=steps * more_steps, batch=size.batch // 2), size.finetune, seed)
        tuning = dataclasses.replace(tuning, learning_rate=TUNING_RATE)
        again = Again(dataclasses.replace(setting, recipes={**setting.recipes, "finetune": tuning}))
        found[name] = float(np.abs(again.replayed(again.everything)[0]).mean())
    return found


def speed(data: Path, count: int) -> Figures:
    """Seconds, and seconds of processor time, for the scores of `count` pretraining pictures, by kind of network.

    As in the paper, of the test set's total loss, from trained models to scores. Time does not depend on how well they
    are trained, so they are not.
    """
    size = Size(pretrain=count, finetune=count, queries=10**6)
    small = Again(cifar("frozen", dataclasses.replace(size, steps=20), 0, data)).study
    found = Figures({"pictures": len(small.stages[0].data)})
    for name, study, options in (
        ("small, exact", _as_one(small), {"method": "exact"}),
        ("15,000 parameters, ekfac", _as_one(_larger(data, count)), {"method": "ekfac"}),
    ):
        began, used = time.perf_counter(), time.process_time()
        attribute(study, progress=False, **options)
        found[f"seconds {name}"] = time.perf_counter() - began
        found[f"processor {name}"] = time.process_time() - used
    return found


def _larger(data: Path, count: int) -> Study:
    """The package's own small CNN on pictures of 32 x 32 pixels."""
    train, test = cifar_pictures(data)

    def drawn(found: dict[str, torch.Tensor], classes: Sequence[str], total: int) -> TensorDataset:
        parts = [found[name][: total // len(classes)] for name in classes]
        labels = np.concatenate([np.full(len(part), i) for i, part in enumerate(parts)])
        return TensorDataset(torch.cat(parts).float() / 255, torch.from_numpy(labels))

    torch.manual_seed(0)
    before = Stage("pretrain", SmallCnn(2), picture_loss, drawn(train, PRETRAIN, count), l2=0.001)
    tuned = SmallCnn(len(FINETUNE))
    tuned.features.load_state_dict(before.model.features.state_dict())
    stage = Stage(
        "finetune",
        tuned,
        picture_loss,
        drawn(train, FINETUNE, count),
        l2=0.001,
        frozen=["features.*"],
        inherits={n: n for n, _ in tuned.named_parameters() if n.startswith("features.")},
    )
    return Study("larger", [before, stage], drawn(test, FINETUNE, 10**6))


def _as_one(study: Study) -> Study:
    """The study with one query: the total loss of all of its queries."""

    def forward(model: nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        return model(batch[0].flatten(0, -4))

    def total(outputs: torch.Tensor, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        losses = picture_loss(outputs, [outputs, batch[1].flatten()])
        return losses.view(batch[1].shape).sum(1)

    *before, last = study.stages
    queries = TensorDataset(*(tensor[None] for tensor in study.queries.tensors))
    return Study(study.name, [*before, dataclasses.replace(last, forward=forward)], queries, total)


def _exact(again: Again) -> tuple[np.ndarray, float]:
    """Scores by the Hessian, or where that has negative curvature by the Gauss-Newton matrix, and which (1, 0)."""
    try:
        return again.scores(method="exact", curvature="hessian"), 1.0
    except CurvatureError:
        return again.scores(method="exact"), 0.0


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of all entries."""
    return float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])


def _size(changes: np.ndarray) -> float:
    """Root mean square over examples of the change of the mean loss."""
    return float(np.sqrt((changes.mean(1) ** 2).mean()))
