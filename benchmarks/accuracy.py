"""Every method against what training again really does: subsets (LDS) and single examples left out, in one table.

    python benchmarks/accuracy.py                              # digits and texts; about 15 minutes on two cores
    python benchmarks/accuracy.py --only digits-frozen         # one study
    python benchmarks/accuracy.py --keep DIR                   # what was finished there is read, not computed
    python benchmarks/accuracy.py --smoke                      # the smallest setting, to see that it runs

LDS (Park et al. 2023): the rank correlation, over random halves of the pretraining data, of the scores summed over what
was left out with the measured change of a query's loss; its mean over queries.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from trust import peers
from trust.again import Again
from trust.experiments import correlation
from trust.settings import Setting, Size, digits, texts
from trust.tables import across

from influence.errors import CurvatureError
from influence.progress import Progress
from influence.studies.texts.word_pairs import sentence
from influence.validation.pieces import Pieces
from influence.validation.statistics import spearman

STUDIES: dict[str, Callable[[Size, int], Setting]] = {
    "digits-frozen": lambda size, seed: digits("frozen", size, seed),
    "digits-updated": lambda size, seed: digits("updated", size, seed),
    "texts": lambda size, seed: texts("frozen", _for_texts(size), seed),
}


def _for_texts(size: Size) -> Size:
    """Fewer, since each takes longer."""
    return dataclasses.replace(size, pretrain=min(400, size.pretrain), finetune=min(300, size.finetune))


SMOKE = Size(pretrain=60, finetune=60, queries=20, steps=30, batch=20)


@dataclasses.dataclass(frozen=True)
class Asked:
    size: Size
    subsets: int
    kept: float
    strongest: int
    random: int
    models: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(STUDIES), default=list(STUDIES), metavar="STUDY")
    parser.add_argument("--seeds", type=int, default=2, help="each draws other data")
    parser.add_argument("--subsets", type=int, default=30)
    parser.add_argument("--kept", type=float, default=0.5, help="share of the examples in a subset")
    parser.add_argument("--strongest", type=int, default=4, help="examples of largest |score| that are left out alone")
    parser.add_argument("--random", type=int, default=12, help="random ones")
    parser.add_argument("--models", type=int, default=3, help="over which TRAK is averaged")
    for field in dataclasses.fields(Size):
        usual = 40 if field.name == "queries" else field.default
        parser.add_argument(f"--{field.name}", type=type(field.default), default=usual)
    parser.add_argument("--keep", type=Path, help="folder of finished studies")
    parser.add_argument("--smoke", action="store_true", help="a few digits")
    options = parser.parse_args()
    size = Size(**{f.name: getattr(options, f.name) for f in dataclasses.fields(Size)})
    asked = Asked(size, options.subsets, options.kept, options.strongest, options.random, options.models)
    if options.smoke:
        asked, options.seeds, options.only = Asked(SMOKE, 3, 0.5, 1, 2, 1), 1, ["digits-frozen"]
    torch.set_num_threads(1)  # layers are too small for more
    table = Table("study", "method", "LDS", "r, left out alone", "the same, of the mean loss", "seconds")
    with tempfile.TemporaryDirectory() as folder, Progress() as bars:
        pieces = Pieces(options.keep or Path(folder))
        for name in options.only:
            with bars.step(name, total=options.seeds) as bar:
                found = [_kept(pieces, name, asked, seed, bar.advance) for seed in range(options.seeds)]
            for line in _lines(name, pd.concat(found, ignore_index=True)):
                table.add_row(*line)
            table.add_section()
    console = Console()
    console.print(table)
    console.print(
        f"{asked.size.pretrain:,} digits or {_for_texts(asked.size).pretrain:,} texts to pretrain on, "
        f"{asked.size.queries} queries, trained from scratch each time in the same order, texts to their one "
        f"minimum; {asked.subsets} subsets with "
        f"{asked.kept:.0%} of the examples; {asked.strongest} examples of largest |score| and {asked.random} random "
        "ones left out alone, r: Pearson's over pairs of an example and a query; TRAK over "
        f"{asked.models} models; mean over {options.seeds} seeds (smallest to largest)."
    )


def _kept(pieces: Pieces, name: str, asked: Asked, seed: int, advance: Callable[[], None]) -> pd.DataFrame:
    key = ["accuracy", name, seed, dataclasses.asdict(asked)]
    table = pieces.get(key)
    if table is None:
        table = measured(STUDIES[name](asked.size, seed), asked, seed)
        pieces.put(key, table)
    advance()
    return table


def measured(setting: Setting, asked: Asked, seed: int) -> pd.DataFrame:
    """How well each method predicts one study, a row a method."""
    again, rng = Again(setting), np.random.default_rng(seed)
    scores, seconds = {}, {}
    for method, compute in _methods(setting, again, asked.models):
        began = time.perf_counter()
        try:
            scores[method] = compute()
        except CurvatureError:  # told in the table
            scores[method] = np.full((len(setting.truth), again.count), np.nan)
        seconds[method] = time.perf_counter() - began
    number = round((1 - asked.kept) * again.count)
    halves = [np.sort(rng.permutation(again.count)[:number]).tolist() for _ in range(asked.subsets)]
    total = np.abs(next(iter(scores.values())).mean(0))
    order = np.argsort(-total, kind="stable")
    alone = [int(i) for i in (*order[: asked.strongest], *rng.permutation(order[asked.strongest :])[: asked.random])]
    changed = again.from_scratch(again.without(halves))
    changes = again.from_scratch(again.without([[each] for each in alone]))
    rows = []
    for method, values in scores.items():
        summed = np.stack([values[:, out].sum(1) for out in halves], axis=1)
        rows.append(
            {
                "method": method,
                "lds": float(np.nanmean(spearman(summed, changed.T))) if np.isfinite(summed).all() else np.nan,
                "pairs": correlation(values[:, alone].T, changes),
                "totals": correlation(values[:, alone].mean(0), changes.mean(1)),
                "seconds": seconds[method],
            }
        )
    return pd.DataFrame(rows)


def _methods(setting: Setting, again: Again, models: int) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    study = again.study
    damping = {} if study.stages[0].l2 else {"damping": 1e-3}
    if again.recordings:
        yield "replay", again.replayed
    if setting.study.name != "texts":  # too many parameters
        yield "exact, Hessian", lambda: again.scores(study, method="exact", curvature="hessian", **damping)
    yield "cg, Hessian", lambda: again.scores(study, method="cg", curvature="hessian", **damping)
    yield "cg, Gauss-Newton", lambda: again.scores(study, method="cg", **damping)
    yield "ekfac", lambda: again.scores(study, method="ekfac", **damping)
    yield "ekfac, small stages by blocks too", lambda: again.scores(study, method="ekfac", small=0, **damping)
    yield "identity", lambda: again.scores(study, method="identity", **damping)
    yield "gradient dot product", lambda: peers.gradient_products(study)
    yield "TRAK", lambda: peers.trak([study, *(Again(setting.other(1000 + i)).study for i in range(models - 1))])
    yield "nearest in the embedding", lambda: peers.neighbours(study, _embedding(setting))


def _embedding(setting: Setting) -> Callable[[nn.Module, list[Tensor]], Tensor]:
    if setting.study.name == "texts":
        return lambda model, batch: sentence(model, batch[0], fading=1.0)
    return lambda model, batch: model.get_submodule("features")(batch[0])


def _lines(name: str, found: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    for i, (method, part) in enumerate(found.groupby("method", sort=False)):
        if part["lds"].isna().all():
            figures = ("the Hessian has negative curvature", "", "")
        else:
            figures = (across(part["lds"]), across(part["pairs"]), across(part["totals"]))
        yield (name if i == 0 else "", str(method), *figures, f"{part['seconds'].mean():.1f}")
    yield (
        "",
        "single-stage influence at the finetuned model",
        "undefined: its head has no output for them",
        "",
        "",
        "",
    )


if __name__ == "__main__":
    main()
