"""The rows of the Trust page's charts, from the tables of checks: plain functions."""

from __future__ import annotations

import math

import numpy as np

from explorer.charts.intervals import Row
from explorer.trust import evidence
from explorer.trust.evidence import Figure
from explorer.ui import theme
from influence.run import Run


def row(name: str, figure: Figure, text: str, *, other: float = math.nan, sign: str = "", detail: str = "") -> Row:
    """A figure of the summary as a row, with `text` beside it."""
    return Row(name, figure.value, figure.low, figure.high, text, figure.words, other, sign, detail)


def subsets(run: Run, start: str) -> list[Row]:
    """LDS by the share that was kept."""
    found = evidence.figures(run, "subsets", start, "LDS, ")
    return [row(name, f, theme.correlation(f.value), detail=f"{f.count} subsets") for name, f in found.items()]


def strongest(run: Run, start: str, unit: theme.Unit, position: int | None) -> list[Row]:
    """Rise of a query's loss without its own strongest 1 %, by whose list; of one prediction as the diamond."""
    stage = evidence.stage_of(run)
    return [
        row(
            name,
            figure,
            f"{unit.text(figure.value)} {unit.name}",
            other=math.nan if position is None else evidence.own_rise(run, stage, position, start, name),
            detail=f"{figure.count} predictions",
        )
        for name, figure in evidence.figures(run, "strongest", start, "rise, ").items()
    ]


def removal(run: Run, start: str, unit: theme.Unit) -> list[Row]:
    """Change of the mean loss with a share of the examples left out, beside what was predicted if that has a unit."""
    table = run.validation("removal")
    if table is None:
        return []
    found, result = evidence.figures(run, "removal", start, "change of the mean loss, "), []
    part = table[table["start"] == start]
    for (share, kind), group in part.groupby(["share", "kind"]):
        name = f"{share:.0%} {kind}"
        if name not in found:
            continue
        gain = float((group["accuracy"] - group["accuracy_before"]).mean()) * 100
        accuracy = f", accuracy {theme.signed(gain)} points" if math.isfinite(gain) else ""
        words = {"random": "at random"}.get(str(kind), f"most {kind}")
        figure, predicted = found[name], float(group["predicted"].mean())
        result.append(
            row(
                f"{share:.0%} {words}",
                figure,
                f"{unit.text(figure.value)} {unit.name}{accuracy}",
                other=math.nan if evidence.unitless(run) else predicted,
                sign=str(kind) if kind != "random" else "",
            )
        )
    return result


def sanity(run: Run) -> list[Row]:
    """Rank correlation with what was measured, of the run's own scores and of others."""
    found = evidence.figures(run, "sanity", what="rank correlation, ")
    return [row(name, figure, theme.correlation(figure.value)) for name, figure in found.items()]


def stability(run: Run, own: evidence.Stays | None) -> list[Row]:
    """Share of the lists that stays by what is changed; of one prediction as the diamond."""
    table = run.validation("stability")
    if table is None:
        return []
    ranks = table.groupby("changed")["rank_correlation"].mean()
    shares = own.shares if own else {}
    return [
        row(
            f"another {name}",
            figure,
            f"{theme.percent(figure.value)}, rank r {theme.correlation(float(ranks.get(name, math.nan)))}",
            other=shares.get(name, math.nan),
            detail=", ".join(table[table["changed"] == name]["value"].unique()),
        )
        for name, figure in evidence.figures(run, "stability", what="overlap, other ").items()
    ]


def noise(run: Run, unit: theme.Unit) -> list[Row]:
    """How much losses change with nothing left out, beside the strongest single effects that were measured."""
    table, words = run.validation("summary"), {"seed": "another seed", "weight by 1e-6": "one weight by a millionth"}
    kept = table[table["check"] == "noise"].to_dict("records") if table is not None else []
    result = []
    for each in kept:
        figure = Figure(each["value"], each["low"], each["high"], each["count"], each["words"])
        name, start = str(each["what"]).removeprefix("noise, "), "from scratch" if each["start"] == "scratch" else "on"
        size = figure.value * unit.factor
        text = f"{theme.number(size) if size >= 0.001 else 'under 0.001'} {unit.name}"
        result.append(row(words.get(name, name), figure, text, detail=f"trained {start}"))
    effects = strongest_effects(run)
    if result and len(effects):
        typical = float(np.median(effects))
        told = f"Half of the {len(effects)} examples that lead a list changed that list's loss by more than this."
        figure = Figure(typical, math.nan, math.nan, len(effects), told)
        text = f"{theme.number(typical * unit.factor)} {unit.name}"
        result.append(row("leaving out a list's first", figure, text, detail="median, trained on", sign="strongest"))
    return result


def strongest_effects(run: Run) -> np.ndarray:
    """Measured |change| of a query's loss without the example that leads its list, from the solution."""
    table = run.validation("leave-one-out")
    if table is None:
        return np.empty(0)
    own = table[(table["query"] == table["chosen_for"]) & (table["start"] == evidence.SOLUTION)]
    return own["measured"].abs().to_numpy()
