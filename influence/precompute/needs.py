"""Estimate the memory, disk and time of a run before it begins, and refuse what cannot fit."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from influence.attribution.memory import VECTOR_COPIES, size
from influence.curvature import method_named
from influence.curvature.cards import EXACT, MAX_DENSE_SIZE
from influence.curvature.method import CURVATURES
from influence.derivatives.objective import BUDGET
from influence.errors import CurvatureError, MethodError, RunError
from influence.precompute.pieces.keeping import kept_bytes, working_bytes
from influence.run.files import draft_name
from influence.run.kept.choice import STRONGEST, USUAL
from influence.run.plain import bytes_in
from influence.run.writer import chunk_of
from influence.studies.exhibit import Exhibit
from influence.study.parameters import groups_of, size_of

VECTOR_BYTES = 2**30
"""Bytes of memory for query vectors while they are pulled back; one query is always allowed."""
MAX_ABLATION_PRODUCTS = 2e12
"""Multiplications up to which a run also gets the scores without curvature, for comparison."""

STORED_VECTORS = 4
"""Vectors of trained parameters in a checkpoint of a mini-batch training: the optimiser's three, and the start."""


@dataclass(frozen=True)
class Need:
    """What the run of one exhibit needs.

    Attributes:
        parameters: stage -> trained parameters, all parameters.
        examples: stage -> training examples.
        queries: test queries.
        passes: stages with inherited and frozen parameters, through which every query takes a pass over the data.
        scores: bytes of what is kept of the scores.
        strongest: so many of either sign and query are kept; 0: all.
        others: bytes of the scores if the other of the two were kept: all, or the usual number of strongest ones.
        other: bytes of models, tables, and what is kept until the run is finished.
        vectors: bytes of memory of the query vectors.
    """

    method: str
    parameters: dict[str, tuple[int, int]]
    examples: dict[str, int]
    queries: int
    passes: list[str]
    scores: int
    other: int
    vectors: int
    strongest: int = 0
    others: int = 0

    @property
    def disk(self) -> int:
        return self.scores + self.other

    def lines(self, name: str) -> list[str]:
        """For people."""
        stages = [
            f"  {stage}: {self.examples[stage]:,} examples, {trained:,} of {whole:,} parameters trained"
            for stage, (trained, whole) in self.parameters.items()
        ]
        return [
            f"{name}: method {self.method}, {self.queries:,} queries",
            *stages,
            *[
                f"  each query is pulled back through {stage} by one pass over its {self.examples[stage]:,} examples"
                for stage in self.passes
            ],
            f"  disk {size(self.disk)} while it is computed (scores {size(self.scores)}), "
            f"memory for the queries {size(self.vectors)}",
            *([f"  {self._kept()}"] if self.others else []),
            *self._warnings(),
        ]

    def _kept(self) -> str:
        if self.strongest:
            return (
                f"of the scores the {self.strongest:,} strongest of either sign and query are kept, and sums over all; "
                f"all scores would take {size(self.others)} (--keep all)"
            )
        return f"all scores are kept; the strongest alone would take {size(self.others)} (--keep {STRONGEST}:{USUAL})"

    def _warnings(self) -> list[str]:
        free = psutil.virtual_memory().available
        return [f"  Warning: this machine has {size(free)} of memory free."] if self.vectors > free else []


