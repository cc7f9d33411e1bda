"""The script that `test_device.py` runs in a separate process: every method on the CPU and on a pretend device."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from loops import ADAM, SGD, two_stages
from minima import data, loss
from tiny import tiny_study, two_exhibits
from tiny_texts import text_study
from torch import nn
from torch.utils.data import TensorDataset

import influence.attribution.products.dots as products
from influence import (
    Index,
    Stage,
    Study,
    attribute,
    edit_effect,
    edit_scores,
    edits,
    group_effect,
    record,
    relabel_scores,
    targets,
)
from influence.derivatives.objective import objectives_of
from influence.precompute.runs import precompute

QUIET = {"progress": False, "damping": 0.1}
BATCHES = 4


class Net(nn.Module):
    """What images go through, with units that never work."""

    def __init__(self, classes: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 16), nn.LayerNorm(16), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(16, classes)
        self.body[7].bias.data[:5] = -50

    def forward(self, x):
        return self.head(self.body(x))


def images(frozen: bool, count: int = 240) -> Study:
    torch.manual_seed(0)

    def some(count: int, classes: int) -> TensorDataset:
        return TensorDataset(torch.randn(count, 1, 8, 8), torch.randint(classes, (count,)))

    models = [Net(4).eval(), Net(3).eval()]
    models[1].body.load_state_dict(models[0].body.state_dict())
    settings = {"frozen": ["body.*"]} if frozen else {"proximity": 0.5}
    stages = [
        Stage("pretrain", models[0], loss, some(count, 4), l2=0.05),
        Stage("finetune", models[1], loss, some(90, 3), l2=0.05, **settings),
    ]
    return Study("images", stages, some(70, 3))


def scores(study: Callable[[], Study], method: str, **options) -> Callable[[str], np.ndarray]:
    return lambda device: attribute(study(), method=method, device=device, **QUIET | options).values


def texts(**finetuning) -> Study:
    return text_study(counts=(6, 4, 2), **finetuning)


def scores_of_model_there(device: str) -> np.ndarray:
    study = tiny_study(False)
    for stage in study.stages:
        stage.model.to(device)
    return attribute(study, method="exact", **QUIET).values


def through_an_index(device: str) -> np.ndarray:
    study = images(True)
    with tempfile.TemporaryDirectory() as folder:
        index = Index(study, Path(folder) / "index", method="ekfac", small=0, device=device, **QUIET)
        return index.query(study.queries).values


def of_a_group(device: str) -> np.ndarray:
    study = tiny_study(False)
    return group_effect(
        study, "pretrain", [1, 2, 5], damping=0.7, curvature="hessian", device=device, progress=False
    ).total


def of_edits(device: str) -> np.ndarray:
    study = tiny_study(False)
    options = {"damping": 0.7, "device": device, "progress": False}
    some = [edits.relabel("pretrain", [3, 4], [0, 1]), edits.replace("finetune", [2], [study.stages[1].data[5]])]
    found = edit_effect(study, some, targets=[targets.mean([0, 1]), targets.error(1)], **options)
    return np.concatenate(
        [
            found.total,
            edit_scores(study, some, **options).values.ravel(),
            relabel_scores(study, **options).values.ravel(),
        ]
    )


def by_replay(device: str) -> np.ndarray:
    stages, recordings = two_stages(proximity=0.3), []
    for stage, recipe in zip(stages, (SGD, ADAM), strict=True):
        recordings.append(record(stage, recordings[-1] if recordings else None, recipe, device=device))
    for recording in recordings:
        recording.apply()
    study = Study("recorded", stages, data(5, 3, 3, torch.Generator().manual_seed(9)))
    return attribute(study, method="replay", recordings=recordings, device=device, progress=False).values


def of_runs(device: str) -> np.ndarray:
    """Trained there, too."""
    with tempfile.TemporaryDirectory() as folder:
        runs = precompute(two_exhibits(), ["a", "b"], folder, device=device, progress=False)
        records = [(run, record) for run in runs for record in run.manifest.scores]
        return np.concatenate([run.scores(of.stage, of.method)[:].ravel() for run, of in records])


METHODS: dict[str, dict] = {"identity": {}, "cg": {}, "ekfac": {"small": 0}}
CASES: dict[str, Callable[[str], np.ndarray]] = {
    **{
        f"images, {'frozen' if frozen else 'updated'}, {method}": scores(lambda f=frozen: images(f), method, **options)
        for frozen in (True, False)
        for method, options in METHODS.items()
    },
    "images, an error allowed": scores(lambda: images(True), "ekfac", small=0, error=0.01),
    "texts, frozen, ekfac": scores(texts, "ekfac", small=0),
    "texts, updated, ekfac": scores(lambda: texts(frozen=[]), "ekfac", small=0),
    "texts, updated, cg": scores(lambda: texts(frozen=[]), "cg", tolerance=0.01),
    "exact": scores(lambda: tiny_study(False), "exact"),
    "arnoldi": scores(lambda: tiny_study(False), "arnoldi"),
    "lissa": scores(lambda: tiny_study(False), "lissa", depth=20),
    "hessian": scores(lambda: tiny_study(False), "exact", curvature="hessian", damping=0.7),
    "a model that is there": scores_of_model_there,
    "an index": through_an_index,
    "a group": of_a_group,
    "edits": of_edits,
    "replay": by_replay,
    "runs": of_runs,
}


def crossings_of_a_batch(device: str, queries: int) -> dict[str, float]:
    """What scoring a batch more needs."""
    from other_device import crossings

    study = images(True, 2 * BATCHES * 50)
    (objective, _) = objectives_of(study, device=device)
    objective.batch_size = 50
    vectors = torch.randn(queries, objective.trained.size, device=device)
    counts = []
    for batches in (BATCHES, 2 * BATCHES):
        part = TensorDataset(*(tensor[: 50 * batches] for tensor in objective.stage.data.tensors))
        crossings.clear()
        for _ in products.dots(objective, part, objective.trained, vectors):
            pass
        counts.append(dict(crossings))
    return {what: (counts[1][what] - counts[0][what]) / BATCHES for what in counts[1]}


def main(device: str) -> None:
    products.MIN_EXAMPLES = 200
    torch.set_num_threads(1)
    for name, of in CASES.items():
        here, there = of("cpu"), of(device)
        error = np.abs(here - there).max() / np.abs(here).max()
        sys.stdout.write(json.dumps({"case": name, "error": float(error)}) + "\n")
    for queries in (10, 100):
        sys.stdout.write(json.dumps({"queries": queries, **crossings_of_a_batch(device, queries)}) + "\n")


if __name__ == "__main__":
    import other_device

    main(other_device.DEVICE)
