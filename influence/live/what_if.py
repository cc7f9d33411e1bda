"""`WhatIf`: what edits of a run's training data would do to a criterion, answered at once."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Subset

from influence.attribution.chain import Chain
from influence.attribution.edits.after import of_those_left, refuse_no_steps, study_after
from influence.attribution.edits.change import Change, same_labels
from influence.attribution.edits.classes import require_classes
from influence.attribution.edits.effect import changed, first_order
from influence.attribution.edits.minima import minima_near
from influence.attribution.edits.own_relabel import own_label_changes
from influence.attribution.edits.relabel import label_effects
from influence.attribution.edits.scores import changes_alone, numbered, scores_alone
from influence.attribution.edits.vote_scores import of_votes, refuse_not_linear, refuse_other_labels
from influence.attribution.edits.votes import ABSTAINS
from influence.attribution.explained import Explained
from influence.attribution.guards import derivatives_named
from influence.attribution.products.dots import dots
from influence.attribution.report import unit_of
from influence.curvature.cards import IDENTITY
from influence.derivatives import Objective
from influence.errors import CurvatureError, MethodError, StudyError, listed
from influence.live.alterations import ADD, NONE, STEPS, Alteration
from influence.live.criterion import Criterion
from influence.live.edits import edits_of, picture_of
from influence.live.judgement import Judgement, judgement_of
from influence.live.patches import blanks
from influence.live.pool import added_examples, held_out, pool, queries_of
from influence.live.way_back import WayBack
from influence.run.records import NAT
from influence.study import edits
from influence.study.edits import Edit
from influence.study.positions import positions
from influence.study.revision import by_stage

CACHED_BYTES = 2**28
"""Of solved vectors that are kept; those of criteria that were not asked for longest are dropped."""
FAR = 5
"""Examples: scores tell single examples apart only nearer to a minimum than the effect of so many."""
Solved = dict[Objective, Tensor]
"""Stage -> (1, T), a criterion pulled back to it and solved there."""


@dataclass(frozen=True)
class Together:
    """The predicted change of a criterion if alterations are made together; positive = it rises."""

    first: float
    """To first order: the sum of what each does alone."""
    total: float
    """With the steps beyond the first order; `first` where there are none."""
    warnings: list[str]
    """What makes this something else than it claims, a sentence each."""


class WhatIf:
    """Of one run. Safe to be asked by several threads, one of which is answered at a time.

    Every method raises RunError and StudyError for alterations that cannot be made (as `influence.live.edits_of`) and
    criteria that cannot be judged by, and LossError, MethodError and CurvatureError as `edit_effect`.

    Args:
        way_back: the run's.
    """

    def __init__(self, way_back: WayBack):
        self._back, self._run, self._exhibit = way_back, way_back.run, way_back.exhibit
        self._known: OrderedDict[Criterion, Solved] = OrderedDict()
        self._after: tuple[Any, Chain] | None = None

    def unit(self, criterion: Criterion) -> str:
        """Of the criterion and all changes of it: "nat", "probability", or "order only" where sizes mean nothing."""
        stored = self._run.order_only(self._run.manifest.default_method)
        usual = unit_of(self._exhibit.method, [*self._back.remarks[1], *stored])
        return self._judgement(criterion, self._back.chain).target.unit or usual if usual == NAT else usual

    def scores(self, criterion: Criterion, stage: str) -> np.ndarray:
        """(m,), float32: the criterion's predicted change if an example were left out; positive = helpful."""
        with self._turn():
            objective = self._back.objective(stage)
            return self._back.products(objective, self._solved(criterion)[objective]).float().cpu().numpy()

    def labels(self, criterion: Criterion, stage: str, rows: Sequence[int] | None = None) -> np.ndarray:
        """(n, C), float32: the criterion's predicted change if an example had label c; 0 at its own.

        Args:
            criterion: what it is judged by.
            stage: one with classes.
            rows: of its examples; None for all.

        Raises:
            StudyError: the stage has no classes.
        """
        with self._turn():
            objective = self._back.objective(stage)
            classes = require_classes(objective)
            solved = self._solved(criterion)[objective]
            some = None if rows is None else _some(objective, rows)
            return torch.cat([found[0] for _, found in label_effects(objective, solved, classes, some)]).cpu().numpy()

    def own_labels(self, stage: str, rows: Sequence[int] | None = None) -> np.ndarray:
        """(n, C), float32: by the stage trained without an example, the loss of class c less that of its label.

        Negative = the other examples rather speak for c; see `own_relabel_scores`. `rows` as of `labels`.

        Raises:
            StudyError: the stage has no classes.
            MethodError: an iterative method and many examples.
        """
        with self._turn():
            chain, objective = self._back.chain, self._back.objective(stage)
            solver = chain.solvers[chain.objectives.index(objective)]
            chosen = range(objective.count) if rows is None else _some(objective, rows).indices
            return torch.cat(list(own_label_changes(objective, solver, chosen))).float().cpu().numpy()

    def votes(self, criterion: Criterion, stage: str) -> np.ndarray:
        """(V,), float32: the criterion's predicted change for each vote of `Run.votes`, if it were taken back.

        Summed over a rule's votes it is what switching it off does, to first order (see `vote_scores`).

        Raises:
            StudyError: the stage's labels do not come from votes, or the run's are not those of its study.
            LossError: its loss is not linear in the probabilities of its labels.
        """
        votes = self._exhibit.votes.get(stage)
        if votes is None:
            raise StudyError(f"The labels of stage {stage!r} come from no votes.")
        named, kept = votes.named(self._exhibit.classes[stage]), self._run.votes(stage)
        if kept is None or kept[list(named)].to_numpy(object).tolist() != named.to_numpy(object).tolist():
            raise StudyError(f"The run's votes on stage {stage!r} are not those of its study. Compute the run again.")
        with self._turn():
            objective = self._back.objective(stage)
            refuse_other_labels(objective, votes)
            solved = self._solved(criterion)[objective]
            scores, found = self._back.products(objective, solved)[None].double(), []
            for rows, effects in label_effects(objective, solved, votes.classes):
                refuse_not_linear(objective, effects, votes.labels[rows])
                back, _ = of_votes(effects.double(), scores[:, rows], votes.table[rows], votes.counts[rows])
                found.append(back[0])
            return torch.cat(found).float().cpu().numpy()[votes.table != ABSTAINS]

    def alone(self, criterion: Criterion, alterations: Sequence[Alteration]) -> np.ndarray:
        """(E,), float32: the criterion's predicted change by each alteration alone, to first order."""
        with self._turn():
            alone = [edits_of(self._run, self._exhibit, [each]) for each in alterations]
            staged = {self._back.chain.objectives[i]: some for i, some in numbered(self._exhibit.study, alone).items()}
            changes = {objective: changes_alone(objective, pairs) for objective, pairs in staged.items()}
            found = scores_alone(self._solved(criterion).items(), changes, len(alone))
            return found[0].float().cpu().numpy()

    def together(self, criterion: Criterion, alterations: Sequence[Alteration], steps: int = STEPS) -> Together:
        """The criterion's predicted change if all alterations are made.

        Args:
            criterion: what it is judged by.
            alterations: each of another example, or several words struck of one.
            steps: beyond the first order, as of `edit_effect`; method "identity" has none.
        """
        with self._turn():
            chain, explained = self._back.chain, self._explained(criterion, self._back.chain)
            made = by_stage(self._exhibit.study, edits_of(self._run, self._exhibit, alterations))
            changes = {chain.objectives[i]: Change(chain.objectives[i], some) for i, some in made.items()}
            first = total = float(first_order(self._solved(criterion).items(), changes))
            told = [note for i, some in made.items() for note in same_labels(chain.objectives[i], some)]
            if self._exhibit.method == IDENTITY.name:
                told.append("Method 'identity' has no curvature, so there are no steps beyond the first order.")
            elif steps:
                minima = minima_near(chain, changes, steps)
                total = float(changed(explained, chain, minima.parameters[-1]))
                told += minima.warnings
        return Together(first, total, [*self._back.remarks[0], *told])

    def size(self, stage: str, row: int) -> tuple[int, int]:
        """Width and height of an example's picture as the model takes it, pixels: masks and patches are parts of it.

        Raises:
            StudyError: the example is no picture.
        """
        study = self._exhibit.study
        tall, wide = picture_of(study.stages[study.position(stage)].data[row]).shape[-2:]
        return int(wide), int(tall)

    def patches(self, criterion: Criterion, stage: str, rows: Sequence[int], side: int | None = None) -> np.ndarray:
        """(n, down, across), float32: the criterion's predicted change if a patch of an example's picture were blank.

        A blank patch has the mean of what lies around it (`influence.studies.images.mask`).

        Args:
            criterion: what it is judged by.
            stage: one of pictures.
            rows: of its examples, which are of one size.
            side: of a patch in pixels; by default such that at most a dozen lie along the longer side.

        Raises:
            StudyError: the stage's examples are no pictures, or of several sizes; or there is no such example.
        """
        with self._turn():
            objective = self._back.objective(stage)
            solved, examples = self._solved(criterion)[objective], _some(objective, rows)
            grids = [blanks(examples[place], side) for place in range(len(examples))]
            if len({grid.shape for grid in grids}) > 1:
                raise StudyError(f"Stage {stage!r} has pictures of several sizes; ask of those of one size at a time.")
            whole = _products(objective, solved, examples)
            blank = _products(objective, solved, [example for grid in grids for example in grid.examples])
            return (whole[:, None, None] - blank.reshape(len(whole), *grids[0].shape)).float().cpu().numpy()

    def pool(self, stage: str, path: Path | None = None) -> pd.DataFrame | None:
        """Examples that a stage could be trained on besides: those at `path`, as `influence.live.pool` reads them.

        Without a path the run's queries, where they are of its form: their table has the columns of `Run.queries`, and
        `Alteration(ADD, stage, id)` adds one of them. None: the run knows of none, and they can only come from a file.
        """
        return held_out(self._run, self._exhibit, stage) if path is None else pool(self._run, stage, path)

    def additions(self, criterion: Criterion, stage: str, pool: pd.DataFrame | Path) -> np.ndarray:
        """(n,), float32: the criterion's predicted change for each of a pool's examples, if it were added.

        Args:
            criterion: what it is judged by.
            stage: that they are added to.
            pool: some of `pool(stage)`, or where a file of texts or a folder of class folders is.

        Raises:
            RunError, StudyError: as `influence.live.pool.added_examples`.
        """
        if isinstance(pool, Path):
            examples = added_examples(self._run, self._exhibit, Alteration(ADD, stage, NONE, (str(pool), "")))
        else:
            examples = queries_of(self._run, self._exhibit, pool)
        with self._turn():
            objective = self._back.objective(stage)
            by_stage(self._exhibit.study, edits.add(stage, examples))  # refuses other forms
            found = -_products(objective, self._solved(criterion)[objective], examples)
            return found.float().cpu().numpy()

    def after(
        self, criterion: Criterion, stage: str, alterations: Sequence[Alteration], steps: int = STEPS
    ) -> np.ndarray:
        """(m,), float32: `scores` as if the alterations had been made; nan for what is left out. See `scores_after`.

        The curvature is fitted again, once for all criteria and stages.

        Raises:
            MethodError: a method without curvature, or steps that end too far from the edited minimum.
        """
        with self._turn():
            made = edits_of(self._run, self._exhibit, alterations)
            before = self._back.objective(stage)
            self._solved(criterion)  # measures how far the stages stand from their minima as it is
            chain = self._chain_after(tuple(alterations), made, steps)
            pulled = dict(chain.pull_back(self._explained(criterion, chain).gradients()))
            _refuse_far(self._back.chain, chain)
            objective = chain.objectives[self._back.chain.objectives.index(before)]
            values = _products(objective, pulled[objective], objective.stage.data).float().cpu().numpy()
            return of_those_left(values[None], self._exhibit.study, made, before.stage.name)[0]

    def _chain_after(self, alterations: tuple[Alteration, ...], made: Sequence[Edit], steps: int) -> Chain:
        if self._after is None or self._after[0] != (alterations, steps):
            refuse_no_steps(self._exhibit.method, steps)
            study, _ = study_after(self._back.chain, made, steps)
            try:
                self._after = (alterations, steps), self._back.chain_of(study)
            except CurvatureError as error:  # as the data were, there was none
                raise MethodError(
                    f"The edits are too strong to rank again without training. Where their steps end: {error}"
                ) from error
        return self._after[1]

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the way back for a `with` block; torch's errors are named."""
        with self._back.lock, derivatives_named(self._exhibit.study):
            yield

    def _judgement(self, criterion: Criterion, chain: Chain) -> Judgement:
        return judgement_of(criterion, self._exhibit, chain.last)

    def _explained(self, criterion: Criterion, chain: Chain) -> Explained:
        judged = self._judgement(criterion, chain)
        return Explained(chain, [judged.target], Subset(self._exhibit.study.queries, judged.queries))

    def _solved(self, criterion: Criterion) -> Solved:
        if criterion not in self._known:
            self._known[criterion] = dict(
                self._back.chain.pull_back(self._explained(criterion, self._back.chain).gradients())
            )
            each = sum(solved.nbytes for solved in self._known[criterion].values())
            while len(self._known) > 1 and len(self._known) * each > CACHED_BYTES:
                self._known.popitem(last=False)
        self._known.move_to_end(criterion)
        return self._known[criterion]