def need_of(exhibit: Exhibit) -> Need:
    """What a run of the exhibit needs, by its sizes; the curvature comes on top, as `upstream methods` says."""
    study, parameters = exhibit.study, {}
    passes: list[str] = []
    models = vectors = solved = training = mixed = 0
    queries = len(study.queries)
    for previous, stage in study.pairs():
        of = size_of(stage, previous)
        parameters[stage.name] = of.trained, of.whole
        if groups_of(stage, previous).frozen:
            passes.append(stage.name)
            mixed += min(BUDGET, min(queries, of.trained) * of.whole * of.itemsize)
        models += sum(t.numel() * t.element_size() for t in stage.model.state_dict().values())
        by_batches = exhibit.epochs or stage.name in exhibit.recipes
        training = max(training, STORED_VECTORS * of.trained * of.itemsize if by_batches else 0)
        single = VECTOR_COPIES * of.whole * of.itemsize
        vectors = max(vectors, single, min(VECTOR_BYTES, single * queries))
        solved += queries * of.trained * of.itemsize
    tables = [*exhibit.examples.values(), exhibit.queries]
    shown = sum(int(t.memory_usage(index=False, deep=True).sum()) + 100 * len(t) for t in tables)
    methods, examples = len(methods_of(exhibit)), [len(stage.data) for stage in study.stages]
    most = exhibit.strongest
    whole = methods * sum(_array(queries, count) for count in examples)
    kept = methods * sum(kept_bytes(queries, count, most or USUAL) for count in examples)
    spans = queries * working_bytes(most, max(examples)) if most else 0
    # Beside a small array the strongest of it save nothing.
    scores, others = (kept, whole) if most else (whole, kept if kept < whole else 0)
    return Need(
        exhibit.method,
        parameters,
        {stage.name: len(stage.data) for stage in study.stages},
        queries,
        passes,
        scores,
        models + shown + max(solved, training) + mixed + spans,
        vectors,
        most,
        others,
    )


def methods_of(exhibit: Exhibit) -> list[str]:
    """What a run's scores are solved by: its method and, where it costs little, none ("identity")."""
    study = exhibit.study
    products = sum(len(s.data) * sum(p.numel() for p in s.model.parameters()) for s in study.stages)
    cheap = len(study.queries) * products <= MAX_ABLATION_PRODUCTS
    return list(dict.fromkeys((exhibit.method, "identity") if cheap else (exhibit.method,)))


def check_solver(method: str | None, damping: float | None, curvature: str | None) -> None:
    """Raise MethodError if one of these cannot be; None is the study's own."""
    if method is not None:
        method_named(method)
    if curvature is not None and curvature not in CURVATURES:
        raise MethodError(f"There is no curvature {curvature!r}; choose one of {', '.join(CURVATURES)}.")
    if damping is not None and not 0 <= damping < math.inf:
        raise MethodError(f"Damping is {damping!r}, expected a finite number that is not negative.")


def refuse_what_cannot_be_solved(exhibit: Exhibit, need: Need) -> None:
    """Raise MethodError or CurvatureError if the method is unknown, or is known not to be for models of this size."""
    check_solver(exhibit.method, exhibit.damping, exhibit.curvature)
    for stage, (trained, _) in need.parameters.items():
        if exhibit.method == EXACT.name and trained > MAX_DENSE_SIZE:
            raise CurvatureError(
                f"Stage {stage!r} trains {trained:,} parameters; method 'exact' goes up to {MAX_DENSE_SIZE:,}. Use "
                "another --method; `upstream methods` lists them."
            )


def refuse_what_cannot_fit(needs: Mapping[str, Need], root: Path) -> None:
    """Raise RunError if the disk lacks the space for the runs called so, or the memory that for the queries.

    What their unfinished runs hold already is not needed again.
    """
    total, free = sum(need.disk for need in needs.values()), _free(root)
    drafts = [root / draft_name(name) for name in needs]
    free += sum(map(bytes_in, drafts))
    if total > free:
        raise RunError(
            f"The runs need {size(total)} of disk, of which the scores are "
            f"{size(sum(n.scores for n in needs.values()))}; {root} has {size(free)} free. "
            "Take fewer queries, another folder with --runs, or keep fewer scores with --keep strongest:1000."
        )
    largest, memory = max((need.vectors for need in needs.values()), default=0), psutil.virtual_memory().total
    if largest > memory:
        raise RunError(
            f"The vectors of a query need {size(largest)} of memory; this machine has {size(memory)}. Take a smaller "
            "model, or another machine."
        )


def _array(rows: int, columns: int) -> int:
    """Bytes of a score array: chunks at its ends are stored whole."""
    high, wide = chunk_of((rows, columns))
    return 4 * math.ceil(rows / high) * high * math.ceil(columns / wide) * wide


def _free(root: Path) -> int:
    folder = root.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
