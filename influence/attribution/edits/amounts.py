"""Whether scores may be read as amounts: checks of one stage's scores that cost little, each with a reason if it fails.

A score claims to be nats. Four things that are known without training again contradict it; each limit is where the
claim is wrong by itself, or by a factor of `FACTOR`. What fails none may still be wrong: `upstream validate` measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from influence.attribution.chain import Chain
from influence.attribution.edits.change import Change
from influence.attribution.edits.minima import EditedObjective
from influence.attribution.explained import Explained
from influence.errors import LossError
from influence.study.edits import leave_out
from influence.study.revision import by_stage

LIST_SHARE, LONGEST_LIST = 0.01, 10
"""Share of a stage's examples that are a query's strongest list, and the most of them: of more no sum is claimed."""
IMPOSSIBLE = 0.2
"""Share of the queries whose list may promise a fall below 0: some do because their loss is curved."""
FACTOR = 2.0
"""By which amounts may be off before they are none."""
ROWS = 64
"""Queries whose scores are read at once."""


class Sizes(NamedTuple):
    """What the scores (Q, m) of a stage promise, in nats."""

    falls: np.ndarray
    """(Q,), fall of each query's loss without its strongest harmful examples."""
    lists: np.ndarray
    """(Q,), sum of the absolute values of its strongest scores of either sign."""
    together: np.ndarray
    """(Q,), its change without the examples `leading`."""
    leading: list[int]
    """Examples that lead the lists of some queries, evenly spaced."""


class Step(NamedTuple):
    """The step that leaving examples out takes by the method's curvature, at the stage and those after it."""

    change: np.ndarray
    """(Q,), nats, of each query's loss where the step leads; infinite where that is no number."""
    damped: float
    """Share of the curvature along the step that is damping."""


def doubts(chain: Chain, position: int, scores: Any, newton_changes: Sequence[float]) -> list[str]:
    """Reasons why the size of a stage's scores means nothing, a sentence each; empty: they may be read as nats.

    1. A loss that is never negative is predicted to fall below 0 without the strongest list (`LIST_SHARE`,
       `LONGEST_LIST`) of more than `IMPOSSIBLE` of the queries. Losses below the mean count as the mean: a loss near 0
       is curved, so that a straight line crosses 0 also where scores have the right size.
    2. Some examples that lead lists are left out together. To first order the change is the sum of their scores. The
       parameters are moved by the same step, later stages by theirs, and the losses evaluated there: over all queries
       they move more, or less, by `FACTOR`.
    3. More than half of the curvature along this step is damping, without which amounts would be `FACTOR` times as
       large. Along the step, not along the query: what of a query no training gradient reaches is in no score.
    4. The Newton step to the minimum of this stage or a later one moves losses further than a whole list does.

    Args:
        chain: of the study's stages, solved by the method that the scores are by.
        position: of the stage in it.
        scores: (Q, m), an array whose rows can be read some at a time; or what they promise.
        newton_changes: of every stage of the chain, as `Stationarity` measures them; 0 at a minimum.
    """
    objective = chain.objectives[position]
    length = _length(objective.count)
    sizes = scores if isinstance(scores, Sizes) else sizes_of(scores)
    explained = Explained(chain, None)
    losses = explained.values(chain.last.parameters).cpu().numpy()
    name = f"Stage {objective.stage.name!r}"
    found = _impossible(name, sizes, losses, length) + _distant(name, chain, position, sizes, newton_changes)
    if len(sizes.leading) < objective.count and sizes.together.any():
        step = _step(chain, position, sizes.leading, explained, losses)
        found += _curved(name, sizes, step) + _damped(name, chain.solvers[position].damping, step)
    return found


def sizes_of(scores: Any) -> Sizes:
    """What scores (Q, m) promise; an array whose rows can be read some at a time."""
    count, length = scores.shape[0], _length(scores.shape[1])
    leading = sorted({int(np.abs(np.asarray(scores[int(row)])).argmax()) for row in _chosen(count, length)})
    falls, lists, together = [], [], []
    for start in range(0, count, ROWS):
        rows = np.asarray(scores[start : start + ROWS], dtype=np.float64)
        falls.append(-np.minimum(np.partition(rows, length - 1)[:, :length], 0).sum(1))
        lists.append(-np.partition(-np.abs(rows), length - 1)[:, :length].sum(1))
        together.append(rows[:, leading].sum(1))
    return Sizes(np.concatenate(falls), np.concatenate(lists), np.concatenate(together), leading)


