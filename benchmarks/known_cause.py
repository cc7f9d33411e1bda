"""A known cause in the pretraining data: is it what the lists name, and does it do what the scores say?

    python benchmarks/known_cause.py                            # four causes, three seeds: minutes
    python benchmarks/known_cause.py --causes word              # one of them
    python benchmarks/known_cause.py --causes word --layers 2   # the same with two transformer layers, trained by Adam
    python benchmarks/known_cause.py --smoke                    # few examples, to see that it runs

Forty pretraining examples have a cause, and so have the queries that are looked at:

- `word`: of 6,040 made-up sentences on animals and plants 40 call an animal by a word that stands nowhere else;
- `word, long texts`: of 1,540 longer ones on kitchens and voyages 40 do so, with 200 to finetune on;
- `rotated`: 40 of the 2,000 digits of the demo lie on their side, as do the queries;
- `swapped labels`: 40 of them have a wrong label. No query has it: all are looked at.

All is made as `upstream precompute` makes it by default. Prints how the predicted effect of leaving out the 40 agrees
with training both stages again without them, by the run's own method, the same moved beyond the first order, and other
methods; and how many of the first ten of each list are among the 40, also of lists by simpler scores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from causes.pictures import PlantedDigits
from causes.sentences import LONG, SHORT, WORD, Language, corpora
from rich.console import Console
from rich.table import Table
from trust.tables import across

from influence import attribute, edit_effect, edits
from influence.precompute import precompute
from influence.run.nearness.baselines import baselines
from influence.studies.exhibit import Exhibit, recipe_of
from influence.studies.texts import TextOptions, TextStudy
from influence.training.retraining import Retrainer

QUERIES, PLAIN = 90, 40
"""Queries of digits, of which a third may have the cause; queries of texts without it."""
OTHERS = {"texts": ("cg", "identity"), "digits": ("ekfac", "identity")}
"""Methods beside the run's own."""
FIRST = 10
"""Places of a list that are counted."""
FIGURES = ("r", "slope", "r, all", "slope, all", "harmful", "helpful", "nearest")


@dataclass(frozen=True)
class Case:
    """A study with a cause: its exhibit, rows of the planted examples, and which queries have the cause."""

    exhibit: Exhibit
    rows: list[int]
    marked: np.ndarray


def texts(language: Language, seed: int, planted: int, layers: int, smoke: bool) -> Case:
    sizes = (150, 40) if smoke else language.sizes
    parts = corpora(language, seed, planted, sizes, PLAIN)
    model = {"layers": layers, "width": 64} if layers else {}
    study = TextStudy("word", "Sentences", parts, TextOptions(seed=seed, **model))
    rows = [row for row, number in enumerate(study.parts["pretrain"].ids) if number >= sizes[0]]
    marked = np.array([WORD in text.split() for text in study.parts["queries"].texts])
    return Case(study.exhibit("frozen"), rows, marked)


