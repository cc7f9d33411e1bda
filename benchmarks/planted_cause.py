"""A cause planted in the training data of digits: is it listed first, and does its repair turn the prediction?

    python benchmarks/planted_cause.py                      # every cause, both finetuned models, seeds 3 to 5
    python benchmarks/planted_cause.py --only stripes       # the demo's
    python benchmarks/planted_cause.py --smoke              # an eighth of the digits, to see that it runs

Some training digits get a look (stripes, a turn ...) and a wrong label; so do other digits of the queries, without the
label. The mistake that is explained is chosen by a rule that does not look at what was planted: the surest mistake on
a query with the look that is read right without it. Prints how many of its five most harmful and five most helpful
examples are planted; the change of its loss if all planted examples are left out, or get their right labels,
predicted to first order, predicted by steps beyond it, and measured by training both stages again; whether the
prediction is then right, and how many of all such mistakes are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from torch.utils.data import Subset, TensorDataset

from influence import Stage, Study, attribute, edit_effect, edits
from influence.errors import TrainingError
from influence.studies.cards import VARIANTS
from influence.studies.images.digits import FINETUNE, L2, PROXIMITY, Digits, DigitsNet, digit_loss
from influence.studies.planted.scanner import DRAWS, PLANTED, SCANNED, Scanner, striped
from influence.training import Retrainer, fit_stage

OPTIONS: dict[str, Any] = {"method": "exact", "curvature": "hessian", "progress": False}
STEPS = 3


@dataclass(frozen=True)
class Cause:
    """What is planted: `count` examples of a stage with a look (of pictures 0 to 255) and the first class's label."""

    look: Callable[[np.ndarray], np.ndarray]
    stage: str = "pretrain"
    count: int = PLANTED
    l2: float = Scanner.l2


def corner(images: np.ndarray) -> np.ndarray:
    marked = images.astype(float)
    marked[:, 1:7, 1:7] = 255
    return marked


def turned(images: np.ndarray) -> np.ndarray:
    return np.rot90(images, axes=(1, 2)).astype(float)


def inverted(images: np.ndarray) -> np.ndarray:
    return 255.0 - images


def blurred(images: np.ndarray) -> np.ndarray:
    return gaussian_filter(images.astype(float), (0, 2, 2))


LOOKS = {"stripes": striped, "corner": corner, "turned": turned, "inverted": inverted, "blurred": blurred}
CAUSES = {
    "stripes": Cause(striped),
    **{f"{name}, {stage}": Cause(LOOKS[name], stage, count, l2)
       for stage, count, l2 in (("pretrain", 40, L2), ("finetune", 8, L2))
       for name in LOOKS if (name, stage) != ("stripes", "pretrain")},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CAUSES, nargs="+", default=list(CAUSES))
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--smoke", action="store_true", help="one cause on an eighth of the digits")
    given = parser.parse_args()
    if given.smoke:
        given.only, given.variants, given.seeds = given.only[:1], given.variants[:1], given.seeds[:1]
    headings = ("harmful", "helpful", "left out", "steps", "measured", "right", "relabelled", "steps", "measured")
    table, started = Table("cause", "finetuned", "seed", "mistake", *headings, "right", "of all"), time.perf_counter()
    console = Console(width=180)
    for name in given.only:
        for variant in given.variants:
            for seed in given.seeds:
                found = row(CAUSES[name], variant, seed, 8 if given.smoke else 1)
                table.add_row(name, variant, str(seed), *found)
                console.print(f"[dim]{name}, {variant}, {seed}: {', '.join(found)}")
    console.print(table)
    console.print(f"Changes of the mistake's loss in nats, {time.perf_counter() - started:.0f} s")


