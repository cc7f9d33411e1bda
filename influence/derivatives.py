"""A stage's objective at its trained parameters: per-example gradients and curvature products.

Everything is reverse-mode autograd through `torch.func`, which covers every layer that can be differentiated
twice; nothing is hooked, replaced or flagged in the user's model, which is copied once.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from influence.errors import LossError
from influence.parameters import Groups, Layout
from influence.study import Forward, Loss, Stage

BUDGET = 2**28
"""Bytes that one batch's per-example gradients, or one chunk's products, may take."""


class _Forward(nn.Module):
    """`forward(model, batch)` as a module, so that `functional_call` can exchange the model's parameters."""

    def __init__(self, model: nn.Module, forward: Forward):
        super().__init__()
        self.model, self.call = model, forward

    def forward(self, batch: Any) -> Any:
        return self.call(self.model, batch)


class Objective:
    """One stage's objective: the mean loss over its data, plus l2 and proximity terms, at fixed parameters.

    Vectors over parameters are rows: (Q, P). `trained` (T = P and N), `frozen` (F) and `all` are their layouts.
    """

    def __init__(
        self, stage: Stage, groups: Groups, *, device: torch.device | str = "cpu", batch_size: int | None = None
    ):
        self.stage, self.groups, self.device = stage, groups, torch.device(device)
        self._module = _Forward(copy.deepcopy(stage.model).to(self.device).eval(), stage.forward)  # type: ignore[arg-type]
        self.parameters = {n: p.detach() for n, p in self._module.model.named_parameters()}
        self.trained = Layout(self.parameters, (n for n in self.parameters if n in {*groups.held, *groups.new}))
        self.frozen = Layout(self.parameters, groups.frozen)
        self.all = Layout(self.parameters, self.parameters)
        self.dtype = self.trained.flatten(self.parameters).dtype
        self.sum_dtype = torch.promote_types(self.dtype, torch.float32)
        # Diagonal of the terms that are not data: l2 on all trained parameters, 2 alpha on the inherited ones.
        self.ridge = torch.full((self.trained.size,), float(stage.l2), dtype=self.sum_dtype, device=self.device)
        for name in groups.held:
            self.ridge[self.trained.slices[name]] += 2 * stage.proximity
        self.batch_size = batch_size or max(1, min(256, BUDGET // (self.dtype.itemsize * self.all.size)))
        self.count = len(stage.data)
        self.notes: set[str] = set()
        self._looping = False

    def at(self, parameters: dict[str, Tensor]) -> Objective:
        """The same objective at other parameters (all of the stage's, by name)."""
        other = copy.copy(self)
        other.parameters = {n: p.detach().to(self.device) for n, p in parameters.items()}
        return other

    # Data

    def batches(self, data: Any) -> Iterator[tuple[slice, Any]]:
        """(positions, batch on the device), in the order of `data`."""
        loader = torch.utils.data.DataLoader(data, batch_size=self.batch_size, collate_fn=self.stage.collate)
        start = 0
        for batch in loader:
            stop = min(start + self.batch_size, len(data))
            yield slice(start, stop), pytree.tree_map_only(Tensor, lambda t: t.to(self.device), batch)
            start = stop

    def outputs(self, batch: Any, parameters: dict[str, Tensor] | None = None) -> Any:
        """The model's outputs for a batch, at other `parameters` if given."""
        named = {f"model.{n}": p for n, p in {**self.parameters, **(parameters or {})}.items()}
        return functional_call(self._module, named, (batch,))

    def losses(
        self, batch: Any, count: int, parameters: dict[str, Tensor] | None = None, loss: Loss | None = None
    ) -> Tensor:
        """Per-example losses (B,) of a batch of `count` examples; `loss` may be another measure.

        Raises:
            LossError: not one value per example.
        """
        values = (loss or self.stage.loss)(self.outputs(batch, parameters), batch)
        if not isinstance(values, Tensor) or values.shape != (count,):
            got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            hint = " Use reduction='none'." if isinstance(values, Tensor) and values.dim() == 0 else ""
            raise LossError(
                f"Stage {self.stage.name!r}: the loss of a batch of {count} gave {got}, expected one "
                f"value per example, shape ({count},).{hint}"
            )
        return values

    def checked_losses(self, data: Any, loss: Loss | None = None) -> Tensor:
        """Losses of all examples (n,) on the CPU.

        Raises:
            LossError: the model or the loss cannot take the data, does not give one value per example, or gives one
                that is not finite.
        """
        found = []
        try:
            with torch.no_grad(), plain_kernels():
                for positions, batch in self.batches(data):
                    count = positions.stop - positions.start
                    values = self.losses(batch, count, loss=loss)
                    self._refuse_not_finite(values, positions.start)
                    if not positions.start and not torch.equal(values, self.losses(batch, count, loss=loss)):
                        raise LossError(
                            f"Stage {self.stage.name!r}: the same batch gave two different losses. Something in the "
                            "model is random in evaluation mode too; influence needs a fixed function."
                        )
                    found.append(values.cpu())
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            whose = "its training examples" if data is self.stage.data else "the queries"
            raise LossError(
                f"Stage {self.stage.name!r}: its model or loss failed on {whose}: {type(error).__name__}: {error}. "
                "Try forward, loss and collate on one batch by hand."
            ) from error
        return torch.cat(found)

    def _refuse_not_finite(self, values: Tensor, start: int) -> None:
        bad = (~values.isfinite()).nonzero().flatten()
        if len(bad):
            raise LossError(
                f"Stage {self.stage.name!r}: the loss of example {start + int(bad[0])} is {values[bad[0]].item()}, "
                "expected a finite number. Check this example and the trained parameters."
            )

    # First derivatives

    def example_gradients(self, data: Any, layout: Layout, loss: Loss | None = None) -> Iterator[tuple[slice, Tensor]]:
        """(positions, per-example gradients (B, P)) over the parameters of `layout`, batch by batch."""
        here = {n: self.parameters[n] for n in layout.shapes}
        for positions, batch in self.batches(data):
            with plain_kernels():
                gradients = self._batch_gradients(here, batch, positions.stop - positions.start, loss)
            flat = layout.flatten(gradients).detach()
            # What follows sums over many of them, for which half precision has too few digits.
            yield positions, flat.to(torch.promote_types(flat.dtype, torch.float32))

    def _batch_gradients(self, here: dict[str, Tensor], batch: Any, count: int, loss: Loss | None) -> dict[str, Tensor]:
        def one(p: dict[str, Tensor], example: Any) -> Tensor:
            return self.losses(example, 1, p, loss)[0]

        if self._separable(batch, count, loss):
            try:
                return vmap(grad(one), in_dims=(None, _example_dims(batch, count)))(here, _as_examples(batch, count))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                self._note_loop()
        return self._looped_gradients(here, batch, count, loss)

    def _separable(self, batch: Any, count: int, loss: Loss | None = None) -> bool:
        """Whether slices of the batch are batches of one: each must have the loss that it has within the batch.

        They are not where the model cannot be vectorised, takes its batch in a form of its own, or shares a tensor
        among examples that only looks as if it held one row for each.
        """
        if self._looping:
            return False
        with torch.no_grad():
            whole = self.losses(batch, count, loss=loss)
            try:
                dims = (_example_dims(batch, count),)
                alone = vmap(lambda example: self.losses(example, 1, loss=loss)[0], in_dims=dims)(
                    _as_examples(batch, count)
                )
            except torch.OutOfMemoryError:
                raise
            except (LossError, LookupError, RuntimeError, TypeError, ValueError):
                self._note_loop()
                return False
        tolerance = torch.finfo(whole.dtype).eps ** 0.5
        if not torch.allclose(alone, whole, rtol=tolerance, atol=tolerance * float(whole.abs().max())):
            self._note_loop()
        return not self._looping

    def _note_loop(self) -> None:
        self._looping = True
        self.notes.add(
            f"{self.stage.name}: derivatives example by example (the model or its batches cannot be vectorised)"
        )

    def _looped_gradients(
        self, here: dict[str, Tensor], batch: Any, count: int, loss: Loss | None
    ) -> dict[str, Tensor]:
        live = {n: p.clone().requires_grad_() for n, p in here.items()}
        values = self.losses(batch, count, live, loss)
        rows = [
            torch.autograd.grad(value, list(live.values()), retain_graph=True, allow_unused=True) for value in values
        ]
        return {
            n: torch.stack([row[i] if row[i] is not None else torch.zeros_like(p) for row in rows])
            for i, (n, p) in enumerate(live.items())
        }

    def note_if_constant(self, any_gradient: Tensor | bool) -> None:
        """Note for the report that all gradients are zero, which in a trained model is a mistake of the description."""
        if not any_gradient:
            self.notes.add(
                f"{self.stage.name}: no loss depends on the model's parameters; `forward(model, batch)` must call the "
                "model that it is given, not another object, and must not detach its outputs"
            )

    def gradient(self) -> Tensor:
        """Gradient (P,) of the data term (mean loss) over the trained parameters."""
        total = torch.zeros(self.trained.size, dtype=self.sum_dtype, device=self.device)
        here = {n: self.parameters[n] for n in self.trained.shapes}
        with plain_kernels():
            for positions, batch in self.batches(self.stage.data):
                count = positions.stop - positions.start
                total += self.trained.flatten(
                    grad(lambda p, b=batch, c=count: self.losses(b, c, p).sum())(here)
                ).detach()
        return total / self.count

    # Second derivatives of the data term: l2 and proximity are `ridge`, for the solver to add

    def hessian_product(self, vectors: Tensor) -> Tensor:
        """H_TT V of the mean loss, by double backprop: (Q, T) -> (Q, T)."""
        return self._second(vectors, self.trained)

    def mixed_product(self, vectors: Tensor) -> Tensor:
        """H_FT V of the mean loss, exact, by double backprop: (Q, T) -> (Q, F)."""
        if not self.frozen.size:
            return vectors.new_zeros(len(vectors), 0)
        return self._second(vectors, self.frozen)

    def _second(self, vectors: Tensor, rows: Layout) -> Tensor:
        """(d/d rows) (d/d trained . v) of the mean loss, for every row v of `vectors`."""
        if len(vectors) > self.trained.size:
            # More vectors than dimensions: apply the map to the basis once, then multiply.
            basis = torch.eye(self.trained.size, dtype=self.dtype, device=self.device)
            return vectors @ self._second(basis, rows).to(vectors)
        point = {n: self.parameters[n] for n in {**self.trained.shapes, **rows.shapes}}

        def products(batch: Any, count: int) -> Callable[[Tensor], Tensor]:
            def total(p: dict[str, Tensor]) -> Tensor:
                return self.losses(batch, count, p).sum()

            pull = vjp(lambda p: self.trained.flatten(grad(total)(p)), point)[1]
            return lambda v: rows.flatten(pull(v)[0])

        return self._summed(products, vectors, rows.size) / self.count

    def ggn_product(self, vectors: Tensor) -> Tensor:
        """Generalised Gauss-Newton product of the mean loss, J' (d2 loss / d outputs2) J V: (Q, T) -> (Q, T)."""
        point = {n: self.parameters[n] for n in self.trained.shapes}

        def products(batch: Any, count: int) -> Callable[[Tensor], Tensor]:
            leaves, rebuild = self._differentiable_outputs(batch)
            outputs, pull = vjp(leaves, point)[:2]

            def transposed(*sides: Tensor) -> Tensor:
                return self.trained.flatten(pull(sides)[0])

            def total_loss(o: tuple[Tensor, ...]) -> Tensor:
                return self.stage.loss(rebuild(o), batch).sum()

            # `transposed` is linear, so that its own pull-back is J v: forward mode without forward-mode rules.
            push = vjp(transposed, *(torch.zeros_like(o) for o in outputs))[1]
            curve = vjp(grad(total_loss), outputs)[1]

            def product(vector: Tensor) -> Tensor:
                return self.trained.flatten(pull(curve(push(vector))[0])[0])

            return product

        return self._summed(products, vectors, self.trained.size) / self.count

    def _differentiable_outputs(self, batch: Any) -> tuple[Callable[..., tuple[Tensor, ...]], Callable[..., Any]]:
        """Outputs as a tuple of floating-point tensors, and the way back to what `loss` expects."""
        with torch.no_grad():
            values, spec = pytree.tree_flatten(self.outputs(batch))
        real = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.is_floating_point()]

        def leaves(p: dict[str, Tensor]) -> tuple[Tensor, ...]:
            found = pytree.tree_leaves(self.outputs(batch, p))
            return tuple(found[i] for i in real)

        def rebuild(outputs: tuple[Tensor, ...]) -> Any:
            filled = list(values)
            for i, value in zip(real, outputs, strict=True):
                filled[i] = value
            return pytree.tree_unflatten(filled, spec)

        return leaves, rebuild

    def _summed(
        self, products: Callable[[Any, int], Callable[[Tensor], Tensor]], vectors: Tensor, width: int
    ) -> Tensor:
        """Sum over batches of a linear map, applied to chunks of rows so that memory stays bounded."""
        rows = vectors.to(self.dtype)
        total = torch.zeros(len(rows), width, dtype=self.sum_dtype, device=self.device)
        with plain_kernels():
            for positions, batch in self.batches(self.stage.data):
                product = products(batch, positions.stop - positions.start)
                for part in range(0, len(rows), self._rows_at_once):
                    chunk = slice(part, part + self._rows_at_once)
                    total[chunk] += self._over_rows(product, rows[chunk])
        return total.to(vectors.dtype)

    @functools.cached_property
    def _rows_at_once(self) -> int:
        """How many products of a batch fit the budget, by what autograd keeps of one forward pass."""
        kept = 1

        def count(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        positions, batch = next(self.batches(self.stage.data))
        live = {n: self.parameters[n].clone().requires_grad_() for n in self.trained.shapes}
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            self.losses(batch, positions.stop - positions.start, live)
        return max(1, min(64, BUDGET // kept))

    def _over_rows(self, product: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        try:
            return vmap(product)(rows).detach()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            self.notes.add(f"{self.stage.name}: curvature products one at a time (the model cannot be vectorised)")
            return torch.stack([product(row).detach() for row in rows])

    def ggn(self) -> Tensor:
        """The dense generalised Gauss-Newton matrix (T, T) of the mean loss, in float64."""
        part = copy.copy(self)
        with torch.no_grad():
            batch = next(self.batches(self.stage.data))[1]
            leaves = [v for v in pytree.tree_leaves(self.outputs(batch)) if isinstance(v, Tensor)]
            width = max(1, sum(v.numel() for v in leaves) // min(self.batch_size, self.count))
        part.batch_size = max(1, min(self.batch_size, BUDGET // (8 * width * self.trained.size)))
        total = torch.zeros(self.trained.size, self.trained.size, dtype=torch.float64, device=self.device)
        for positions, batch in part.batches(self.stage.data):
            count = positions.stop - positions.start
            with plain_kernels():
                if width > self.trained.size or not part._separable(batch, count):
                    return self.ggn_product(torch.eye(self.trained.size, dtype=self.dtype, device=self.device)).double()
                try:
                    total += self._batch_ggn(batch, count)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError:
                    self._note_loop()
                    return self.ggn_product(torch.eye(self.trained.size, dtype=self.dtype, device=self.device)).double()
        return total / self.count

    def _batch_ggn(self, batch: Any, count: int) -> Tensor:
        """Sum over a batch of J' (d2 loss / d outputs2) J, J formed example by example."""
        point = {n: self.parameters[n] for n in self.trained.shapes}
        dims, examples = _example_dims(batch, count), _as_examples(batch, count)

        def outputs_of(p: dict[str, Tensor], example: Any) -> Tensor:
            return torch.cat([leaf.flatten() for leaf in self._differentiable_outputs(example)[0](p)])

        def curvature_of(example: Any) -> Tensor:
            leaves, rebuild = self._differentiable_outputs(example)
            outputs = leaves(point)
            sizes = [o.numel() for o in outputs]

            def of_flat(o: Tensor) -> Tensor:
                parts = tuple(part.view_as(like) for part, like in zip(o.split(sizes), outputs, strict=True))
                return self.stage.loss(rebuild(parts), example).sum()

            return jacrev(grad(of_flat))(torch.cat([o.flatten() for o in outputs]))

        jacobian = vmap(jacrev(outputs_of), in_dims=(None, dims))(point, examples)
        rows = self.trained.flatten(jacobian).detach().double()  # (B, C, T)
        weighted = vmap(curvature_of, in_dims=(dims,))(examples).detach().double() @ rows
        return rows.flatten(0, 1).T @ weighted.flatten(0, 1)

    def hessian(self) -> Tensor:
        """The dense Hessian (T, T) of the mean loss, in float64."""
        basis = torch.eye(self.trained.size, dtype=self.dtype, device=self.device)
        matrix = self.hessian_product(basis).double()
        return (matrix + matrix.T) / 2


_KERNELS = threading.RLock()


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Only kernels that can be differentiated twice: fused attention cannot.

    The choice is the process's, so one thread at a time, and never across a `yield`.
    """
    with _KERNELS:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _is_per_example(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == count


def _as_examples(batch: Any, count: int) -> Any:
    """The batch with a further dimension, so that a slice of it is a batch of one."""
    return pytree.tree_map(lambda v: v[:, None] if _is_per_example(v, count) else v, batch)


def _example_dims(batch: Any, count: int) -> Any:
    return pytree.tree_map(lambda v: 0 if _is_per_example(v, count) else None, batch)
