"""First derivatives of single examples: gradient vectors, and their products with given vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from influence.derivatives.factors import Dense, Factor
from influence.derivatives.objective import BUDGET, Objective, as_examples, example_dims, plain_kernels
from influence.derivatives.tape import LAYOUTS, ChangedInPlaceError, Tape
from influence.parameters import Layout
from influence.study import Loss

Factors = Mapping[str, list[Factor]]


def example_gradients(
    objective: Objective, data: Any, layout: Layout, loss: Loss | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """(positions, per-example gradients (B, P)) over the parameters of `layout`, some examples at a time."""
    watch = Watch(objective, layout, loss)
    rows = max(1, BUDGET // (objective.sum_dtype.itemsize * layout.size))
    for positions, batch in objective.batches(data):
        count = positions.stop - positions.start
        factors = watch.factors(batch, count)
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            found = torch.zeros(part.stop - start, layout.size, dtype=objective.sum_dtype, device=objective.device)
            for name, several in factors.items():
                for factor in several:
                    found[:, layout.slices[name]] += factor[part].gradients()
            yield slice(positions.start + part.start, positions.start + part.stop), found


def dots(
    objective: Objective, data: Any, layout: Layout, vectors: Tensor, start: int = 0
) -> Iterator[tuple[slice, Tensor]]:
    """(positions, dot products (B, Q) of every example's gradient with every row of `vectors` (Q, P)).

    One pass over the data from example `start` on, whatever Q is; no gradient is formed that is dearer than its
    parts. `vectors` may be mapped from a file: it is read some rows at a time.
    """
    if len(vectors) == 1:
        yield from _tangents(objective, data, layout, vectors[0], start)
        return
    watch = Watch(objective, layout)
    rows = max(1, BUDGET // (objective.sum_dtype.itemsize * layout.size))
    for positions, batch in objective.batches(data, start):
        count = positions.stop - positions.start
        factors = watch.factors(batch, count)
        found = torch.zeros(count, len(vectors), dtype=objective.sum_dtype, device=objective.device)
        for part in range(0, len(vectors), rows):
            some = vectors[part : part + rows].to(found)
            scores = found[:, part : part + rows]
            for name, several in factors.items():
                for factor in several:
                    factor.add_dots(scores, some[:, layout.slices[name]])
        yield positions, found


def gradient(objective: Objective) -> Tensor:
    """Gradient (P,) of the data term (mean loss) over the trained parameters."""
    total = torch.zeros(objective.trained.size, dtype=objective.sum_dtype, device=objective.device)
    here = {n: objective.parameters[n] for n in objective.trained.shapes}
    with plain_kernels():
        for positions, batch in objective.batches(objective.stage.data):
            count = positions.stop - positions.start
            total += objective.trained.flatten(
                grad(lambda p, b=batch, c=count: objective.losses(b, c, p).sum())(here)
            ).detach()
    return total / objective.count


class Watch:
    """Gets the per-example gradients of some parameters out of batch after batch.

    What the tape says is compared with plain autograd, for some examples of the first batch and of every batch of
    another length; a parameter for which they differ is differentiated by `torch.func` from then on, and noted.
    """

    def __init__(self, objective: Objective, layout: Layout, loss: Loss | None = None):
        self.objective, self.loss = objective, loss
        self.parameters = {n: objective.parameters[n] for n in layout.shapes}
        self.layouts: dict[int, str] = {}
        self.careful = False
        self.foreign: set[str] = set()
        self.checked: set[int] = set()

    def factors(self, batch: Any, count: int) -> Factors:
        """{parameter: factors of its per-example gradients, to be added}; a parameter may be absent: all are 0."""
        with plain_kernels():
            found = self._taped(batch, count)
            if count not in self.checked:
                found = self._checked(batch, count, found)
            if self.foreign:
                named = {n: self.parameters[n] for n in self.parameters if n in self.foreign}
                formed = _batch_gradients(self.objective, named, batch, count, self.loss)
                dtype = self.objective.sum_dtype
                found |= {n: [Dense(g.detach().to(dtype))] for n, g in formed.items()}
        return found

    def _taped(self, batch: Any, count: int) -> dict[str, list[Factor]]:
        watched = {n: p for n, p in self.parameters.items() if n not in self.foreign}
        if not watched:
            return {}
        try:
            tape = Tape(watched, count, self.layouts, self.careful)
            found, foreign = tape.run(lambda: self.objective.losses(batch, count, loss=self.loss))
        except ChangedInPlaceError:
            if self.careful:
                raise
            self.careful = True
            return self._taped(batch, count)
        self.calls = tape.calls
        self._give_up(foreign)
        return found

    def _checked(self, batch: Any, count: int, found: dict[str, list[Factor]]) -> dict[str, list[Factor]]:
        """After trying the other places where a call's output may have its examples."""
        some = sorted({0, count // 2, count - 1})
        expected = self._by_autograd(batch, count, some)
        wrong: set[str] = set()
        for layout in (None, *LAYOUTS):
            if layout is not None:
                self.layouts |= {i: layout for i, call in enumerate(self.calls) if wrong & set(call.use.names)}
                found = self._taped(batch, count)
            wrong = self._differing(found, expected, some)
            if not wrong:
                break
        self.layouts |= {i: call.layout for i, call in enumerate(self.calls)}
        self._give_up(wrong)
        self.checked.add(count)
        return {n: f for n, f in found.items() if n not in self.foreign}

    def _by_autograd(self, batch: Any, count: int, some: list[int]) -> dict[str, Tensor]:
        live = {n: p.clone().requires_grad_() for n, p in self.parameters.items() if n not in self.foreign}
        if not live:
            return {}
        values = self.objective.losses(batch, count, live, self.loss)
        if not values.requires_grad:
            return {n: torch.zeros(len(some), p.numel()).to(p) for n, p in live.items()}
        rows = [torch.autograd.grad(values[i], list(live.values()), retain_graph=True, allow_unused=True) for i in some]
        return {
            n: torch.stack([torch.zeros_like(p) if row[k] is None else row[k] for row in rows]).flatten(1).detach()
            for k, (n, p) in enumerate(live.items())
        }

    def _differing(self, found: Factors, expected: dict[str, Tensor], some: list[int]) -> set[str]:
        """Parameters whose gradients differ from what autograd says, beyond rounding."""
        epsilon = torch.finfo(self.objective.dtype).eps
        if not expected:
            return set()
        whole = torch.stack([rows.norm(dim=1) for rows in expected.values()]).norm(dim=0)
        wrong = set()
        for name, rows in expected.items():
            mine = sum((f[[*some]].gradients() for f in found.get(name, [])), torch.zeros_like(rows))
            bound = 30 * epsilon**0.75 * rows.norm(dim=1) + 30 * epsilon * whole
            if not ((mine - rows).norm(dim=1) <= bound).all():
                wrong.add(name)
        return wrong

    def _give_up(self, names: set[str]) -> None:
        self.foreign |= names
        if names:
            self.objective.uncovered |= names


def _tangents(
    objective: Objective, data: Any, layout: Layout, vector: Tensor, start: int
) -> Iterator[tuple[slice, Tensor]]:
    """`dots` with one vector: the losses' change along it, by one forward pass of forward-mode differentiation."""
    here = {n: objective.parameters[n] for n in layout.shapes}
    tangent = layout.unflatten(vector)
    for positions, batch in objective.batches(data, start):
        count = positions.stop - positions.start
        with plain_kernels(), torch.no_grad():
            try:
                found = jvp(lambda p, b=batch, c=count: objective.losses(b, c, p), (here,), (tangent,))[1]
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, NotImplementedError):  # a function without a rule for it: twice the same vector
                twice = dots(objective, data, layout, torch.stack([vector, vector]), positions.start)
                yield from ((where, block[:, :1]) for where, block in twice)
                return
        yield positions, found[:, None].to(objective.sum_dtype)


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
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            objective.note_loop()
    return _looped_gradients(objective, here, batch, count, loss)


def _looped_gradients(
    objective: Objective, here: dict[str, Tensor], batch: Any, count: int, loss: Loss | None
) -> dict[str, Tensor]:
    live = {n: p.clone().requires_grad_() for n, p in here.items()}
    values = objective.losses(batch, count, live, loss)
    rows = [torch.autograd.grad(value, list(live.values()), retain_graph=True, allow_unused=True) for value in values]
    return {
        n: torch.stack([row[i] if row[i] is not None else torch.zeros_like(p) for row in rows])
        for i, (n, p) in enumerate(live.items())
    }
