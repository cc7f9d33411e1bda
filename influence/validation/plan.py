"""What a time budget will hold, worked out before it is spent: the checks are rehearsed on a clock that jumps."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from influence.errors import TrainingError
from influence.validation.bench import Bench
from influence.validation.check import Check
from influence.validation.pieces import hashed

MARGIN = 1.2
"""How much longer than expected the pieces that a check needs may take."""
WAYS = {"solution": "from the solution", "scratch": "from scratch"}


class PlannedBench(Bench):
    """A bench on which every piece takes its expected time at once, and holds nothing.

    Args:
        bench: whose run, costs and cached pieces are known.
        done: keys of pieces that are taken for computed; it gets new ones.
        fewest: pieces after which there is no time left; None: as the limits say.

    Attributes:
        seconds: expected of the pieces that are not cached, so far.
        counts: kind of piece -> number of those that are not cached.
        held: keys of all pieces that were asked for, and fit.
        guessed: whether a piece is among them whose kind was never computed, so that what it takes is a guess.
    """

    def __init__(self, bench: Bench, done: set[str], fewest: int | None = None):
        self.__dict__.update(bench.__dict__)
        self.seconds, self.counts, self.held, self.guessed = 0.0, Counter[str](), set[str](), False
        self.done, self._fewest, self.bar = done, fewest, None
        self._until = float("inf")

    def now(self) -> float:
        return self.seconds

    def piece(
        self,
        kind: str,
        of: Mapping[str, Any],
        compute: Callable[[], pd.DataFrame],
        expected: float = 0.0,
        cost: str = "",
    ) -> pd.DataFrame | None:
        key = str([kind, *sorted(of.items())])
        if key not in self.done:
            seconds = self.costs.get(cost or kind, expected)
            whole = self.key_of(kind, of)
            known = hashed(whole) in self.failed or self.pieces.get(whole) is not None
            if not known and (seconds > self.left or self._are_enough()):
                return None
            # Retrainings are shared out to all workers, other pieces are this process's.
            self.seconds += 0.0 if known else seconds / (self.workers if kind in WAYS else 1)
            self.counts[kind] += not known
            self.guessed |= not known and (cost or kind) not in self.costs
            self.done.add(key)
        self.held.add(key)
        queries = len(self.scores)
        return pd.DataFrame({"loss": np.zeros(queries), "predicted": np.full(queries, -1)})

    def _are_enough(self) -> bool:
        """Whether no piece may follow, however much time is left."""
        few = self._fewest is not None and len(self.held) >= self._fewest
        return few or self.computed + self.counts.total() >= self._more


@dataclass(frozen=True)
class Plan:
    """What fits.

    Attributes:
        least: check that fits -> seconds of the fewest pieces that it needs, in the order in which checks run.
        missing: check that does not fit -> the same.
        pieces: check that fits -> number of those of them that are not cached.
        guessed: checks that fit by what other pieces took: none of their own kind was computed before.
    """

    least: dict[str, float]
    missing: dict[str, float]
    pieces: dict[str, int]
    guessed: set[str] = field(default_factory=set)

    def spare(self, checks: Mapping[str, Check], name: str, left: float) -> float:
        """Seconds of those `left` for a check beyond its fewest pieces: its share of what all spare; 0: it has none."""
        if name not in self.least:
            return 0.0
        later = list(self.least)[list(self.least).index(name) :]
        over = max(0.0, left - sum(self.least[each] for each in later))
        return over * checks[name].share / sum(checks[each].share for each in later)


def plan_of(bench: Bench, checks: Sequence[Check], seconds: float) -> Plan:
    """Which checks fit, the first ones first, each with the fewest pieces that say something; retrainings are shared.

    Checks that mean nothing for the run are neither held nor missing.
    """
    done, plan = set[str](), Plan({}, {}, {})
    for check in checks:
        trial = PlannedBench(bench, set(done), check.fewest)
        with contextlib.suppress(TrainingError):  # it is told when the check runs
            check.measure(trial)
            if len(trial.held) < check.fewest:
                continue
        least = MARGIN * trial.seconds
        if not trial.counts.total() or least + sum(plan.least.values()) <= seconds:  # what is there needs no time
            plan.least[check.name], plan.pieces[check.name], done = least, trial.counts.total(), trial.done
            plan.guessed.update([check.name] if trial.guessed else [])
        else:
            plan.missing[check.name] = least
    return plan


def sentences(bench: Bench, checks: Mapping[str, Check], plan: Plan, seconds: float) -> list[str]:
    """What the plan holds, a sentence a check: how many retrainings of each kind."""
    done, left = set[str](), seconds
    counts, taken = {name: Counter[str]() for name in plan.least}, dict.fromkeys(plan.least, 0.0)
    then = Plan(dict.fromkeys(plan.least, 0.0), {}, {})
    for fewest in (True, False):
        for name in plan.least:
            part = PlannedBench(bench, done, checks[name].fewest if fewest else None)
            part.reserved = plan.least[name]
            limit = left if fewest else then.spare(checks, name, left)
            with contextlib.suppress(TrainingError), part.within(limit):
                checks[name].measure(part)
            left -= part.seconds
            counts[name] += part.counts
            taken[name] += part.seconds
    said = [f"{name}: {_counted(counts[name])}, about {in_words(taken[name])}." for name in plan.least]
    missing = plan.missing.items()
    return said + [f"{name}: does not fit; it needs {in_words(least)} of its own." for name, least in missing]


def in_words(seconds: float) -> str:
    """So much time, rounded up."""
    return f"{math.ceil(seconds)} s" if seconds < 120 else f"{math.ceil(seconds / 6) / 10:g} min"


def _counted(counts: Mapping[str, int]) -> str:
    scores = sum(count for kind, count in counts.items() if kind not in WAYS)
    parts = [f"{_number(counts[kind], 'retraining')} {way}" for kind, way in WAYS.items() if counts.get(kind)]
    parts += [_number(scores, "computation") + " of scores"] if scores else []
    return ", ".join(parts) or "nothing that is not there already"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