def _refuse_far(before: Chain, after: Chain) -> None:
    """Raise MethodError where edits took a stage further from its minimum than single examples matter."""
    for was, found in zip(before.stationarities, after.stationarities, strict=True):
        if found.examples > was.examples + FAR:
            raise MethodError(
                f"The edits are too strong to rank again without training: at stage {found.objective.stage.name!r} "
                f"their steps end as far from the edited minimum as leaving out {found.examples:.2g} examples moves. "
                "Take fewer edits, or compute another run of the corrected data."
            )


def _some(objective: Objective, rows: Sequence[int]) -> Subset[Any]:
    """Examples of a stage.

    Raises:
        StudyError: no row, one twice, or one that is no position.
    """
    stage = objective.stage
    chosen = positions(rows, f"Stage {stage.name!r}: rows")
    absent = [row for row in chosen if row >= objective.count]
    if absent:
        raise StudyError(
            f"Stage {stage.name!r} has no example {listed(map(str, absent))}; its examples are 0 to "
            f"{objective.count - 1}."
        )
    return Subset(stage.data, chosen)


def _products(objective: Objective, solved: Tensor, examples: Any) -> Tensor:
    """Phi of each of some examples of a stage's form, (n,), for one solved criterion (1, T)."""
    found = [block[:, 0] for _, block in dots(objective, examples, objective.trained, solved)]
    return torch.cat(found) / objective.count
