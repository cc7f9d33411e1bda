"""First derivatives of single examples: gradient vectors, and their products with given vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from influence.derivatives.compression import compressed, uncompressed
from influence.derivatives.factors import Dense, Factor
from influence.derivatives.objective import (
    BUDGET,
    Objective,
    as_examples,
    example_dims,
    plain_kernels,
    ran_out_of_memory,
)
from influence.derivatives.pooling import FastPooling
from influence.derivatives.tape import LAYOUTS, ChangedInPlaceError, Key, Tape
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
            yield slice(positions.start + start, positions.start + part.stop), formed(objective, layout, factors, part)


def formed(objective: Objective, layout: Layout, factors: Factors, part: slice) -> Tensor:
    """Some of a batch's gradients, (n, P), from their factors."""
    found = torch.zeros(part.stop - part.start, layout.size, dtype=objective.sum_dtype, device=objective.device)
    for name, several in factors.items():
        for factor in several:
            found[:, layout.slices[name]] += factor[part].gradients()
    return found


def dots(
    objective: Objective,
    data: Any,
    layout: Layout,
    vectors: Tensor | Mapping[str, Tensor],
    start: int = 0,
    error: float = 0.0,
) -> Iterator[tuple[slice, Tensor]]:
    """(positions, dot products (B, Q) of every example's gradient with every one of the vectors).

    One pass over the data from example `start` on, whatever Q is; no gradient is formed that is dearer than its
    parts.

    Args:
        objective: the stage's.
        data: the examples.
        layout: of the parameters.
        vectors: (Q, P), or by parameter (Q, size) each, which may be mapped from files.
        start: the first example.
        error: how wrong, relatively, any query's products may be for speed: its vectors are then of low rank or of half
            precision; `objective.compression` says how, and the error on a batch of examples from all over the data.
    """
    if isinstance(vectors, Tensor):
        if len(vectors) == 1:
            yield from _tangents(objective, data, layout, vectors[0], start)
            return
        vectors = by_parameter(objective, layout, vectors)
    watch, groups = Watch(objective, layout), [uncompressed(vectors)]
    if error:
        # The same ones wherever this pass begins: one that is taken up again must do as the first did.
        spread = range(0, len(data), max(1, len(data) // objective.batch_size))[: objective.batch_size]
        _, batch = next(objective.batches(torch.utils.data.Subset(data, spread)))
        groups, objective.compression = compressed(vectors, watch.factors(batch, len(spread)), len(spread), error)
    places = torch.cat([group.queries for group in groups]).argsort().to(objective.device)
    for positions, batch in objective.batches(data, start):
        count = positions.stop - positions.start
        factors = watch.factors(batch, count)
        found = [group.dots(factors, count) for group in groups]
        yield positions, found[0] if len(found) == 1 else torch.cat(found, dim=1)[:, places]


def by_parameter(objective: Objective, layout: Layout, vectors: Tensor) -> dict[str, Tensor]:
    """The vectors' parts (Q, size), each in a place of its own, as most products would copy them to."""
    some = without_specks(vectors.to(objective.device, objective.sum_dtype))
    return {name: some[:, where].contiguous() for name, where in layout.slices.items()}


def without_specks(vectors: Tensor) -> Tensor:
    """Vectors (Q, P) whose entries below the rounding of their largest one's square are 0.

    They change no product. But solves leave some so small that processors multiply them many times more slowly.
    """
    largest = vectors.abs().amax(1, keepdim=True)
    return vectors.where(vectors.abs() > torch.finfo(vectors.dtype).eps ** 2 * largest, 0)


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

    What the tape says is compared with plain autograd in the first batch and in every batch whose calls differ from
    those before; a parameter for which they differ is differentiated by `torch.func` from then on, and noted.
    """

    def __init__(self, objective: Objective, layout: Layout, loss: Loss | None = None):
        self.objective, self.loss = objective, loss
        self.parameters = {n: objective.parameters[n] for n in layout.shapes}
        self.layouts: dict[Key, str] = {}
        self.careful = False
        self.foreign: set[str] = set()
        self.checked: set[Any] = set()
        self.batches = 0

    def factors(self, batch: Any, count: int) -> Factors:
        """{parameter: factors of its per-example gradients, to be added}; a parameter may be absent: all are 0."""
        with plain_kernels():
            found, tape = self._taped(batch, count)
            self.batches += 1
            if self._doubtful(tape):
                found = self._checked(batch, count, found, tape)
            if self.foreign:
                named = {n: self.parameters[n] for n in self.parameters if n in self.foreign}
                formed = _batch_gradients(self.objective, named, batch, count, self.loss)
                dtype = self.objective.sum_dtype
                found |= {n: [Dense(g.detach().to(dtype))] for n, g in formed.items()}
        return found

    def recorded(self, batch: Any, count: int) -> tuple[Any, Tape]:
        """The model's outputs for a batch, and the tape of how it came to them."""
        tape = self._tape(self.parameters, count)
        outputs = tape.forward(lambda: self.objective.outputs(batch))
        self.batches += 1
        if not self._doubtful(tape):
            return outputs, tape
        self._checked(batch, count, *self._taped(batch, count))
        tape = self._tape(self.parameters, count)
        return tape.forward(lambda: self.objective.outputs(batch)), tape

    def _tape(self, watched: dict[str, Tensor], count: int) -> Tape:
        return Tape(watched, count, self.layouts, self.careful, list(self.objective._module.buffers()))

    def _taped(self, batch: Any, count: int) -> tuple[dict[str, list[Factor]], Tape]:
        watched = {n: p for n, p in self.parameters.items() if n not in self.foreign}
        tape = self._tape(watched, count)
        if not watched:
            return {}, tape
        try:
            losses = tape.forward(lambda: self.objective.losses(batch, count, loss=self.loss))
            found = tape.backward([losses])
        except ChangedInPlaceError:
            if self.careful:
                raise
            self.careful = True
            return self._taped(batch, count)
        self._give_up(tape.foreign)
        return found, tape

    def _doubtful(self, tape: Tape) -> bool:
        """Whether to check this batch: it is of a new kind, or it is number 1, 8, 64 ... in case kinds do not tell."""
        power = self.batches & (self.batches - 1) == 0 and self.batches.bit_length() % 3 == 1
        return power or self._is_new(tape)

    def _is_new(self, tape: Tape) -> bool:
        return tape.dynamic or bool(tape.unsure) or tape.pattern() not in self.checked

    def _checked(self, batch: Any, count: int, found: dict[str, list[Factor]], tape: Tape) -> dict[str, list[Factor]]:
        """After trying the other places where a call's output may have its examples."""
        weights = torch.randn(count, generator=torch.Generator().manual_seed(count)).to(self.objective.device)
        expected = self._by_autograd(batch, count, weights)
        wrong = self._differing(found, expected, weights) | tape.unsure
        if wrong and not self._is_new(tape):
            self._note_late()
        for layout in LAYOUTS:
            if not wrong:
                break
            layouts, self.layouts = self.layouts, dict(self.layouts)
            self.layouts |= {c.key: layout for c in tape.calls if wrong & tape.roots(c.use.names)}
            try:
                found, tape = self._taped(batch, count)
                wrong = self._differing(found, expected, weights) | tape.unsure
            except (IndexError, RuntimeError) as error:  # the model cannot take outputs that are laid out so
                if ran_out_of_memory(error):
                    raise
                self.layouts = layouts
        if wrong:
            self._give_up(wrong)
            return self._checked(batch, count, *self._taped(batch, count))  # calls may have other names now
        self.layouts |= {call.key: call.layout for call in tape.calls}
        self.checked.add(tape.pattern())
        return {n: f for n, f in found.items() if n not in self.foreign}

    def _by_autograd(self, batch: Any, count: int, weights: Tensor) -> dict[str, Tensor]:
        """The gradient of the losses' sum with these weights, which tells every example from every other."""
        live = {n: p.clone().requires_grad_() for n, p in self.parameters.items() if n not in self.foreign}
        if not live:
            return {}
        with torch.enable_grad():
            values = self.objective.losses(batch, count, live, self.loss)
        if not values.requires_grad:
            return {n: torch.zeros_like(p).flatten() for n, p in self.parameters.items() if n in live}
        rows = torch.autograd.grad(values, list(live.values()), weights.to(values), allow_unused=True)
        return {
            n: (torch.zeros_like(p) if row is None else row).flatten().detach()
            for row, (n, p) in zip(rows, live.items(), strict=True)
        }

    def _differing(self, found: Factors, expected: dict[str, Tensor], weights: Tensor) -> set[str]:
        """Parameters whose gradients differ from what autograd says, beyond rounding."""
        if not expected:
            return set()
        epsilon = torch.finfo(self.objective.dtype).eps
        whole = torch.stack([row.float().norm() for row in expected.values()]).norm()
        wrong = set()
        for name, row in expected.items():
            mine = row.new_zeros(row.shape, dtype=self.objective.sum_dtype)
            for factor in found.get(name, []):
                mine = mine + factor.weighted(weights.to(mine))
            # Models in double precision may round to single in places, as Llama's norms do.
            bound = 30 * max(epsilon, 1e-7) ** 0.75 * row.float().norm() + 30 * epsilon * whole
            if not (mine - row).norm() <= bound:
                wrong.add(name)
        return wrong

    def _note_late(self) -> None:
        """One batch of this kind was right when it was checked, but others may have been handed out since."""
        self.objective.notes.add(
            f"{self.objective.stage.name}: the model moves examples to other places within a batch in ways that could "
            f"not be seen in its calls; scores of examples in the first {self.batches - 1} batches may be those of "
            "their neighbours. Use `batch_size=1`"
        )

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
        with plain_kernels(), FastPooling(), torch.no_grad():
            try:
                found = jvp(lambda p, b=batch, c=count: objective.losses(b, c, p), (here,), (tangent,))[1]
            except (RuntimeError, NotImplementedError) as error:  # a function without a rule: twice the same vector
                if ran_out_of_memory(error):
                    raise
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
    rows = [torch.autograd.grad(value, list(live.values()), retain_graph=True, allow_unused=True) for value in values]
    return {
        n: torch.stack([row[i] if row[i] is not None else torch.zeros_like(p) for row in rows])
        for i, (n, p) in enumerate(live.items())
    }
