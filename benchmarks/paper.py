"""The paper's experiments (Chen et al. 2020), ours beside theirs, in one table.

    python benchmarks/paper.py                                        # the digits; about 10 minutes on two cores
    python benchmarks/paper.py --data cifar10.zip                     # all rows; under 30 minutes
    python benchmarks/paper.py --data DIR --only removal --seeds 8    # one experiment
    python benchmarks/paper.py --keep DIR                             # what was finished there is read, not computed
    python benchmarks/paper.py --smoke                                # the smallest setting, to see that it runs

CIFAR-10 is what the study `cifar10` reads: torchvision's download, or folders train/<class>/ and test/<class>/, also in
a zip file. Networks and sizes are smaller than the paper's (which do not say): `benchmarks/trust/settings.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from trust import experiments
from trust.experiments import Figures
from trust.settings import FEW_CHANNELS, Size, cifar, digits
from trust.tables import across, gap, reached

from influence.errors import StudyError
from influence.progress import Progress
from influence.validation.pieces import Pieces

LEFT_OUT = {
    "digits-frozen": ("MNIST 0-3, then 4-9, embedding fixed", "about 0.6", 0.95),
    "digits-updated": ("MNIST, embedding updated", "0.40", 0.9),
    "cifar-frozen": ("CIFAR-10 bird/frog, then the other eight, fixed", "about 0.6", 0.9),
    "cifar-updated": ("CIFAR-10, embedding updated", "0.40", 0.9),
}
Line = tuple[str, str, str, str, str]
ROWS = (*LEFT_OUT, "removal", "similarity", "amount", "time")
SMOKE = Size(pretrain=60, finetune=60, queries=40, steps=40, batch=30)


@dataclasses.dataclass
class Bench:
    """What was asked for, and what is there already."""

    size: Size
    strongest: int
    random: int
    data: Path | None
    pieces: Pieces
    bars: Progress

    def figures(self, row: str, seeds: int, compute: Callable[[int], Figures], *settings: object) -> pd.DataFrame:
        """A row a seed."""
        found = []
        with self.bars.step(row, total=seeds) as bar:
            for seed in range(seeds):
                key = [row, seed, dataclasses.asdict(self.size), *map(str, settings)]
                table = self.pieces.get(key)
                if table is None:
                    table = pd.DataFrame([compute(seed)])
                    self.pieces.put(key, table)
                found.append(table)
                bar.advance()
        return pd.concat(found, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10; without it its rows are skipped")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=5, help="of removal, similarity and amount; each draws other data")
    parser.add_argument("--left-out-seeds", type=int, default=2, help="of the rows that leave single examples out")
    parser.add_argument("--strongest", type=int, default=6, help="examples of largest |score| that are left out")
    parser.add_argument("--random", type=int, default=14, help="random examples that are left out")
    for field in dataclasses.fields(Size):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    parser.add_argument("--keep", type=Path, help="folder of finished rows")
    parser.add_argument("--smoke", action="store_true", help="a few digits")
    options = parser.parse_args()
    size = SMOKE if options.smoke else Size(**{f.name: getattr(options, f.name) for f in dataclasses.fields(Size)})
    torch.set_num_threads(1)  # layers are too small for more
    with tempfile.TemporaryDirectory() as folder, Progress() as bars:
        pieces = Pieces(options.keep or Path(folder))
        bench = Bench(size, options.strongest, options.random, options.data, pieces, bars)
        if options.smoke:
            bench.strongest, bench.random, options.left_out_seeds, options.only = 1, 2, 1, ["digits-frozen"]
        table = report(bench, options.only, options.seeds, options.left_out_seeds)
    console = Console()
    console.print(table)
    console.print(
        f"{size.pretrain:,} examples to pretrain on, {size.finetune:,} to finetune on, {size.queries:,} test examples "
        f"where nothing else is said; l2 {size.l2}, {size.steps:,} steps a stage. r: Pearson's, of the predicted and "
        f"the measured change of the test set's loss, over {bench.strongest} examples of largest |score| and "
        f"{bench.random} random ones, each left out alone; mean over seeds (smallest to largest)."
    )


def report(bench: Bench, rows: list[str], seeds: int, left_out_seeds: int) -> Table:
    table = Table("experiment", "the paper", "to reach", "here", "reached")
    for name in rows:
        if name not in ("digits-frozen", "digits-updated") and (bench.data is None or not bench.data.exists()):
            where = "give --data" if bench.data is None else f"{bench.data} does not exist"
            table.add_row(name, "", "", f"skipped: it needs CIFAR-10; {where}", "")
        else:
            try:
                lines = _left_out(bench, name, left_out_seeds) if name in LEFT_OUT else OTHERS[name](bench, seeds)
            except StudyError as error:
                lines = [(name, "", "", f"skipped: {error}", "")]
            for line in lines:
                table.add_row(*line)
        table.add_section()
    return table


def _left_out(bench: Bench, name: str, seeds: int) -> list[Line]:
    what, paper, goal = LEFT_OUT[name]
    study, variant = name.split("-")

    def compute(seed: int) -> Figures:
        if study == "digits":
            setting = digits(variant, bench.size, seed)
        else:
            assert bench.data is not None
            setting = cifar(variant, bench.size, seed, bench.data, channels=FEW_CHANNELS)
        return experiments.left_out(setting, bench.strongest, bench.random)

    channels = [FEW_CHANNELS] if study == "cifar" else []
    found = bench.figures(name, seeds, compute, bench.strongest, bench.random, *channels)
    digits_frozen = name == "digits-frozen"

    def line(label: str, start: str, method: str, to_reach: float | None, paper: str = "") -> Line:
        values = found[f"r {start} {method} all"]
        shown = f"r {across(values)}; random ones alone {across(found[f'r {start} {method} random'])}"
        return (label, paper, "" if to_reach is None else f"{to_reach}", shown, reached(values, to_reach))

    best = max(("exact", "replay"), key=lambda method: found[f"r scratch {method} all"].mean())
    curvature = "Hessian" if found["hessian"].all() else "Hessian, or Gauss-Newton where that is negative,"
    lines = [
        (
            f"{what}: noise",
            "",
            "",
            f"{across(found['effect scratch'], '.1e')} nats is the size of an effect from scratch; one weight changed "
            f"by a millionth: {across(found['nudge scratch'], '.1e')} from scratch, "
            f"{across(found['nudge solution'], '.1e')} from the solution; another start and order, nothing left out: "
            f"{across(found['seed'], '.1e')}",
            "",
        ),
        (
            "  effects measured under two starts and orders",
            "",
            "",
            f"r {across(found['r seeds all'])}; random ones alone {across(found['r seeds random'])}",
            "",
        ),
        line(f"  from the solution, exact {curvature}", "solution", "exact", goal, paper),
        line("  from scratch, exact", "scratch", "exact", None),
        line("  from scratch, replay", "scratch", "replay", 0.95 if digits_frozen else None),
        line("  from scratch, the best of these", "scratch", best, 0.8 if digits_frozen else None, paper),
        line("  from scratch, Gauss-Newton", "scratch", "gauss-newton", None),
        line("  from scratch, identity", "scratch", "identity", None, "0.17" if digits_frozen else ""),
        (
            "  size: slope of measured on predicted",
            "",
            "1",
            f"{across(found['slope solution exact'])} from the solution, {across(found['slope scratch exact'])} from "
            "scratch (exact)",
            "",
        ),
    ]
    return lines


def _removal(bench: Bench, seeds: int) -> list[Line]:
    assert bench.data is not None
    size = dataclasses.replace(bench.size, pretrain=4 * bench.size.pretrain, finetune=2 * bench.size.finetune)
    size = dataclasses.replace(size, queries=2400)

    def compute(seed: int) -> Figures:
        assert bench.data is not None
        return experiments.removal(cifar("frozen", size, seed, bench.data), seed)

    found = bench.figures("removal", seeds, compute, size)
    percent = {n: 100 * found[f"accuracy {n}"] for n in ("nothing", "harmful", "helpful", "random")}
    gain, words = gap(percent["harmful"], percent["nothing"])
    over, more = gap(percent["harmful"], percent["random"])
    _, less = gap(percent["helpful"], percent["nothing"])
    _, change = gap(found["loss harmful"], found["loss nothing"], ".4f")
    return [
        (
            f"CIFAR-10, fixed: top 10 % harmful dropped ({size.pretrain:,} pictures, {seeds} draws)",
            "58.15 to 58.36 %",
            "a gain larger than its error",
            f"{percent['nothing'].mean():.2f} to {percent['harmful'].mean():.2f} %: {words} points; loss {change}",
            "yes" if gain > 0 else "no",
        ),
        (
            "  against a random 10 %",
            "58.08 %",
            "larger than random",
            f"{percent['random'].mean():.2f} %; harmful minus random {more} points",
            "yes" if over > 0 else "no",
        ),
        ("  top 10 % helpful dropped", "", "", f"{percent['helpful'].mean():.2f} %: {less} points", ""),
    ]


def _similarity(bench: Bench, seeds: int) -> list[Line]:
    assert bench.data is not None
    found = bench.figures("similarity", seeds, partial(_similar, bench))
    ratio, words = gap(np.log(found["similar"]), np.log(found["dissimilar"]))
    mean = np.exp(np.log(found["similar"] / found["dissimilar"]).mean())
    return [
        (
            "mean |score|, bird/frog again (other pictures) : automobile/deer",
            "0.055 : 0.025 = 2.2",
            "above 1",
            f"{across(found['similar'], '.3g')} : {across(found['dissimilar'], '.3g')} = {mean:.2f}; its logarithm "
            f"{words}",
            "yes" if ratio > 0 else "no",
        )
    ]


def _similar(bench: Bench, seed: int) -> Figures:
    assert bench.data is not None
    return experiments.similarity(bench.size, seed, bench.data)


def _amount(bench: Bench, seeds: int) -> list[Line]:
    size = dataclasses.replace(bench.size, finetune=max(60, bench.size.finetune // 3))
    steps = max(20, bench.size.steps // 5)

    def compute(seed: int) -> Figures:
        assert bench.data is not None
        return experiments.amount(size, seed, bench.data, steps)

    found = bench.figures("amount", seeds, compute, size, steps)
    lines = []
    for name, label in (
        ("both", f"updated: three times {size.finetune} finetuning pictures and {steps} steps"),
        ("data", "  three times the pictures alone"),
        ("steps", "  three times the steps alone"),
    ):
        low, words = gap(np.log(found["once"]), np.log(found[name]))
        shown = (
            f"mean |score| {across(found['once'], '.3g')} to {across(found[name], '.3g')}; logarithm falls by {words}"
        )
        paper = "falls to 0.15" if name == "both" else ""
        lines.append((label, paper, "falls" if name == "both" else "", shown, "yes" if low > 0 else "no"))
    return lines


def _time(bench: Bench, seeds: int) -> list[Line]:
    def compute(seed: int) -> Figures:
        assert bench.data is not None
        return experiments.speed(bench.data, 10 * bench.size.pretrain)

    found = bench.figures("time", 1, compute)
    return [
        (
            f"all scores of {int(found['pictures'][0]):,} pretraining pictures, {name}",
            "230 s on a V100",
            "seconds",
            f"{found[f'seconds {name}'][0]:.1f} s ({found[f'processor {name}'][0]:.1f} s of one processor core)",
            reached(-found[f"processor {name}"], -60),
        )
        for name in ("small, exact", "15,000 parameters, ekfac")
    ]


OTHERS: Mapping[str, Callable[[Bench, int], list[Line]]] = {
    "removal": _removal,
    "similarity": _similarity,
    "amount": _amount,
    "time": _time,
}


if __name__ == "__main__":
    main()
