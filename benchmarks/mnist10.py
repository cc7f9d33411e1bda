"""dattri's MNIST-10 benchmark: how scores predict training again without one digit, and on halves of the digits.

    python benchmarks/mnist10.py                  # about half an hour of one core, most of it training again
    python benchmarks/mnist10.py --keep DIR       # what was finished there is read, not computed
    python benchmarks/mnist10.py --smoke          # the smallest setting, to see that it runs

The published figures are of 5,000 and 500 other digits of MNIST, and the best over a grid of settings that was judged
by the figure itself. Here damping is one over what the steps of the training add up to.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mnist.training import NETWORKS, Digits, Network, digits, study_of, trained
from mnist.truth import Halves, Truth, lds, leave_one_out
from rich.console import Console
from rich.table import Table

from influence import Scores, attribute
from influence.progress import Progress
from influence.validation.pieces import Pieces

EARLY = 10
"""The perceptron is also explained after one of so many parts of its training: at its end it knows every digit, no loss
is left, and neither gradients nor curvature are. It was chosen on these truths, among 3, 5 and 10 epochs."""
PUBLISHED = {
    "lr": [("IF, CG", ".88", ".80"), ("TRAK, 50 models", ".78", ".68")],
    "mlp": [("IF, CG", "", ".26"), ("TRAK, 1 model", "", ".11"), ("TRAK, 50 models", "", ".45")],
}
"""Method, r alone, LDS: read off dattri's charts."""


@dataclasses.dataclass(frozen=True)
class Asked:
    train: int
    test: int
    halves: int
    alone: int
    models: int


SMOKE = Asked(train=80, test=10, halves=3, alone=3, models=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="MODEL")
    parser.add_argument("--train", type=int, default=4500)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--halves", type=int, default=50, help="of the digits, each trained on three times")
    parser.add_argument("--alone", type=int, default=200, help="digits that are left out of the logistic regression")
    parser.add_argument("--models", type=int, default=10, help="trainings that scores are averaged over")
    parser.add_argument("--keep", type=Path, help="folder of finished trainings")
    parser.add_argument("--smoke", action="store_true", help="a few digits and steps")
    options = parser.parse_args()
    asked = Asked(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Asked)})
    networks = [NETWORKS[name] for name in options.only]
    if options.smoke:
        asked, networks = SMOKE, [dataclasses.replace(each, epochs=EARLY) for each in networks]
    torch.set_num_threads(1)  # layers are too small for more
    data = digits(asked.train, asked.test)
    table = Table("model", "scores", "r, left out alone", "LDS, as dattri", "mean of two truths", "same seed")
    with tempfile.TemporaryDirectory() as folder, Progress() as bars:
        pieces = Pieces(options.keep or Path(folder))
        for network in networks:
            alone = asked.alone if network.name == "lr" else 0
            with bars.step(f"training {network.name} again", total=3 * asked.halves + alone) as bar:
                truth = Truth(network, data, pieces, lambda bar=bar: bar.advance(1))
                halves, left_out = truth.halves(asked.halves), truth.left_out(alone) if alone else None
            for name, compute in _methods(network, data, asked.models):
                scores = compute().values
                single = f"{leave_one_out(scores, *left_out):.2f}" if left_out else ""
                table.add_row(network.name, name, single, *_agreement(scores, halves))
            table.add_row(network.name, "noise ceiling: two truths", "", f"{halves.ceiling:.2f}", "", "")
            for name, single, figure in PUBLISHED[network.name]:
                table.add_row(network.name, f"published: {name}", single, figure, "", "")
            table.add_section()
    console = Console()
    console.print(table)
    console.print(
        f"{asked.train:,} digits to train on, {asked.test} to judge by. LDS: Spearman's rank correlation over "
        f"{asked.halves} random halves, its mean over the test digits; as dattri each half is trained on once, with a "
        f"seed of its own. Alone: Pearson's r over {asked.alone} digits, with one seed and order. The noise ceiling is "
        "the rank correlation of two such truths; the best that scores which know no seed can reach is about its root."
    )


def _agreement(scores: object, halves: Halves) -> list[str]:
    """LDS with the first truth, with the mean of two, and with that of one seed."""
    truths = halves.first, (halves.first + halves.second) / 2, halves.same
    return [f"{lds(scores, halves.kept, truth):.3f}" for truth in truths]


def _methods(network: Network, data: Digits, models: int) -> Iterator[tuple[str, Callable[[], Scores]]]:
    damping = network.damping(len(data))

    def study(seed: int, part: int = 1) -> object:
        """A training from that seed, or the first of so many parts of it."""
        shorter = dataclasses.replace(network, epochs=network.epochs // part)
        return study_of(network, data, trained(shorter, data, None, seed))

    def scores(studies: object, method: str, **options: object) -> Scores:
        return attribute(studies, method=method, progress=False, **options)

    if network.name == "lr":
        yield "cg", lambda: scores(study(0), "cg", damping=damping, tolerance=1e-3)
    yield "ekfac", lambda: scores(study(0), "ekfac", damping=damping)
    yield "gradient dot product", lambda: scores(study(0), "identity")
    if network.name == "mlp":
        part = f"after {network.epochs // EARLY} of {network.epochs} epochs"
        yield f"ekfac, {part}", lambda: scores(study(0, EARLY), "ekfac", damping=damping)
        every = [study(seed, EARLY) for seed in range(models)]
        yield f"ekfac, {part}, mean of {models} trainings", lambda: scores(every, "ekfac", damping=damping)


if __name__ == "__main__":
    main()
