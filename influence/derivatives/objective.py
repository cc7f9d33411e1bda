"""A stage's objective at its trained parameters: its data in batches, the model's outputs and losses on them."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from influence.derivatives.batches import on_device
from influence.derivatives.eager import eager
from influence.derivatives.kernels.plain_gradients import PlainGradients
from influence.derivatives.origin import note_origin
from influence.derivatives.remarks import Remarks
from influence.derivatives.substitution import Substitution
from influence.errors import LossError, StudyError
from influence.study.copies import copied, held
from influence.study.layout import Layout
from influence.study.parameters import ParameterGroups, groups_of, l2_of
from influence.study.stage import Loss, Stage
from influence.study.study import Study

BUDGET = 2**28
"""Bytes that the per-example gradients of a batch, or the products of a chunk, may take."""
BATCH = 256
"""Examples in a batch of a small network. A large network gets down to half as many, or as many as fit `BUDGET`."""
MALLOC_BLOCK = 2**25 - 2**15
"""Bytes just below the largest threshold that glibc's malloc adapts to (M_MMAP_THRESHOLD, 32 MiB)."""


class Objective:
    """One stage's objective: the mean loss over its data, plus l2 and proximity terms, at fixed parameters.

    The terms that are not data (l2, proximity) appear only as `ridge`, their diagonal Hessian; `losses` and the
    derivatives built on it are of the data alone. Several vectors over parameters are the rows of a matrix (Q, P).

    Args:
        stage: model, data and loss. The model is copied.
        groups: its parameters: inherited and held, new, frozen, constant.
        device: where to compute.
        batch_size: examples in a batch; by default as many as usually fit (`BATCH`, `BUDGET`).
        halvings: divide the batch size by two this many times, after memory ran out.

    Attributes:
        model: the copy, in evaluation mode.
        parameters: name -> value of all parameters, detached; those of integers are not among them.
        constants: the model's buffers, and its parameters of integers.
        trained, frozen, all: layouts of vectors over the trained (T = P and N), frozen (F) and all parameters.
        l2: (T,), lambda of the l2 term at each parameter.
        proximity: (T,), alpha at inherited parameters, 0 at new ones.
        ridge: (T,), second derivative of the l2 and proximity terms, l2 + 2 alpha.
        count: m, the denominator of the mean loss.
        batch_size: examples in a batch; `batch_size_is_usual` if nobody asked for it, so that `widen` may raise it.
        remarks: what the report will tell of this stage.
        saved: (examples, parameters differentiated) -> bytes that a forward pass of so many keeps.
    """

    def __init__(
        self,
        stage: Stage,
        groups: ParameterGroups,
        *,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        halvings: int = 0,
    ):
        self.stage, self.groups, self.device = stage, groups, torch.device(device)
        # Works around malloc trimming: glibc returns freed memory to the system after every batch, and page faults then
        # take up to half of a pass. Freeing one block of this size raises the threshold for the rest of the process.
        torch.empty(MALLOC_BLOCK, dtype=torch.uint8)
        with torch.enable_grad():
            # Modules that keep what they made of their parameters in evaluation mode let go of it in training mode.
            self.model = copied(stage.model).to(self.device).train().eval()
        named = dict(self.model.named_parameters())
        self.parameters = {n: p.detach() for n, p in named.items() if p.is_floating_point()}
        whole = (p for p in named.values() if not p.is_floating_point())  # of integers: weights in few bits
        plain = (v for v in held(self.model) if isinstance(v, Tensor) and not isinstance(v, nn.Parameter))
        self.constants = list({id(each): each for each in (*self.model.buffers(), *whole, *plain)}.values())
        self._substitution = Substitution(self.model, self.parameters)
        self.trained = Layout(self.parameters, (n for n in self.parameters if n in {*groups.held, *groups.new}))
        self.frozen = Layout(self.parameters, groups.frozen)
        self.all = Layout(self.parameters, self.parameters)
        self.dtype = self.trained.flatten(self.parameters).dtype
        self.sum_dtype = torch.promote_types(self.dtype, torch.float32)
        # Of the parameter with the fewest digits.
        self.epsilon = max(torch.finfo(p.dtype).eps for p in self.parameters.values())
        self.l2, self.proximity = torch.zeros(2, self.trained.size, dtype=self.sum_dtype, device=self.device)
        decay = l2_of(stage)
        for name, place in self.trained.slices.items():
            self.l2[place] = decay[name]
        for name in groups.held:
            self.proximity[self.trained.slices[name]] = stage.proximity
        self.ridge = self.l2 + 2 * self.proximity
        room = BUDGET // (self.dtype.itemsize * self.all.size)
        usual = max(min(BATCH, room // 4), min(BATCH // 2, room))
        self.batch_size = max(1, (batch_size or usual) >> halvings)
        self.batch_size_is_usual = not batch_size and not halvings
        self._whole, self._length = stage.data, len(stage.data)
        self.count = self._length
        self.remarks = Remarks()
        self.saved: dict[tuple[int, int], int] = {}
        self._looping = False

    def at(self, parameters: dict[str, Tensor]) -> Objective:
        """The same objective at other parameters (all of the stage's, by name)."""
        other = copy.copy(self)
        other.parameters = {n: parameters[n].detach().to(self.device) for n in self.parameters}
        return other

    def with_stage(self, stage: Stage) -> Objective:
        """The same model, with the data, forward and loss of another stage."""
        other = copy.copy(self)
        other.stage, other.count = stage, len(stage.data)
        return other

    def displacement(self, before: Mapping[str, Tensor]) -> Tensor:
        """How far inherited trained parameters are from `before`, the previous stage's by name: (T,), 0 at new ones."""
        moved = {name: torch.zeros_like(self.parameters[name]) for name in self.trained.shapes}
        for name in self.groups.held:
            origin = before[self.groups.inherited[name]].detach().to(self.device)
            moved[name] = self.parameters[name] - origin
        return self.trained.flatten(moved)

    # Data

    def batches(self, data: Any, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, Any]]:
        """(positions, batch on the device), in the order of `data`, of the examples from `start` on, up to `stop`.

        Raises:
            StudyError: the stage's data have another length than at first.
        """
        if data is self._whole and len(data) != self._length:
            raise StudyError(
                f"Stage {self.stage.name!r}: its data had {self._length} examples and have {len(data)} now; they must "
                "stay as they are while influence is computed."
            )
        end = len(data) if stop is None else stop
        stops = [*range(start + self.batch_size, end, self.batch_size), end]
        for after, batch in zip(stops, self._read(data, start, end), strict=True):
            yield slice(start, after), on_device(batch, self.device)
            start = after

    def _read(self, data: Any, start: int, stop: int) -> Iterator[Any]:
        try:
            yield from self._collated(data, start, stop)
        except Exception as error:
            note_origin(error, self.stage.name, "data or `collate`")
            raise

    def _collated(self, data: Any, start: int, stop: int) -> Iterator[Any]:
        if type(data) is torch.utils.data.TensorDataset and self.stage.collate is None:
            # The default collate would index and stack every example: slices are much faster.
            parts = [tensor[start:stop].split(self.batch_size) for tensor in data.tensors]
            return (list(batch) for batch in zip(*parts, strict=True))
        part = stop - start < len(data)
        rest = torch.utils.data.Subset(data, range(start, stop)) if part else data
        own = torch.Generator()  # the loader draws a seed, and must not take it from the user's random state
        return iter(
            torch.utils.data.DataLoader(rest, batch_size=self.batch_size, collate_fn=self.stage.collate, generator=own)
        )

    def outputs(self, batch: Any, parameters: dict[str, Tensor] | None = None) -> Any:
        """The model's outputs for a batch, at other `parameters` if given."""
        assert self.stage.forward is not None
        with PlainGradients(), eager(), self._substitution.at({**self.parameters, **(parameters or {})}):
            try:
                return self.stage.forward(self.model, batch)
            except Exception as error:
                note_origin(error, self.stage.name, "model or `forward`")
                raise

    def losses(
        self, batch: Any, count: int, parameters: dict[str, Tensor] | None = None, loss: Loss | None = None
    ) -> Tensor:
        """Per-example losses (B,) of a batch of `count` examples. `loss` replaces the stage's loss.

        Raises:
            LossError: not one value per example.
        """
        outputs = self.outputs(batch, parameters)
        try:
            values = (loss or self.stage.loss)(outputs, batch)
        except Exception as error:
            note_origin(error, self.stage.name, "loss" if loss is None else "measure")
            raise
        if not isinstance(values, Tensor) or values.shape != (count,):
            got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            hint = " Use reduction='none'." if isinstance(values, Tensor) and values.dim() == 0 else ""
            raise LossError(
                f"Stage {self.stage.name!r}: the loss of a batch of {count} gave {got}, expected one "
                f"value per example, shape ({count},).{hint}"
            )
        return values

    # Whether batches can be split into single examples

    def separable(self, batch: Any, count: int, loss: Loss | None = None) -> bool:
        """Whether every slice of the batch is a batch of one example, with the same loss as within the whole batch.

        This fails if `vmap` does not support the model, if the batch has a structure of its own, or if it holds a
        tensor whose first dimension is `count` by chance. Then `note_loop` is called.
        """
        if self._looping:
            return False
        with torch.no_grad():
            whole = self.losses(batch, count, loss=loss)
            try:
                dims = (example_dims(batch, count),)
                alone = vmap(lambda example: self.losses(example, 1, loss=loss)[0], in_dims=dims)(
                    as_examples(batch, count)
                )
            except (AssertionError, LossError, LookupError, RuntimeError, TypeError, ValueError) as error:
                if ran_out_of_memory(error):
                    raise
                self.note_loop()
                return False
        if not equal_to_rounding(whole, alone, epsilon=self.epsilon).all():
            self.note_loop()
        return not self._looping

    def note_loop(self) -> None:
        """Take derivatives one example at a time from now on, and note it for the report."""
        self._looping = True
        self.remarks.notes.add(
            f"{self.stage.name}: derivatives example by example (the model or its batches cannot be vectorised)"
        )

    def warn_if_constant(self, any_gradient: Tensor | bool) -> None:
        """Warn that all gradients are zero: `forward` calls another model, or all predictions are saturated."""
        if any_gradient:
            return
        if self._reached():
            digits = str(self.dtype).removeprefix("torch.")
            self.remarks.warn(
                f"{self.stage.name}: the losses depend on the model's parameters, but all gradients are exactly 0, and "
                f"so are the scores. The predictions are saturated (a probability that {digits} rounds to 1), or the "
                "losses are at their lowest value. Use a model with an l2 term, or one that was trained for less long; "
                "model.double() has more digits",
                order_only=True,
            )
        else:
            self.remarks.warn(
                f"{self.stage.name}: no loss depends on the model's parameters; `forward(model, batch)` must call the "
                "model that it is given, not another object, and must not detach its outputs",
                order_only=True,
            )

    def _reached(self) -> bool:
        """Whether autograd finds a way from the losses of a batch to a trained parameter."""
        live = {n: self.parameters[n].clone().requires_grad_() for n in self.trained.shapes}
        positions, batch = next(self.batches(self.stage.data))
        with torch.enable_grad(), plain_kernels():
            total = self.losses(batch, positions.stop - positions.start, live).sum()
        if not total.requires_grad:
            return False
        return any(g is not None for g in torch.autograd.grad(total, list(live.values()), allow_unused=True))


def ran_out_of_memory(error: Exception) -> bool:
    """Whether torch raised the error because memory ran out, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


_KERNELS = threading.RLock()


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Disable kernels without second derivatives (fused attention) and compiled code within this context.

    The setting is global to the process. A lock lets one thread at a time into the context; a generator must not
    `yield` within it.
    """
    with _KERNELS:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with sdpa_kernel(SDPBackend.MATH), eager():
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _is_per_example(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == count


def as_examples(batch: Any, count: int) -> Any:
    """The batch with a dimension of length 1 after the first: slicing the first dimension gives batches of one."""
    return pytree.tree_map(lambda v: v[:, None] if _is_per_example(v, count) else v, batch)


def example_dims(batch: Any, count: int) -> Any:
    """`in_dims` of `vmap` for the batch: 0 for tensors with one row for each example, None for all others."""
    return pytree.tree_map(lambda v: 0 if _is_per_example(v, count) else None, batch)


def equal_to_rounding(one: Tensor, other: Tensor, size: float | None = None, epsilon: float = 0.0) -> Tensor:
    """Elementwise: whether two tensors agree up to rounding; bool, of their shape.

    Sums are not reproducible to the last bit: libraries split them by the number of free threads.

    Args:
        one: of any shape.
        other: of the same shape.
        size: magnitude that the absolute tolerance is relative to; default the largest absolute value of `one`.
        epsilon: machine epsilon of the computation, if larger than that of the tensors' dtype.
    """
    tolerance = max(torch.finfo(one.dtype).eps, epsilon) ** 0.5
    size = float(one.abs().max()) if size is None else size
    return torch.isclose(one, other, rtol=tolerance, atol=tolerance * size)


def restricted(objective: Objective, positions: Sequence[int]) -> Objective:
    """The objective with only the examples at `positions` as data, and their number as denominator. Same ridge."""
    part = copy.copy(objective)
    part.stage = copy.copy(objective.stage)
    part.stage.data = torch.utils.data.Subset(objective.stage.data, list(positions))
    part.count = len(positions)
    return part


def objectives_of(
    study: Study, *, device: torch.device | str = "cpu", batch_size: int | None = None, halvings: int = 0
) -> list[Objective]:
    """The objective of every stage, first to last."""
    return [
        Objective(stage, groups_of(stage, previous), device=device, batch_size=batch_size, halvings=halvings)
        for previous, stage in study.pairs()
    ]
