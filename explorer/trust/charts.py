"""What the charts of the Trust page draw, from the tables of checks: plain functions, places as fractions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.trust import axis as scales
from explorer.trust import evidence
from explorer.trust.evidence import Figure
from explorer.ui import theme
from influence.run import Run

MOST = 900
"""Points that are drawn: half of them the largest predictions, the others at random."""
KINDS = {"helpful": "helpful", "harmful": "harmful", "random": "single"}
"""Why an example was left out -> how its points look."""
KIND_WORDS = {"helpful": "leads a list as helpful", "harmful": "leads one as harmful", "random": "drawn at random"}
FINDER_WORDS = {"harm": "harm, these scores", "loss": "the example's own loss", "neighbours": "neighbours' labels"}
DASHES = ("", "7 3", "2 3", "9 3 2 3")
COLOURS = (theme.CLASS_COLOURS[0], theme.CLASS_COLOURS[1], theme.CLASS_COLOURS[2], theme.CLASS_COLOURS[3])


# Predicted against measured


def sampled(pairs: pd.DataFrame, most: int = MOST) -> pd.DataFrame:
    """At most so many rows: the largest predictions, and others at random, the same each time."""
    if len(pairs) <= most:
        return pairs
    strength = pairs["predicted"].abs().to_numpy()
    strongest = np.argpartition(-strength, most // 2)[: most // 2]
    rest = np.setdiff1d(np.arange(len(pairs)), strongest)
    drawn = np.random.default_rng(0).choice(rest, most - most // 2, replace=False)
    return pairs.iloc[np.sort(np.concatenate([strongest, drawn]))]


def scatter(
    pairs: pd.DataFrame,
    examples: pd.Series,
    queries: pd.Series,
    unit: theme.Unit,
    link: Callable[[int, int], str],
) -> dict[str, Any]:
    """Points of `predicted` against `measured`; `examples` and `queries` are ids, `link` leads to an example's page.

    Columns of `pairs`: `example`, `query` (rows), `kind`, `predicted`, `measured` (nats). Both axes have one scale, in
    `unit`; where scores have none, each has its own, and nothing is drawn "as predicted".
    """
    measured_unit = unit if unit.name else theme.unit_of(pairs["measured"].to_numpy())
    across, up = (scales.symmetric(pairs[name]) for name in ("predicted", "measured"))
    if unit.name:
        across = up = max(across, up, key=lambda axis: axis.high)
    points = []
    for row in pairs.to_dict("records"):
        example, query = int(examples.iloc[row["example"]]), int(queries.iloc[row["query"]])
        points.append(
            {
                "x": across.at(row["predicted"]),
                "y": up.at(row["measured"]),
                "kind": KINDS.get(row["kind"], "single"),
                "title": f"Without #{example} ({KIND_WORDS.get(row['kind'], row['kind'])}), prediction #{query}: "
                f"predicted {unit.text(row['predicted'])}, measured {measured_unit.text(row['measured'])} "
                f"{measured_unit.name}",
                "href": link(example, query),
            }
        )
    r = evidence.correlation(pairs["predicted"].to_numpy(), pairs["measured"].to_numpy())
    predicted = f"predicted change of the loss, {unit.name}" if unit.name else "score, which has no unit"
    diagonal = {"points": [[0, 0], [1, 1]], "dash": "4 4", "quiet": True, "title": "as predicted"}
    level = {"points": [[0, 0.5], [1, 0.5]], "dash": "", "quiet": True, "title": "no change"}
    kinds = [{"kind": KINDS[kind], "name": KIND_WORDS[kind]} for kind in KINDS if (pairs["kind"] == kind).any()]
    as_predicted = {"dash": "4 4", "quiet": True, "name": "as predicted"}
    return {
        "x": {"ticks": across.times(unit.factor).ticks(), "title": predicted},
        "y": {"ticks": up.times(measured_unit.factor).ticks(), "title": f"measured change, {measured_unit.name}"},
        "points": points,
        "lines": [diagonal, level] if unit.name else [level],
        "legend": [*kinds, as_predicted] if unit.name else kinds,
        "square": True,
        "alt": f"Scatter of {len(pairs):,} predicted against measured changes"
        + (f", r = {r:.2f}" if math.isfinite(r) else "")
        + "; a table is at the end of the page.",
    }


# Curves of planted errors


def curves(table: pd.DataFrame) -> dict[str, Any]:
    """Share of planted errors found against the share looked at, a line a finder; of the largest share planted."""
    share = float(table["share"].max())
    part = table[(table["share"] == table["share"].max()) & (table["finder"] != "random")]
    lines, legend = [], []
    for place, (finder, rows) in enumerate(part.groupby("finder", sort=False)):
        mean = rows.groupby("checked")["found"].mean()
        area = float(rows.groupby("seed")["area"].first().mean())
        look = {"dash": DASHES[place % 4], "colour": COLOURS[place % 4], "quiet": False}
        name = f"{FINDER_WORDS.get(str(finder), finder)}: area {area:.2f}"
        points = [[float(x), float(y)] for x, y in mean.items()]
        lines.append(look | {"points": points, "title": name})
        legend.append(look | {"name": name})
    chance = {"dash": "", "quiet": True}
    ticks = [{"at": place / 4, "text": f"{25 * place} %"} for place in range(5)]
    return {
        "x": {"ticks": ticks, "title": "share of the examples looked at"},
        "y": {"ticks": ticks, "title": "share of the wrong labels found"},
        "points": [],
        "lines": [chance | {"points": [[0, 0], [1, 1]], "title": "chance"}, *lines],
        "legend": [*legend, chance | {"name": "chance: area 0.50"}],
        "square": False,
        "alt": f"Curves of planted errors found, {share:.0%} of the labels flipped: "
        + "; ".join(str(entry["name"]) for entry in legend),
    }


# Rows of a value with its interval


def row(name: str, figure: Figure, text: str, *, other: float = math.nan, sign: str = "", detail: str = "") -> dict:
    """A row whose places are still values; `rows` puts them on an axis. `other` is drawn as a hollow diamond."""
    symbol = {"helpful": theme.HELPFUL, "harmful": theme.HARMFUL}.get(sign, "")
    return {
        "name": name, "detail": detail, "symbol": symbol, "sign": sign, "text": text, "title": figure.words,
        "at": figure.value, "low": figure.low, "high": figure.high, "other": other,
    }  # fmt: skip


def rows(
    found: Sequence[dict], alt: str, *, include: Sequence[float] = (0.0,), factor: float = 1.0, unit: str = "",
    other: str = "predicted",
) -> dict[str, Any]:  # fmt: skip
    """The rows on one axis that also holds the values to `include`; `factor` of `unit` make one nat on its ticks."""
    known = [each for each in found if math.isfinite(each["at"])]
    values = [each[key] for each in known for key in ("at", "low", "high", "other")]
    axis = scales.around(values, include=include)

    def place(value: float) -> float | None:
        return axis.at(value) if math.isfinite(value) else None

    placed = [each | {key: place(each[key]) for key in ("at", "low", "high", "other")} for each in known]
    told = "; ".join(f"{each['name']}{each['detail'] and ' ' + each['detail']}: {each['text']}" for each in known)
    ticks = axis.times(factor).ticks()
    return {
        "rows": placed, "ticks": ticks, "zero": axis.at(0.0), "unit": unit, "other": other, "alt": f"{alt}. {told}",
    }  # fmt: skip


def subsets(run: Run, start: str) -> list[dict]:
    """LDS by the share that was kept."""
    found = evidence.figures(run, "subsets", start, "LDS, ")
    return [row(name, f, two(f.value), detail=f"{f.count} subsets") for name, f in found.items()]


def removal(run: Run, start: str, unit: theme.Unit) -> list[dict]:
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


def sanity(run: Run) -> list[dict]:
    """Rank correlation with what was measured, of the run's own scores and of others."""
    found = evidence.figures(run, "sanity", what="rank correlation, ")
    return [row(name, figure, two(figure.value)) for name, figure in found.items()]


def stability(run: Run, own: evidence.Stays | None) -> list[dict]:
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
            f"{theme.percent(figure.value)}, rank r {two(float(ranks.get(name, math.nan)))}",
            other=shares.get(name, math.nan),
            detail=", ".join(table[table["changed"] == name]["value"].unique()),
        )
        for name, figure in evidence.figures(run, "stability", what="overlap, other ").items()
    ]


def noise(run: Run, unit: theme.Unit) -> list[dict]:
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


def two(value: float) -> str:
    """A correlation with two digits."""
    return f"{value:.2f}".replace("-", theme.MINUS) if math.isfinite(value) else "not known"
