"""One setup, scored by every method and compared with the independent side."""

from __future__ import annotations

import copy
import functools
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

import numpy as np
import torch
from retraining import Retraining
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import default_collate
from truth import Side, Truth

from influence import Index, Stage, Study, attribute
from influence.errors import UpstreamError

ESTIMATES = 0.1
"""Relative error of scores that `arnoldi` and `lissa` may have without a warning; they say that they are estimates."""
RATIO = 3.0
"""How many times larger or smaller than those of the layers' exact blocks the scores of `ekfac` may be unwarned."""
CERTAIN = 2.0
"""How many times larger or smaller than the solved ones they must be for `ekfac` to warn of their size."""
DIRECT = ("identity", "exact", "cg", "ekfac", "index")
ESTIMATED = ("arnoldi", "lissa")
METHODS = (*DIRECT, *ESTIMATED)
OPTIONS: dict[str, dict[str, Any]] = {
    "identity": {},
    "exact": {"batch_size": 4},  # several batches, the last one smaller
    "cg": {"tolerance": 1e-5},
    "ekfac": {"small": 0, "draws": 8},
    "arnoldi": {"iterations": 60},
    "lissa": {"depth": 150},
}
TIMED_EXAMPLES = 64


def call(model: nn.Module, batch: Any) -> Any:
    return model(**batch) if isinstance(batch, Mapping) else model(batch[0])