def digits(rotated: bool, seed: int, planted: int) -> Case:
    study = PlantedDigits(seed, rotated=rotated, planted=planted, queries=QUERIES)
    exhibit = study.exhibit("frozen")
    rows = np.flatnonzero(np.isin(exhibit.examples["pretrain"]["id"], study.planted)).tolist()
    return Case(exhibit, rows, np.arange(QUERIES) < (QUERIES // 3 if rotated else QUERIES))


CAUSES: dict[str, Callable[[int, int, int, bool], Case]] = {
    "word": lambda *given: texts(SHORT, *given),
    "word, long texts": lambda *given: texts(LONG, *given),
    "rotated": lambda seed, planted, *_: digits(True, seed, planted),
    "swapped labels": lambda seed, planted, *_: digits(False, seed, planted),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--causes", nargs="+", choices=CAUSES, default=list(CAUSES))
    parser.add_argument("--layers", type=int, default=0, help="of a transformer; 0: the model of word pairs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--planted", type=int, default=40, help="pretraining examples with the cause")
    parser.add_argument("--smoke", action="store_true", help="few sentences, one seed")
    given = parser.parse_args()
    if given.smoke:
        given.causes, given.seeds, given.planted = given.causes[:1], given.seeds[:1], 10
    if given.planted < 1:
        parser.error(f"--planted is {given.planted}: without a planted example there is no effect to compare; give 1.")
    console, table = Console(width=180), Table("cause", "scores", "unit", *FIGURES)
    for cause in given.causes:
        cases = (CAUSES[cause](seed, given.planted, given.layers, given.smoke) for seed in given.seeds)
        found = [pd.DataFrame(rows(case)) for case in cases]
        for name, part in pd.concat(found).groupby("scores", sort=False):
            figures = [across(part[figure]) if part[figure].notna().all() else "" for figure in FIGURES]
            table.add_row(cause, str(name), ", ".join(part["unit"].dropna().unique()), *figures)
        table.add_section()
    console.print(table)
    console.print(
        f"Effect of leaving out all planted examples on the loss of queries with the cause, and of all: r and slope of "
        f"measured on predicted. Harmful, helpful, nearest: share of planted ones among the first {FIRST} of a list, "
        f"mean over queries with the cause. Mean over {len(given.seeds)} seeds (smallest to largest)."
    )


def rows(case: Case) -> Iterator[dict[str, object]]:
    """Train the study; a row of figures for each method and for each simpler score."""
    exhibit, marked, planted = case.exhibit, case.marked, case.rows
    with tempfile.TemporaryDirectory() as folder:
        (run,) = precompute([exhibit], ["cause"], folder, progress=False)
        own = run.manifest.default_method
        scores = {own: np.asarray(run.scores("pretrain")[:], np.float64)}
        for method in OTHERS["texts" if "text" in exhibit.queries else "digits"]:
            found = attribute(exhibit.study, stage="pretrain", method=method, progress=False)
            scores[method] = found.values.astype(np.float64)  # noqa: PD011
        measured = effect(exhibit, planted)
        together = edit_effect(
            exhibit.study, edits.leave_out("pretrain", planted), method=exhibit.method, damping=exhibit.damping,
            curvature=exhibit.curvature, progress=False,
        ).total  # fmt: skip
        for name, values in scores.items():
            lists = {"harmful": -values[marked], "helpful": values[marked]}
            yield {
                "scores": f"{name} (the run's)" if name == own else name,
                "unit": run.unit(name, "pretrain") if name == own else None,
                **agreement(values[:, planted].sum(1), measured, marked),
                **{kind: share(each, planted) for kind, each in lists.items()},
            }
        yield {"scores": "all together", **agreement(together, measured, marked)}
        for name, made in baselines(run, "pretrain").items():
            near = made()
            yield {"scores": name, "nearest": share(np.stack([near(q) for q in np.flatnonzero(marked)]), planted)}


def effect(exhibit: Exhibit, planted: list[int]) -> np.ndarray:
    """(Q,), by how much the queries' losses change when both stages are trained on without the rows, nats."""
    made = {stage.name: recipe_of(exhibit, stage) for stage in exhibit.study.stages}
    recipes = {name: recipe for name, recipe in made.items() if recipe is not None}
    retrainer = Retrainer(exhibit.study, recipes=recipes)
    return retrainer.losses_without("pretrain", planted).numpy() - retrainer.retrain().losses


def agreement(predicted: np.ndarray, measured: np.ndarray, marked: np.ndarray) -> dict[str, float]:
    """Pearson's r and the slope of measured on predicted, over the queries with the cause and over all."""
    found: dict[str, float] = {}
    for over, which in (("", marked), (", all", np.ones_like(marked))):
        x, y = predicted[which], measured[which]
        found |= {f"r{over}": float(np.corrcoef(x, y)[0, 1]), f"slope{over}": float(np.polyfit(x, y, 1)[0])}
    return found


def share(values: np.ndarray, planted: list[int]) -> float:
    """Share (0..1) of the first places of each list by `values` (Q, m) that are among the planted; mean over lists."""
    return float(np.isin(np.argsort(-values, axis=1)[:, :FIRST], planted).mean())


if __name__ == "__main__":
    main()
