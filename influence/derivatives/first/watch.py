"""Per-example gradients from recorded layer calls, checked against autograd whenever a new call pattern appears.

A parameter whose recorded gradients differ from autograd's is differentiated with `torch.func` from then on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.utils.checkpoint import CheckpointError

from influence.derivatives.autograd_limits import refuse_reentrant
from influence.derivatives.first.alignment import DERIVED, LAYOUTS
from influence.derivatives.first.call import Call, ChangedInPlaceError, Key, tolerance
from influence.derivatives.first.factors import Dense, Factor, Factors
from influence.derivatives.first.tape import Tape
from influence.derivatives.objective import (
    BUDGET,
    Objective,
    as_examples,
    example_dims,
    plain_kernels,
    ran_out_of_memory,
)
from influence.errors import LossError
from influence.study.layout import Layout
from influence.study.stage import Loss

REFUSALS = (AssertionError, LookupError, LossError, RuntimeError, TypeError, ValueError)
"""Exceptions of a model or loss that cannot compute with expanded (or not expanded) shared outputs."""


class Watch:
    """Per-example gradients of the parameters of `layout`, batch after batch.

    The tape's gradients are compared with autograd's in the first batch, and in every batch with a new call pattern.
    Where values of the data decide which rows belong to which example, a second backward pass checks this in every
    batch. Parameters for which the gradients differ are differentiated by `torch.func` from then on, and listed in
    `objective.remarks.without_rule`.

    Args:
        objective: the stage's.
        layout: the parameters.
        loss: in place of the stage's loss (for the queries' measure).

    Attributes:
        layouts: call key -> layout of the calls that were checked.
        careful: whether the model changes layer inputs in place, so that the tape clones them.
        foreign: parameters that `torch.func` differentiates.
        checked: patterns of the batches that agreed with autograd.
        loose: whether a batch was seen in which the alignment of rows may depend on the data.
    """

    def __init__(self, objective: Objective, layout: Layout, loss: Loss | None = None):
        self.objective, self.loss = objective, loss
        self.parameters = {n: objective.parameters[n] for n, shape in layout.shapes.items() if shape.numel()}
        self.layouts: dict[Key, str] = {}
        self.careful = False
        self.foreign: set[str] = set()
        self.checked: set[Any] = set()
        self.loose = False
        self.batches = 0

    def from_batch(self, number: int) -> Watch:
        """A watch that knows what this one knows, to go on before batch `number`, from 0; what it learns is its own."""
        other = copy.copy(self)
        other.layouts, other.foreign, other.checked = dict(self.layouts), set(self.foreign), set(self.checked)
        other.batches = number
        return other

    def factors(self, batch: Any, count: int) -> Factors:
        """Per-example gradients: parameter -> factors. A parameter that is absent has zero gradients."""
        with plain_kernels():
            found, tape = self._taped(batch, count)
            self.batches += 1
            if self._doubtful(tape):
                found, tape = self._checked(batch, count, found, tape)
            self.loose = self.loose or tape.loose
            if self.foreign:
                named = {n: self.parameters[n] for n in self.parameters if n in self.foreign}
                formed = _batch_gradients(self.objective, named, batch, count, self.loss)
                dtype = self.objective.sum_dtype
                found |= {n: [Dense(g.detach().to(dtype))] for n, g in formed.items()}
        return found

    def recorded(self, batch: Any, count: int) -> tuple[Any, Tape]:
        """The model's outputs for a batch, and the tape of the forward pass."""
        outputs, tape = self._forward(self._watched(), count, lambda: self.objective.outputs(batch))
        self.batches += 1
        if not self._doubtful(tape) and self._misaligned_for(outputs, batch, tape) <= self.foreign:
            return outputs, tape
        self._checked(batch, count, *self._taped(batch, count))
        outputs, tape = self._forward(self._watched(), count, lambda: self.objective.outputs(batch))
        self.loose = self.loose or tape.loose
        self.checked.add(tape.pattern())  # the loss may have calls of its own
        return outputs, tape

    def _forward(self, watched: dict[str, Tensor], count: int, call: Callable[[], Any]) -> tuple[Any, Tape]:
        """`call()` and its tape. If the model fails on expanded outputs, these calls count as the first example's."""
        frozen = [p for n, p in self.objective.parameters.items() if n not in watched]
        tape = Tape(watched, count, self.layouts, self.careful, self.objective.constants, frozen)
        try:
            return tape.forward(call), tape
        except REFUSALS as error:
            # The output with one row was not shared by all examples: the model cannot use it with more rows.
            guessed = {
                c.key: DERIVED if c.derivable else "first"
                for c in tape.calls
                if c.layout == "shared" and c.key not in self.layouts
            }
            if ran_out_of_memory(error) or not guessed:
                raise
            self.layouts |= guessed
            return self._forward(watched, count, call)

    def _taped(self, batch: Any, count: int) -> tuple[dict[str, list[Factor]], Tape]:
        watched = self._watched()
        if not watched:
            return {}, Tape({}, count)
        try:
            losses, tape = self._forward(watched, count, lambda: self.objective.losses(batch, count, loss=self.loss))
            loose = self._is_loose(tape)
            output_gradients = tape.output_gradients([losses], again=loose)
            found = tape.factors(output_gradients)
            if loose:
                tape.unsure |= self._misaligned(losses, output_gradients, tape)
        except ChangedInPlaceError:
            if self.careful:
                raise
            self.careful = True
            return self._taped(batch, count)
        except CheckpointError:  # a checkpoint recomputes its layers outside of the tape
            self._give_up(set(watched))
            return self._taped(batch, count)
        self._give_up(tape.foreign)
        return found, tape

    def _watched(self) -> dict[str, Tensor]:
        return {n: p for n, p in self.parameters.items() if n not in self.foreign}

    def _doubtful(self, tape: Tape) -> bool:
        """Whether to check this batch: its pattern is new, or it is number 1, 8, 64 ... as a safeguard."""
        power = self.batches & (self.batches - 1) == 0 and self.batches.bit_length() % 3 == 1
        return power or self._is_new(tape)

    def _is_new(self, tape: Tape) -> bool:
        return bool(tape.unsure) or tape.pattern() not in self.checked

    def _is_loose(self, tape: Tape) -> bool:
        return (self.loose or tape.loose) and tape.count > 1

    def _misaligned_for(self, outputs: Any, batch: Any, tape: Tape) -> set[str]:
        """As `_misaligned`, of the loss of outputs whose graph is kept."""
        if not self._is_loose(tape):
            return set()
        with torch.enable_grad():
            losses = self.objective.stage.loss(outputs, batch)
        return self._misaligned(losses, tape.output_gradients([losses], again=True), tape, again=True)

    def _misaligned(
        self, losses: Tensor, output_gradients: list[tuple[Call, Tensor]], tape: Tape, again: bool = False
    ) -> set[str]:
        """Parameters with a call whose rows do not belong to the examples that its layout says."""
        weights = self._weights(tape.count)
        return tape.misaligned(output_gradients, tape.output_gradients([losses], [weights.to(losses)], again), weights)

    def _weights(self, count: int) -> Tensor:
        """Random weights (n,), which tell the examples of a batch apart."""
        return torch.randn(count, generator=torch.Generator().manual_seed(count)).to(self.objective.device)

    def _checked(
        self, batch: Any, count: int, found: dict[str, list[Factor]], tape: Tape
    ) -> tuple[dict[str, list[Factor]], Tape]:
        """Factors that agree with autograd on this batch, and their tape.

        Where the tape's do not, every layout of `LAYOUTS` is tried for the calls in question. Parameters for which none
        is right are given up to `torch.func`, and the others are checked again.
        """
        weights = self._weights(count)
        expected = self._by_autograd(batch, count, weights)

        def differing(found: Factors, tape: Tape) -> set[str]:
            return self._differing(found, expected, weights, tape.epsilon) | tape.unsure

        wrong = differing(found, tape)
        if wrong and not self._is_new(tape):
            self._warn_late()
        for layout in (*LAYOUTS, DERIVED):
            if not wrong:
                break
            concerned = [c for c in tape.calls if wrong & tape.parameters_behind(c.use.names)]
            tried = {c.key: layout for c in concerned if _may_have(c, layout, tape)}
            if all(c.layout == tried.get(c.key, c.layout) for c in concerned):
                continue
            layouts, self.layouts = self.layouts, self.layouts | tried
            try:
                found, tape = self._taped(batch, count)
                wrong = differing(found, tape)
            except REFUSALS as error:  # the model cannot compute with this layout
                if ran_out_of_memory(error):
                    raise
                self.layouts = layouts
        if wrong:
            self._give_up(wrong)
            return self._checked(batch, count, *self._taped(batch, count))  # calls may have other names now
        self.layouts |= {call.key: call.layout for call in tape.calls}
        self.checked.add(tape.pattern())
        return {n: f for n, f in found.items() if n not in self.foreign}, tape

    def _by_autograd(self, batch: Any, count: int, weights: Tensor) -> dict[str, Tensor]:
        """Autograd's gradient of the weighted sum of the losses. Random weights tell the examples apart."""
        live = {n: p.clone().requires_grad_() for n, p in self.parameters.items() if n not in self.foreign}
        if not live:
            return {}
        with torch.enable_grad():
            values = self.objective.losses(batch, count, live, self.loss)
        if not values.requires_grad:
            return {n: torch.zeros_like(p).flatten() for n, p in self.parameters.items() if n in live}
        refuse_reentrant(self.objective.stage.name, values)
        rows = torch.autograd.grad(values, list(live.values()), weights.to(values), allow_unused=True)
        return {
            n: (torch.zeros_like(p) if row is None else row).flatten().detach()
            for row, (n, p) in zip(rows, live.items(), strict=True)
        }

    def _differing(self, found: Factors, expected: dict[str, Tensor], weights: Tensor, epsilon: float) -> set[str]:
        """Names of parameters whose gradients differ from autograd's by more than the layers' rounding `epsilon`."""
        if not expected:
            return set()
        epsilon = max(epsilon, torch.finfo(self.objective.dtype).eps)
        whole = torch.stack([row.float().norm() for row in expected.values()]).norm()
        wrong = set()
        for name, row in expected.items():
            mine = row.new_zeros(row.shape, dtype=self.objective.sum_dtype)
            try:
                for factor in found.get(name, []):
                    mine = mine + factor.weighted(weights.to(mine))
            except RuntimeError as error:  # dtypes of parameter and layer input do not match (complex numbers, say)
                if ran_out_of_memory(error):
                    raise
                wrong.add(name)
                continue
            if not (mine - row).norm() <= tolerance(row, epsilon, whole):
                wrong.add(name)
        return wrong

    def _warn_late(self) -> None:
        """Warn that a pattern passed its check, but a later batch of the same pattern did not."""
        self.loose = self.objective.remarks.moved = True
        self.objective.remarks.warn(
            f"{self.objective.stage.name}: the model moves examples to other places within a batch in ways that could "
            f"not be seen in its calls; scores of examples in the first {self.batches - 1} batches may be those of "
            "their neighbours. Use `batch_size=1`"
        )

    def _give_up(self, names: set[str]) -> None:
        self.foreign |= names
        if names:
            self.objective.remarks.without_rule |= names