def leading(rows: np.ndarray, scores: np.ndarray, examples: int) -> list[int]:
    """As `Sizes.leading`, from the strongest scores (Q, k) alone, and their examples' rows, of so many examples.

    Of scores of equal size the example of the lowest row leads.
    """
    found = set()
    for query in _chosen(len(scores), _length(examples)):
        sizes = np.abs(scores[query])
        found.add(int(rows[query][sizes == sizes.max()].min()))
    return sorted(found)


def sizes_of_strongest(scores: np.ndarray, examples: int, leaders: list[int], columns: np.ndarray) -> Sizes:
    """The same sizes from the strongest scores (Q, k) of both signs alone, and those of the `leading` (Q, leaders)."""
    rows, length = scores.astype(np.float64), _length(examples)
    falls = -np.minimum(np.sort(rows, axis=1)[:, :length], 0).sum(1)
    lists = np.sort(np.abs(rows), axis=1)[:, -length:].sum(1)
    return Sizes(falls, lists, columns.astype(np.float64).sum(1), leaders)


def _length(examples: int) -> int:
    """Examples of a strongest list, of so many."""
    return min(LONGEST_LIST, math.ceil(examples * LIST_SHARE))


def _chosen(queries: int, length: int) -> np.ndarray:
    """The queries whose leading examples are left out together."""
    return np.unique(np.linspace(0, queries - 1, length).astype(int))


def _step(chain: Chain, position: int, leading: list[int], explained: Explained, losses: np.ndarray) -> Step:
    made = by_stage(chain.study, leave_out(chain.objectives[position].stage.name, leading))
    change = Change(chain.objectives[position], next(iter(made.values())))
    parameters, damped = chain.objectives[position].parameters, 0.0
    for i in range(position, len(chain.objectives)):
        objective, solver = chain.objectives[i], chain.solvers[i]
        here = i == position
        before = chain.objectives[i - 1].parameters
        shift = {} if here else {h: parameters[t] - before[t] for h, t in objective.groups.inherited.items()}
        edited = EditedObjective(objective, change if here else None, shift, solver.damping)
        force = edited.force(edited.start)
        moved = solver.solve(force[None])[0].double()
        along = float(force @ moved)
        if here and along > 0:
            damped = solver.damping * float(moved @ moved) / along
        parameters = edited.parameters(moved)
    try:
        return Step(explained.values(parameters).cpu().numpy() - losses, damped)
    except LossError:  # the step leads so far that losses are not finite
        return Step(np.full(len(losses), np.inf), damped)


def _impossible(name: str, sizes: Sizes, losses: np.ndarray, length: int) -> list[str]:
    if losses.min() < 0:
        return []  # no bound is known
    beyond = sizes.falls > np.maximum(losses, losses.mean())
    if beyond.mean() <= IMPOSSIBLE:
        return []
    worst = int(np.argmax(sizes.falls - losses))
    return [
        f"{name}: without the {length} most harmful examples of each, the losses of {int(beyond.sum())} of "
        f"{len(losses)} queries are predicted to fall below 0 (by {sizes.falls[worst]:.2g} nats, of "
        f"{losses[worst]:.2g}). No loss can, so the size of the scores means nothing."
    ]


def _curved(name: str, sizes: Sizes, step: Step) -> list[str]:
    slope = float((sizes.together * step.change).sum() / (sizes.together @ sizes.together))
    if 1 / FACTOR <= slope <= FACTOR:
        return []
    times = f"{slope:.2g} times as much" if math.isfinite(slope) else "beyond every number"
    return [
        f"{name}: leaving out examples that lead lists ({len(sizes.leading)}) is to change losses by the sum of their "
        f"scores (up to {np.abs(sizes.together).max():.2g} nats). Where this step leads the parameters, losses have "
        f"changed {times}, so the size of the scores means nothing. Raise `damping`."
    ]


def _damped(name: str, damping: float, step: Step) -> list[str]:
    if step.damped <= 1 - 1 / FACTOR:
        return []
    return [
        f"{name}: {step.damped:.0%} of the curvature that holds what leaving examples out moves is damping "
        f"({damping:.2g}). Amounts go by this choice more than by the data, so the size of the scores means nothing."
    ]


def _distant(name: str, chain: Chain, position: int, sizes: Sizes, newton_changes: Sequence[float]) -> list[str]:
    typical = float(np.sqrt(np.square(sizes.lists).mean()))
    place = max(range(position, len(newton_changes)), key=lambda i: newton_changes[i])
    if not newton_changes[place] > typical:
        return []
    return [
        f"{name}: one Newton step to the minimum of stage {chain.objectives[place].stage.name!r}, where scores are "
        f"defined, changes a query's loss by {newton_changes[place]:.2g} nats, more than leaving out all of its "
        f"strongest list ({typical:.2g}): the size of the scores means nothing. Train on to the minimum."
    ]