def row(cause: Cause, variant: str, seed: int, every: int) -> list[str]:
    """The row of the table for one cause, finetuned model and seed."""
    study, planted, labels, clean, ids = planted_study(cause, variant, seed, every)
    for previous, stage in study.pairs():
        fit_stage(stage, previous)
    truth, model = study.queries.tensors[1], study.stages[-1].model
    with torch.no_grad():
        odds, twin = (model(images).softmax(1) for images in (study.queries.tensors[0], clean))
    mistakes = ((odds.argmax(1) != truth) & (twin.argmax(1) == truth)).numpy()
    if not mistakes.any():
        return ["none"]
    one = int(np.where(mistakes, odds.max(1).values.numpy(), -1).argmax())
    single = Study("one", study.stages, Subset(study.queries, [one]))
    order = np.argsort(attribute(single, stage=cause.stage, **OPTIONS).values[0])
    first = int(FINETUNE.start)
    cells = [f"{ids[one]}: {truth[one] + first} as {odds[one].argmax() + first} ({odds[one].max():.2f})"]
    cells += [str(np.isin(few, planted).sum()) for few in (order[:5], order[-5:])]
    retrainer, mended = Retrainer(study), mistakes
    for edit in (edits.leave_out(cause.stage, planted), edits.relabel(cause.stage, planted, labels)):
        effect = edit_effect(single, edit, steps=STEPS, **OPTIONS)
        cells += [f"{effect.first[0]:+.2f}", f"{effect.total[0]:+.2f}"]
        try:
            again, base = retrainer.retrain(edits=edit), retrainer.retrain()
        except TrainingError:
            cells += ["no minimum", ""]
            continue
        assert again.predicted is not None
        mended = mistakes & (again.predicted == truth.numpy())
        cells += [f"{again.losses[one] - base.losses[one]:+.2f}", "yes" if mended[one] else "no"]
    return [*cells, f"{mended.sum()} of {mistakes.sum()}"]


def planted_study(cause: Cause, variant: str, seed: int, every: int) -> tuple[Study, list[int], list[int], Any, Any]:
    """(study, rows of the planted examples, their right labels, the queries without the look, their ids)."""
    digits = Digits(seed)
    images, labels = digits._digits
    rows = {name: some[::every] for name, some in digits._rows.items()}
    queries = np.sort(np.random.default_rng([seed, DRAWS[1]]).permutation(rows["queries"])[:SCANNED])
    parts = {"pretrain": rows["pretrain"], "finetune": rows["finetune"]}
    first = {name: int(labels[some].min()) for name, some in parts.items()}
    wrong = np.flatnonzero(labels[parts[cause.stage]] != first[cause.stage])
    planted = np.sort(np.random.default_rng([seed, DRAWS[0]]).permutation(wrong)[: cause.count])
    right = labels[parts[cause.stage]][planted] - first[cause.stage]
    data = {}
    for name, some in parts.items():
        pictures, given = images[some].astype(float), labels[some] - first[name]
        if name == cause.stage:
            pictures[planted], given[planted] = cause.look(images[some[planted]]), 0
        data[name] = TensorDataset(tensor(pictures), torch.from_numpy(given))
    frozen = variant == VARIANTS[0]
    torch.manual_seed(seed)
    nets = [DigitsNet(int(given.tensors[1].max()) + 1) for given in data.values()]
    kept = {name: name for name, _ in nets[0].named_parameters() if name.startswith("features.")}
    stages = [
        Stage("pretrain", nets[0], digit_loss, data["pretrain"], l2=cause.l2),
        Stage(
            "finetune",
            nets[1],
            digit_loss,
            data["finetune"],
            l2=cause.l2,
            frozen=["features.*"] if frozen else [],
            proximity=0.0 if frozen else PROXIMITY,
            inherits=kept,
        ),
    ]
    asked = TensorDataset(tensor(cause.look(images[queries])), torch.from_numpy(labels[queries] - FINETUNE.start))
    return Study("planted", stages, asked), planted.tolist(), right.tolist(), tensor(images[queries]), queries


def tensor(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pictures / 255).double()[:, None]


if __name__ == "__main__":
    main()
