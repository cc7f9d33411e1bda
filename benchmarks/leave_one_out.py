"""Predicted against measured: leave pretraining digits out of the demo's study, train both stages again, compare.

    python benchmarks/leave_one_out.py              # 10 strongest and 30 random digits, both finetuned models
    python benchmarks/leave_one_out.py --smoke      # two of a twentieth of the digits, to see that it runs

Prints, per finetuned model and way to predict, Pearson's r over all (digit, query) pairs and the slope of measured on
predicted (1 = the size is right too), separately for random digits and for those of strongest total influence.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from precompute import Thinned
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from influence import Study, attribute
from influence.studies.images import Digits
from influence.training import Retrainer, fit_stage

PREDICTIONS = {
    "exact, Hessian": {"method": "exact", "curvature": "hessian"},
    "exact, Gauss-Newton": {"method": "exact", "curvature": "ggn"},
    "identity": {"method": "identity"},
}


def left_out(study: Study, examples: Sequence[int], advance: Callable[[], None]) -> np.ndarray:
    """Measured change of every query's loss, nats, (len(examples), Q): each pretraining example left out alone.

    From the solution; the unperturbed losses are those of training again without leaving anything out.
    """
    retrainer = Retrainer(study)
    base = retrainer.losses_without("pretrain", [])
    changes = []
    for example in examples:
        changes.append(retrainer.losses_without("pretrain", [example]) - base)
        advance()
    return torch.stack(changes).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two of a twentieth of the digits, one finetuned model")
    options = parser.parse_args()
    strongest, random = (1, 1) if options.smoke else (10, 30)
    digits, started = (Thinned if options.smoke else Digits)(options.seed), time.perf_counter()
    table = Table("finetuned", "prediction", "r random", "slope random", "r strongest", "slope strongest")
    with Progress() as bars:
        for variant in digits.variants[: 1 if options.smoke else None]:
            study = digits.exhibit(variant).study
            for previous, stage in study.pairs():
                if not (previous is None and variant != digits.variants[0]):  # both variants share their pretraining
                    fit_stage(stage, previous)
            predicted = {n: attribute(study, progress=False, **o).values for n, o in PREDICTIONS.items()}
            total = np.abs(predicted["exact, Hessian"]).sum(0)
            rng = np.random.default_rng(options.seed)
            examples = [*np.argsort(-total)[:strongest], *rng.choice(len(total), random, replace=False)]
            task = bars.add_task(f"Retraining {variant}", total=len(examples))
            measured = left_out(study, examples, lambda task=task: bars.advance(task))
            for name, scores in predicted.items():
                rows = scores[:, examples].T
                top, rest = slice(0, strongest), slice(strongest, None)
                table.add_row(
                    variant, name, *agreement(rows[rest], measured[rest]), *agreement(rows[top], measured[top])
                )
    console = Console()
    console.print(table)
    console.print(
        f"{random} random and {strongest} strongest of {len(total):,} pretraining digits, seed {options.seed}, "
        f"{time.perf_counter() - started:.0f} s"
    )


def agreement(predicted: np.ndarray, measured: np.ndarray) -> tuple[str, str]:
    r = np.corrcoef(predicted.ravel(), measured.ravel())[0, 1]
    return f"{r:.2f}", f"{np.polyfit(predicted.ravel(), measured.ravel(), 1)[0]:.2f}"


if __name__ == "__main__":
    main()