@dataclass
class Setup:
    """What a user hands over. Fields that a setup leaves out are the library's own defaults.

    Args:
        reference: what the independent side takes in place of this setup: the same scores, described otherwise.
        data: what `Stage` is given, where that is not the list of examples.
        l2: of the objective; the same number is added as damping.
        tolerance: relative error of scores from which on they are wrong.
        steps: of training, before anything is compared.
    """

    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    examples: Sequence[Any]
    queries: Sequence[Any]
    forward: Callable[[nn.Module, Any], Any] | None = None
    collate: Callable[[list[Any]], Any] | None = None
    frozen: Sequence[str] = ()
    reference: Setup | None = None
    data: Any = None
    l2: float = 1e-2
    tolerance: float = 1e-3
    methods: Sequence[str] = METHODS
    steps: int = 0

    def prepare(self) -> None:
        self.model.eval()
        if self.steps:
            self._train()

    def scored(self, method: str) -> tuple[np.ndarray, dict[str, Any]]:
        """Scores (Q, m) by the library, and its report."""
        options = {"damping": self.l2, "progress": False}
        if method == "index":
            with tempfile.TemporaryDirectory() as folder:
                scores = Index(self.study(), folder, method="exact", **options).query(self.queries)
        else:
            scores = attribute(self.study(), method=method, **options, **OPTIONS[method])
        return scores.values, scores.report

    def wanted(self, method: str) -> np.ndarray:
        """Scores (Q, m) that a method must give."""
        return (self._truth.products() if method == "identity" else self._truth.scores(2 * self.l2)).numpy()

    def layerwise(self) -> np.ndarray:
        """Scores (Q, m) of what `ekfac` approximates: the curvature layer by layer."""
        return self._truth.layerwise(2 * self.l2).numpy()

    def epochs(self) -> dict[str, float]:
        """Method -> its time in forward and backward passes over the same data."""
        return dict(_epochs(self))

    @cached_property
    def _truth(self) -> Truth:
        same = self.reference or self
        return same.side().truth(list(same.examples), list(same.queries))

    def side(self) -> Side:
        # What old weight_norm and pruning keep beside their parameters has a history, and cannot be copied.
        kept = [t for m in self.model.modules() for t in vars(m).values() if isinstance(t, Tensor) and not t.is_leaf]
        model = copy.deepcopy(self.model, {id(tensor): tensor.detach().clone() for tensor in kept})
        names = [
            name
            for name, parameter in model.named_parameters()
            if parameter.is_floating_point() and not any(fnmatch(name, pattern) for pattern in self.frozen)
        ]
        return Side(model, names, self.forward or call, self.loss, self.collate or default_collate)

    def study(self, examples: Any = None) -> Study:
        data = (self.data if self.data is not None else self.examples) if examples is None else examples
        stage = Stage(
            "one",
            self.model,
            self.loss,
            data,
            forward=self.forward,
            collate=self.collate,
            l2=self.l2,
            frozen=self.frozen,
        )
        return Study("setup", [stage], self.queries)

    def _train(self) -> None:
        """Towards a minimum of the objective, on all examples as one batch."""
        trained = [p for n, p in self.model.named_parameters() if not any(fnmatch(n, f) for f in self.frozen)]
        optimiser = torch.optim.LBFGS(trained, max_iter=self.steps, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

        def objective() -> Tensor:
            optimiser.zero_grad()
            value = self._loss(self.examples) + self.l2 / 2 * sum(p.square().sum() for p in trained)
            value.backward()
            return value

        optimiser.step(objective)

    def epoch(self, examples: Sequence[Any]) -> None:
        """One forward and backward pass, all examples in one batch."""
        self.model.train().eval().zero_grad(set_to_none=True)  # modules let go of what they keep of an earlier pass
        self._loss(examples).backward()
        self.model.zero_grad(set_to_none=True)

    def _loss(self, examples: Sequence[Any]) -> Tensor:
        batch = (self.collate or default_collate)(list(examples))
        return self.loss((self.forward or call)(self.model, batch), batch).mean()


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        kind: the part of the campaign.
        name: of the setup.
        make: builds it.
        quick: part of the test suite.
        told: a pattern of what the library must say of it, as a named error or a warning. Without one the scores must
            be right, and nothing be warned about.
    """

    kind: str
    name: str
    make: Callable[[], Setup | Retraining]
    quick: bool = False
    told: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


@dataclass
class Measured:
    """What one row showed."""

    row: Row
    errors: dict[str, float] = field(default_factory=dict)
    """Method -> relative error of its scores, |found - truth| / |truth|."""
    ratio: float = float("nan")
    """Norm of the scores of `ekfac`, in that of the scores of what it approximates: the curvature layer by layer."""
    rank: float = float("nan")
    """Spearman's correlation of the scores of `ekfac` with the solved ones, mean over queries."""
    epochs: dict[str, float] = field(default_factory=dict)
    """Method -> its time in forward and backward passes over the same data."""
    slow: list[str] = field(default_factory=list)
    """Parameters without a layer rule."""
    notes: set[str] = field(default_factory=set)
    warnings: set[str] = field(default_factory=set)
    refusals: set[str] = field(default_factory=set)
    sizes: set[str] = field(default_factory=set)
    """What `ekfac` says of the size of its scores, which need not be wrong by its own standard, the layers' blocks."""
    faults: list[str] = field(default_factory=list)
    """Wrong without a warning, a warning though right, or an error that nobody foresaw."""

    @property
    def told(self) -> set[str]:
        return self.warnings | self.refusals


def compare(row: Row, methods: Sequence[str] | None = None, timed: bool = False) -> Measured:
    """Score a row by its methods, or some of them, and compare."""
    torch.manual_seed(0)
    found, made = Measured(row), row.make()
    made.prepare()
    for method in [method for method in made.methods if methods is None or method in methods]:
        try:
            values, report = made.scored(method)
        except Exception as error:
            foreseen = isinstance(error, UpstreamError) and row.told and re.search(row.told, str(error))
            sentence = str(error) if foreseen else f"{method}: {type(error).__name__}: {error}"
            (found.refusals.add if foreseen else found.faults.append)(sentence)
        else:
            _add(found, made, method, values, report)
    if timed and not found.told and not found.faults:
        found.epochs = made.epochs()
    return found


def _add(found: Measured, made: Setup | Retraining, method: str, values: np.ndarray, report: dict[str, Any]) -> None:
    wanted = made.wanted(method)
    error = float(np.linalg.norm(values - wanted) / np.linalg.norm(wanted))
    # That no minimum was reached is true of many rows, and explains no difference from the formula.
    warnings = {warning for warning in report["warnings"] if "minimum" not in warning}
    found.notes |= set(report["notes"])
    sizes = {warning for warning in warnings if "times too" in warning}
    found.sizes |= sizes
    found.warnings |= warnings - sizes
    found.slow = sorted({*found.slow, *(name for names in report["without_rule"].values() for name in names)})
    if method == "ekfac":
        found.ratio = float(np.linalg.norm(values) / np.linalg.norm(made.layerwise()))
        found.rank = float(np.mean([spearmanr(a, b)[0] for a, b in zip(values, wanted, strict=True)]))
        wrong = not 1 / RATIO < found.ratio < RATIO
        figure = f"{found.ratio:.2g} times the scores of its layers"
    else:
        found.errors[method] = error
        allowed = max(made.tolerance, ESTIMATES) if method in ESTIMATED else made.tolerance
        wrong, figure = not error <= allowed, f"off by {error:.2g}"
    if wrong and not warnings:
        found.faults.append(f"{method}: {figure} without a warning")
    elif sizes and 1 / CERTAIN < np.linalg.norm(values) / np.linalg.norm(wanted) < CERTAIN:
        found.faults.append(f"{method}: of the solved scores' size, and yet a warning: {sorted(sizes)[0]}")
    elif warnings and error <= made.tolerance and not found.row.told:
        found.faults.append(f"{method}: {figure}, and yet a warning: {sorted(warnings)[0]}")


def _epochs(setup: Setup) -> Iterator[tuple[str, float]]:
    examples = [setup.examples[i % len(setup.examples)] for i in range(TIMED_EXAMPLES)]
    study, plain = setup.study(examples), setup.reference or setup
    for method in [method for method in ("identity", "ekfac") if method in setup.methods]:
        options = OPTIONS[method] | ({"draws": 1} if method == "ekfac" else {})
        scored = functools.partial(attribute, study, method=method, damping=1e-2, progress=False, **options)
        spent, passed = [], []
        for _ in range(2):  # one beside the other, as a machine's speed changes
            spent.append(_seconds(scored))
            passed += [_seconds(lambda: plain.epoch(examples)) for _ in range(3)]
        yield method, min(spent) / min(passed)


def _seconds(do: Callable[[], Any]) -> float:
    started = time.process_time()
    do()
    return time.process_time() - started
