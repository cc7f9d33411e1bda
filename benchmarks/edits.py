"""Edits of the training data, predicted against really training both stages again.

    python benchmarks/edits.py            # every kind of edit on the demo's digits, both finetuned models
    python benchmarks/edits.py --smoke    # two edits a kind on a twentieth of the digits, to see that it runs

Prints, per finetuned model and kind of edit of a pretraining digit, Pearson's r over all (edit, query) pairs and the
slope of measured on predicted changes (1 = the size is right too), for random digits and for those of strongest
influence, the slope also of what one step beyond the first order predicts (`total` of `edit_effect`); the same for a
group of queries against another; a mask on a fifth of the digits, by steps; the time of all relabellings beside that of
the scores; and sets of digits that are chosen to be changed together. Then edits of scikit-learn's diabetes data,
judged by the gap between two groups, of votes of rules, and of dictionary definitions; and the repair of labels that
were flipped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from edited.flips import print_flips, small_digits
from edited.tables import print_gaps
from edited.texts import print_texts
from edited.votes import print_votes
from leave_one_out import agreement
from precompute import Thinned
from rich.console import Console
from rich.progress import track
from rich.table import Table

from influence import Study, attribute, best_together, edit_effect, edit_scores, edits, relabel_scores, targets
from influence.attribution.chain import Chain
from influence.attribution.edits.change import Change
from influence.attribution.edits.effect import changed
from influence.attribution.edits.minima import minima_near
from influence.attribution.explained import Explained
from influence.attribution.guards import solver_of
from influence.studies.images import Digits
from influence.studies.images.mask import masked
from influence.study.edits import Edit
from influence.training import Retrainer, fit_stage

OPTIONS: dict[str, Any] = {"method": "exact", "curvature": "hessian", "progress": False}
STAGE = "pretrain"
PATCH = (10, 10, 7, 7)
"""Left, top, width and height of what a mask blanks, in the middle of a digit."""


def kinds(study: Study, pool: Any, rng: np.random.Generator) -> dict[str, Callable[[int], Edit]]:
    """Name -> the edit of this kind of one pretraining digit; `pool` gives digits to add."""
    data = study.stages[0].data
    classes = int(max(int(data[row][1]) for row in range(len(data)))) + 1

    def other(row: int) -> int:
        return int((int(data[row][1]) + rng.integers(1, classes)) % classes)

    return {
        "leave out": lambda row: edits.leave_out(STAGE, [row]),
        "count twice": lambda row: edits.upweight(STAGE, [row], 1),
        "relabel": lambda row: edits.relabel(STAGE, [row], [other(row)]),
        "mask 7 x 7": lambda row: edits.replace(STAGE, [row], [(masked(data[row][0], PATCH), data[row][1])]),
        "add": lambda row: edits.add(STAGE, [pool[row % len(pool)]]),
    }


def measured(retrainer: Retrainer, some: Iterable[Edit], label: str) -> np.ndarray:
    """(edits, Q), nats: change of every query's loss, beside training again with nothing edited."""
    base = retrainer.retrain().losses
    return np.stack([retrainer.retrain(edits=each).losses - base for each in track(list(some), label, transient=True)])


def single_edits(study: Study, variant: str, count: tuple[int, int], seed: int, table: Table) -> None:
    """A row of the table for each kind of edit of a single digit, and one for the gap of two groups of queries."""
    strongest, random = count
    rng = np.random.default_rng(seed)
    total = np.abs(attribute(study, **OPTIONS).values).sum(0)
    rows = [*np.argsort(-total)[:strongest], *rng.choice(len(total), random, replace=False)]
    pool = torch.utils.data.Subset(study.stages[0].data, rng.permutation(len(total)).tolist())
    retrainer, half = Retrainer(study), len(study.queries) // 2
    for kind, edit in kinds(study, pool, rng).items():
        some = [edit(int(row)) for row in rows]
        predicted = edit_scores(study, some, **OPTIONS).values.T
        whole = totals(study, some)
        really = measured(retrainer, some, f"{variant}, {kind}")
        top, rest = slice(0, strongest), slice(strongest, None)
        gaps = [values[:, :half].mean(1) - values[:, half:].mean(1) for values in (predicted, really)]
        table.add_row(
            variant,
            kind,
            *agreement(predicted[rest], really[rest]),
            *agreement(predicted[top], really[top]),
            *agreement(*gaps),
            *(agreement(whole[part], really[part])[1] for part in (rest, top)),
        )


def totals(study: Study, some: Iterable[Edit]) -> np.ndarray:
    """(edits, Q), nats: `edit_effect(study, edit).total` of each edit alone, with the curvature fitted once for all."""
    chain = Chain(study, 0, solver_of(OPTIONS["method"], None, OPTIONS["curvature"], {}))
    explained, first = Explained(chain, None), chain.objectives[0]
    ends = (minima_near(chain, {first: Change(first, [edit])}, 1).parameters[-1] for edit in some)
    return np.stack([changed(explained, chain, parameters).cpu().numpy() for parameters in ends])


