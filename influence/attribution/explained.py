"""What a chain explains: the measure of every query or, where they are given, targets made of all queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from influence.attribution.chain import Chain
from influence.derivatives import Objective, plain_kernels
from influence.derivatives.losses import checked_losses
from influence.derivatives.objective import ran_out_of_memory
from influence.derivatives.origin import MISTAKES
from influence.derivatives.precision import doubled, in_double
from influence.derivatives.second.outputs import differentiable
from influence.errors import LossError, StudyError
from influence.run.records import NAT
from influence.study.stage import Loss
from influence.study.targets import Answers, Target, TargetLike


class Explained:
    """What a chain explains: every query's measure or, if given, targets.

    Args:
        chain: of the study.
        targets: None explains every query.
        queries: that the targets are made of, in place of the study's.

    Attributes:
        count: how many numbers are explained.

    Raises:
        StudyError: `targets` is empty, or holds something else than targets and functions.
    """

    def __init__(self, chain: Chain, targets: Sequence[TargetLike] | None, queries: Any = None):
        assert chain.study.measure is not None
        self._chain, self._last = chain, chain.last
        self._queries = chain.study.queries if queries is None else queries
        self._measure = chain.study.measure
        self._targets = None if targets is None else _checked(targets)
        self.count = len(self._queries) if self._targets is None else len(self._targets)

    def told(self, report: dict[str, Any]) -> dict[str, Any]:
        """The report with names and units of the targets; `unit` is the one that they share."""
        if self._targets is None:
            return report
        named = [{"name": each.name, "unit": each.unit or NAT} for each in self._targets]
        units = {each["unit"] for each in named}
        shared = units.pop() if len(units) == 1 else "each target's own"
        return report | {"targets": named, "unit": shared if report["unit"] == NAT else report["unit"]}

    def gradients(self, some: slice | None = None) -> Tensor:
        """Gradients over all parameters of the last stage: (count, P).

        Args:
            some: of these alone.

        Raises:
            LossError: a target is not one finite number, or has no derivative.
            StudyError: a target asks for a query or class that does not exist.
        """
        if self._targets is None:
            if some is None:
                return self._chain.query_gradients(self._queries)
            rows = range(*some.indices(self.count))
            return self._chain.query_gradients(torch.utils.data.Subset(self._queries, rows))
        parts = _parts(self._last, self._queries, self._measure)
        flat = [tensor.requires_grad_() for part in parts for tensor in (part.losses, *part.leaves)]
        with torch.enable_grad():
            answers = _answers(self._queries, parts)
            slopes = [_slopes(target, _number(target, answers), flat) for target in self._targets[some or slice(None)]]
        return self._pulled(slopes)

    def _pulled(self, slopes: Sequence[Sequence[Tensor | None]]) -> Tensor:
        """Slopes of every target in the losses and outputs of every batch -> gradients (targets, P)."""
        last = self._last
        found = torch.zeros(len(slopes), last.all.size, dtype=last.sum_dtype, device=last.device)
        done = 0
        for _, batch in last.batches(self._queries):
            live = {n: last.parameters[n].detach().clone().requires_grad_() for n in last.all.shapes}
            with plain_kernels(), torch.enable_grad():
                outputs = last.outputs(batch, live)
                heads = [self._measure(outputs, batch), *differentiable(last, outputs)[0]]
                for row, every in enumerate(slopes):
                    sides = every[done : done + len(heads)]
                    pairs = [(h, s.to(h)) for h, s in zip(heads, sides, strict=True) if s is not None]
                    pairs = [(h, s) for h, s in pairs if h.requires_grad]
                    if not pairs:
                        continue
                    tensors, weights = zip(*pairs, strict=True)
                    rows = torch.autograd.grad(
                        tensors, list(live.values()), weights,
                        retain_graph=True, allow_unused=True, materialize_grads=True,
                    )  # fmt: skip
                    found[row] += last.all.flatten(dict(zip(live, rows, strict=True)))
            done += len(heads)
        last.warn_if_constant(found.any())
        return found

    def values(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """What is explained (count,), float64, at other parameters of the last stage.

        Computed in double precision where the model and the measure run in it: it is used for small differences.
        """
        last, measure = self._double
        there = last.at({name: value.to(last.parameters[name]) for name, value in parameters.items()})
        if self._targets is None:
            return checked_losses(there, self._queries, measure).double().to(last.device)
        with torch.no_grad():
            answers = _answers(self._queries, _parts(there, self._queries, measure))
            return torch.stack([_number(target, answers).double() for target in self._targets])

    @cached_property
    def _double(self) -> tuple[Objective, Loss]:
        """(the last stage's objective, the measure), in double precision if they run in it."""
        double = in_double(self._last)
        if double is self._last:
            return self._last, self._measure

        def doubly(outputs: Any, batch: Any) -> Tensor:
            return self._measure(outputs, doubled(batch))

        try:
            _parts(double, self._queries, doubly)
        except (RuntimeError, TypeError, ValueError, LossError) as error:
            if ran_out_of_memory(error):
                raise
            return self._last, self._measure
        return double, doubly


@dataclass(frozen=True)
class _Part:
    """What the model says to a batch of queries: losses (B,), the real tensors of its outputs, and their form."""

    losses: Tensor
    leaves: list[Tensor]
    rebuild: Callable[[Any], Any]


def _parts(last: Objective, queries: Any, measure: Loss) -> list[_Part]:
    found = []
    with torch.no_grad(), plain_kernels():
        for positions, batch in last.batches(queries):
            leaves, rebuild = differentiable(last, last.outputs(batch))
            losses = last.losses(batch, positions.stop - positions.start, loss=measure)
            found.append(_Part(losses.detach(), [leaf.detach() for leaf in leaves], rebuild))
    return found


def _answers(queries: Any, parts: Sequence[_Part]) -> Answers:
    return Answers(queries, torch.cat([part.losses for part in parts]), [p.rebuild(p.leaves) for p in parts])


def _number(target: Target, answers: Answers) -> Tensor:
    """The target's value, one finite number."""
    try:
        found = target.function(answers)
    except MISTAKES as error:
        if ran_out_of_memory(error):
            raise
        raise LossError(f"Target {target.name!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(found, Tensor) or found.numel() != 1:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise LossError(f"Target {target.name!r} gave {got}, expected a tensor with one number.")
    if not found.detach().isfinite().all():
        raise LossError(f"Target {target.name!r} is {found.item()}, expected a finite number.")
    return found.reshape(())


def _slopes(target: Target, number: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Derivatives of a target in the losses and outputs of the queries."""
    found: Sequence[Tensor | None] = []
    if number.requires_grad:
        found = torch.autograd.grad(number, tensors, retain_graph=True, allow_unused=True)
    if not all(slope is None or bool(slope.isfinite().all()) for slope in found):
        raise LossError(
            f"Target {target.name!r} has a derivative that is not finite, as a square root or logarithm at 0 has. "
            "Add a small number within."
        )
    if not any(slope is not None and bool(slope.any()) for slope in found):
        raise LossError(
            f"Target {target.name!r} has no derivative in the losses and outputs of the queries, as an argmax, a count "
            "or a detached tensor has none. Use probabilities or losses in its place."
        )
    return found


def _checked(targets: Sequence[TargetLike]) -> list[Target]:
    if isinstance(targets, Target) or not isinstance(targets, Iterable) or not list(targets):
        raise StudyError(f"targets is {targets!r}, expected a list with at least one target of `influence.targets`.")
    found = []
    for each in targets:
        if isinstance(each, Target):
            found.append(each)
        elif callable(each):
            found.append(_of_outputs(each))
        else:
            raise StudyError(f"{each!r} is no target; use the functions of `influence.targets`, or one of the outputs.")
    return found


def _of_outputs(function: Callable[[Any], Tensor]) -> Target:
    name = getattr(function, "__name__", type(function).__name__)
    return Target(name, lambda answers: function(answers.outputs), "of the function")
