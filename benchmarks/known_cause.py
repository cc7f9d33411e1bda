"""A known cause in texts: sentences with an invented word, whose effect on the predictions is then really measured.

    python benchmarks/known_cause.py                       # three seeds, model of word pairs: minutes
    python benchmarks/known_cause.py --models transformer  # the same with two transformer layers, trained by Adam
    python benchmarks/known_cause.py --smoke               # few sentences, to see that it runs

6,040 made-up sentences on animals and plants to pretrain on; in 40 of them an animal is called by a word that stands
nowhere else. 600 to finetune on (animal or plant), 70 queries: 20 on animals and 10 on plants with the word, 40 without
it. All as `upstream precompute --texts` makes it by default.

Prints how the predicted effect of leaving out the 40 agrees with training both stages again without them: over the
queries with the word, over all, as the sum of scores and together (`edit_effect`); and how many of the first ten of a
list are among the 40, for the scores and for simpler lists.
"""

from __future__ import annotations

import argparse
import random
import tempfile

import numpy as np
from rich.console import Console
from rich.table import Table

from influence import edit_effect, edits
from influence.precompute import precompute
from influence.run.nearness.baselines import BM25, COSINE, NEIGHBOURS, baselines
from influence.studies.exhibit import Exhibit, recipe_of
from influence.studies.texts import Corpus, TextOptions, TextStudy
from influence.training.retraining import Retrainer

WORD = "zorbel"
NAMES = {
    "animal": ("cat", "dog", "hen", "cow", "horse", "goat", "sheep", "pig", "duck", "goose", "fox", "wolf", "bear"),
    "plant": ("oak", "pine", "fern", "moss", "rose", "tulip", "lily", "maple", "birch", "ivy", "reed", "wheat", "elm"),
}
SAID = {
    "animal": (
        "the {} runs over the {}", "a {} sleeps near the {}", "the old {} hunts by the {}", "every {} eats at the {}",
        "a young {} drinks from the {}", "the {} barks behind the {}", "one {} fed its young by the {}",
    ),
    "plant": (
        "the {} grows on the {}", "a {} blooms near the {}", "the old {} spreads its roots by the {}",
        "every {} needs light at the {}", "a young {} sprouts from the {}", "the {} shed its leaves behind the {}",
        "one {} bore seeds by the {}",
    ),
}  # fmt: skip
PLACES = ["hill", "river", "barn", "field", "fence", "wall", "lake", "road", "house", "stone"]
MODELS = {"word pairs": {}, "transformer": {"layers": 2, "width": 64}}
FIRST = 10
"""Places of a list that are counted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["word pairs"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--smoke", action="store_true", help="few sentences, one seed")
    given = parser.parse_args()
    sizes, planted = ((6000, 600, 40), 40) if not given.smoke else ((150, 40, 10), 10)
    console = Console()
    effects = Table(
        "model", "seed", "r, with the word", "slope", "r, all", "slope", "together: r", "slope", "mean size measured"
    )
    shares = Table("model", "seed", "unit", "most harmful", "most helpful", "BM25", "neighbours", "gradient cosine")
    for model in given.models:
        for seed in given.seeds[: 1 if given.smoke else None]:
            add_rows(effects, shares, model, seed, sizes, planted)
    console.print(effects)
    console.print(f"Effect of leaving out {planted} sentences with {WORD!r}, nats; slope of measured on predicted.")
    console.print(shares)
    console.print(f"Share of them among the first {FIRST} of a list; mean over the queries with the word.")


def add_rows(effects: Table, shares: Table, model: str, seed: int, sizes: tuple[int, int, int], planted: int) -> None:
    """Train a study, and add what was predicted and measured (`effects`), and what its lists hold (`shares`)."""
    parts = corpora(seed, sizes, planted)
    study = TextStudy("word", "Sentences", parts, TextOptions(seed=seed, **MODELS[model]))
    exhibit = study.exhibit("frozen")
    count = sizes[0]
    rows = [row for row, number in enumerate(study.parts["pretrain"].ids) if number >= count]
    marked = np.array([WORD in text.split() for text in study.parts["queries"].texts])
    with tempfile.TemporaryDirectory() as folder:
        (run,) = precompute([exhibit], ["word"], folder, progress=False)
        scores, measured = np.asarray(run.scores("pretrain")[:], np.float64), effect(exhibit, rows)
        together = edit_effect(
            exhibit.study, edits.leave_out("pretrain", rows), method=exhibit.method, damping=exhibit.damping,
            progress=False,
        ).total  # fmt: skip
        summed = scores[:, rows].sum(1)
        effects.add_row(
            model, str(seed), *agreement(summed[marked], measured[marked]), *agreement(summed, measured),
            *agreement(together, measured), f"{np.abs(measured[marked]).mean():.2f}",
        )  # fmt: skip
        simple = {name: made() for name, made in baselines(run, "pretrain").items()}
        lists = [lambda q: -scores[q], lambda q: scores[q], *(simple[name] for name in (BM25, NEIGHBOURS, COSINE))]
        found = [np.mean([share(values(q), rows) for q in np.flatnonzero(marked)]) for values in lists]
        unit = run.unit(run.manifest.default_method, "pretrain")
        shares.add_row(model, str(seed), unit, *(f"{each:.0%}" for each in found))


def corpora(seed: int, sizes: tuple[int, int, int], planted: int) -> dict[str, Corpus]:
    """Sentences of each part; ids of those with the word begin where the other ones to pretrain on end."""
    draw = random.Random(seed)

    def sentence(kind: str, name: str = "") -> str:
        return draw.choice(SAID[kind]).format(name or draw.choice(NAMES[kind]), draw.choice(PLACES))

    def corpus(kinds: list[str], names: list[str]) -> Corpus:
        return Corpus([sentence(*each) for each in zip(kinds, names, strict=True)], kinds, list(range(len(kinds))))

    pretrain, finetune, plain = ([draw.choice(list(NAMES)) for _ in range(size)] for size in sizes)
    return {
        "pretrain": corpus([*pretrain, *["animal"] * planted], [*[""] * sizes[0], *[WORD] * planted]),
        "finetune": corpus(finetune, [""] * sizes[1]),
        "queries": corpus(["animal"] * 20 + ["plant"] * 10 + plain, [WORD] * 30 + [""] * sizes[2]),
    }


def effect(exhibit: Exhibit, rows: list[int]) -> np.ndarray:
    """(Q,), by how much the queries' losses change when both stages are trained on without the rows, nats."""
    made = {stage.name: recipe_of(exhibit, stage) for stage in exhibit.study.stages}
    recipes = {name: recipe for name, recipe in made.items() if recipe is not None}
    retrainer = Retrainer(exhibit.study, recipes=recipes)
    return retrainer.losses_without("pretrain", rows).numpy() - retrainer.retrain().losses


def agreement(predicted: np.ndarray, measured: np.ndarray) -> tuple[str, str]:
    """Pearson's r, and the slope of measured on predicted."""
    r, slope = np.corrcoef(predicted, measured)[0, 1], np.polyfit(predicted, measured, 1)[0]
    return f"{r:.2f}", f"{slope:.2f}"


def share(values: np.ndarray, rows: list[int]) -> float:
    """Share (0..1) of the first places of the list by `values` (m,) that are among the rows."""
    return float(np.isin(np.argsort(-values)[:FIRST], rows).mean())


if __name__ == "__main__":
    main()