def together(study: Study, seed: int, console: Console) -> None:
    """A mask on a fifth of the digits: the error of the prediction after each number of steps."""
    data = study.stages[0].data
    rows = np.random.default_rng(seed).permutation(len(data))[: len(data) // 5].tolist()
    edit = edits.replace(STAGE, rows, [(masked(data[row][0], PATCH), data[row][1]) for row in rows])
    really = measured(Retrainer(study), [edit], "masks")[0]
    for steps in range(4):
        found = edit_effect(study, edit, steps=steps, **OPTIONS).total
        error = np.linalg.norm(found - really) / np.linalg.norm(really)
        console.print(f"A mask on {len(rows)} digits together, steps={steps}: relative error {error:.3f}")


def relabel_time(study: Study, console: Console) -> None:
    """Time of all relabellings for ten queries, beside that of the scoring pass of `attribute` for the same."""
    ten = Study("ten", study.stages, torch.utils.data.Subset(study.queries, range(min(10, len(study.queries)))))
    ways: dict[str, Callable[..., Any]] = {"attribute": attribute, "relabel_scores": relabel_scores}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            began = time.process_time()
            way(ten, method="identity", progress=False)
            seconds[name].append(time.process_time() - began)
    best = {name: min(some) for name, some in seconds.items()}
    console.print(
        f"{len(ten.stages[0].data):,} digits, {len(ten.queries)} queries (identity, processor time): scores "
        f"{best['attribute']:.2f} s, all relabellings {best['relabel_scores']:.2f} s"
    )


def sets(study: Study, count: int, number: int, console: Console) -> None:
    """Digits that lower a target most, left out or counted twice, chosen in rounds beside the first by score.

    The target is the mean loss of every other query, with that of the others beside it, or the loss of one of a
    `number` of mistakes.
    """
    retrainer = Retrainer(study)
    base = retrainer.retrain().losses
    mistakes = [[int(row)] for row in np.argsort(-base)[: 20 * number : 20]]
    table = Table("target", "digits", "chosen in rounds", "other queries", "first by score", "other queries")
    for rows in (list(range(0, len(base), 2)), *mistakes):
        target, others = targets.mean(rows), np.setdiff1d(np.arange(len(base)), rows)
        scores = attribute(study, targets=[target], **OPTIONS).values[0]
        for by, words, size in ((-1, "left out", count), (1, "counted twice", 2 * count)):
            best = best_together(study, target, size, by=by, retrainer=retrainer, **OPTIONS).measured
            first = np.argsort(-by * scores)[:size]
            listed = retrainer.retrain(edits=edits.upweight(STAGE, first, by)).losses - base
            what = "every other query" if len(rows) > 1 else f"query {rows[0]}, loss {base[rows[0]]:.2f}"
            figures = [found[part].mean() for found in (best, listed) for part in (rows, others)]
            table.add_row(what, f"{size} {words}", *(f"{figure:+.4f}" for figure in figures))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two edits a kind on a twentieth of the digits")
    options = parser.parse_args()
    count = (1, 1) if options.smoke else (10, 30)
    digits, started = (Thinned if options.smoke else Digits)(options.seed), time.perf_counter()
    console = Console()
    headings = ("r random", "slope", "r strongest", "slope", "r gap", "slope", "slope of totals: random", "strongest")
    table = Table("finetuned", "edit", *headings)
    for variant in digits.variants[: 1 if options.smoke else None]:
        study = digits.exhibit(variant).study
        for previous, stage in study.pairs():
            if not (previous is None and variant != digits.variants[0]):  # both variants share their pretraining
                fit_stage(stage, previous)
        single_edits(study, variant, count, options.seed, table)
        together(study, options.seed, console)
        relabel_time(study, console)
        sets(study, *((5, 1) if options.smoke else (20, 4)), console)
    console.print(table)
    console.print(
        f"{count[1]} random and {count[0]} strongest pretraining digits a kind, seed {options.seed}, all "
        f"{len(study.queries)} queries, {time.perf_counter() - started:.0f} s"
    )
    print_gaps(options.seed, (2, 3) if options.smoke else (20, 40), console)
    kind = type(digits)
    flipped: dict[str, Callable[[int], Study]] = {"digits": lambda seed: kind(seed).exhibit("frozen").study}
    flipped |= {} if options.smoke else {"8 x 8 digits": small_digits}
    print_flips(flipped, range(options.seed, options.seed + (1 if options.smoke else 3)), console)
    print_votes(options.seed, 3 if options.smoke else 60, console)
    print_texts(options.seed, *((1, 8) if options.smoke else (10, 1)), console)


if __name__ == "__main__":
    main()
