"""Planted sentences: shuffle the words of some definitions to pretrain on, and see which numbers find them.

    python benchmarks/planted_texts.py              # 200 of the 26,025 definitions, one finetuned model: minutes
    python benchmarks/planted_texts.py --smoke      # a few made-up sentences, to see that it runs

Prints, for every number that a run has of a pretraining text, the area under the ROC curve: the chance that a planted
text has a higher one than another text (0.5: it cannot tell them apart).
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import tempfile

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from influence.precompute import precompute
from influence.run import Run
from influence.studies.texts import Corpus, Definitions, TextOptions, TextStudy
from influence.studies.texts.definitions import options

PLANTED = 200
LONG = 6
"""Words from which a text may be planted: the order of fewer says little."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few made-up sentences")
    given = parser.parse_args()
    if given.smoke:
        parts, made, count = made_up(given.seed), TextOptions(vocabulary=60, width=8), 5
    else:
        parts, made, count = Definitions(given.seed).parts, options(given.seed), PLANTED
    corpus, planted = shuffled(parts["pretrain"], count, given.seed)
    study = TextStudy("planted", "Planted", {**parts, "pretrain": corpus}, made)
    with tempfile.TemporaryDirectory() as folder:
        (run,) = precompute([study.exhibit("frozen")], ["planted"], folder)
        report(run, planted, given.seed)


def shuffled(corpus: Corpus, count: int, seed: int) -> tuple[Corpus, set[int]]:
    """The corpus with the words of `count` texts shuffled, and the ids of these."""
    draw, texts = random.Random(seed), list(corpus.texts)
    rows = draw.sample([i for i, text in enumerate(texts) if len(text.split()) >= LONG], count)
    for row in rows:
        words = texts[row].split()
        draw.shuffle(words)
        texts[row] = " ".join(words)
    return dataclasses.replace(corpus, texts=texts), {corpus.ids[row] for row in rows}


def report(run: Run, planted: set[int], seed: int) -> None:
    table, scores = run.examples("pretrain"), run.scores()[:]
    long = (table["text"].str.split().str.len() >= LONG).to_numpy()  # compared with their like
    marked = table["id"].isin(planted).to_numpy()[long]
    wrong = (run.queries()["prediction"] != run.queries()["label"]).to_numpy()
    numbers = {
        "self-influence": table["self_influence"].to_numpy(),
        "training loss": table["loss"].to_numpy(),
        "gradient norm": table["gradient_norm"].to_numpy(),
        "sum of |score| over the queries": np.abs(scores).sum(0),
        "harm: minus the sum of scores over all queries": -scores.sum(0),
        "harm: the same over wrong predictions": -scores[wrong].sum(0),
    }
    printed = Table("number", "area under the ROC curve")
    for name, values in numbers.items():
        printed.add_row(name, f"{area(values[long], marked):.2f}")
    console = Console()
    console.print(printed)
    console.print(f"{marked.sum()} planted among {long.sum():,} texts of at least {LONG} words, seed {seed}")


def area(values: np.ndarray, marked: np.ndarray) -> float:
    """Chance that a marked one has the higher value (Mann and Whitney's U)."""
    ranks, count = rankdata(values), marked.sum()
    return float((ranks[marked].sum() - count * (count + 1) / 2) / (count * (len(marked) - count)))


def made_up(seed: int) -> dict[str, Corpus]:
    draw = random.Random(seed)
    words = {
        "sea": ["fish", "wave", "salt", "boat", "sand", "crab"],
        "sky": ["star", "bird", "wind", "moon", "sun", "kite"],
    }

    def corpus(count: int, first: int) -> Corpus:
        labels = [draw.choice(list(words)) for _ in range(count)]
        texts = [" the ".join(draw.sample(words[label], 4)) for label in labels]
        return Corpus(texts, labels, list(range(first, first + count)))

    return {"pretrain": corpus(60, 0), "finetune": corpus(20, 100), "queries": corpus(10, 200)}


if __name__ == "__main__":
    main()