def _may_have(call: Call, layout: str, tape: Tape) -> bool:
    """Whether it makes sense to try a layout for a call."""
    if layout == DERIVED:
        return call.derivable
    return layout != "shared" or tape.may_be_shared(call)


def _batch_gradients(
    objective: Objective, here: dict[str, Tensor], batch: Any, count: int, loss: Loss | None
) -> dict[str, Tensor]:
    def one(p: dict[str, Tensor], example: Any) -> Tensor:
        return objective.losses(example, 1, p, loss)[0]

    if objective.separable(batch, count, loss):
        size = objective.dtype.itemsize * sum(p.numel() for p in here.values())
        at_once = max(1, min(count, BUDGET // size))
        try:
            each = vmap(grad(one), in_dims=(None, example_dims(batch, count)), chunk_size=at_once)
            return each(here, as_examples(batch, count))
        except RuntimeError as error:
            if ran_out_of_memory(error):
                raise
            objective.note_loop()
    return _looped_gradients(objective, here, batch, count, loss)


def _looped_gradients(
    objective: Objective, here: dict[str, Tensor], batch: Any, count: int, loss: Loss | None
) -> dict[str, Tensor]:
    live = {n: p.clone().requires_grad_() for n, p in here.items()}
    values = objective.losses(batch, count, live, loss)
    if not values.requires_grad:  # no example of this batch uses them
        return {n: p.new_zeros(count, *p.shape) for n, p in here.items()}
    rows = [torch.autograd.grad(value, list(live.values()), retain_graph=True, allow_unused=True) for value in values]
    return {
        n: torch.stack([row[i] if row[i] is not None else torch.zeros_like(p) for row in rows])
        for i, (n, p) in enumerate(live.items())
    }
