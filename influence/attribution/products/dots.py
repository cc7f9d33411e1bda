"""Dot products of every example's gradient with given vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from influence.attribution.products.active import MIN_VECTORS
from influence.attribution.products.compression import compressed
from influence.attribution.products.forms import QueryFamily, products, uncompressed
from influence.attribution.products.narrowing import BASIS_EXAMPLES, MIN_EXAMPLES, main_directions
from influence.derivatives.batches import spread
from influence.derivatives.first.factors import CORE_CACHE_BYTES, Factors
from influence.derivatives.first.gradients import without_specks
from influence.derivatives.first.watch import Watch
from influence.derivatives.kernels.max_pooling import FastPooling
from influence.derivatives.objective import Objective, plain_kernels, ran_out_of_memory
from influence.study.layout import Layout


def dots(
    objective: Objective,
    data: Any,
    layout: Layout,
    vectors: Tensor | Mapping[str, Tensor],
    error: float = 0.0,
) -> Iterator[tuple[slice, Tensor]]:
    """(positions, dot products (B, Q) of every example's gradient with every vector), batch by batch.

    One pass over the data, for any Q; the arguments are those of `Dots`.
    """
    every = Dots(objective, data, layout, vectors, error)
    del vectors  # the whole ones are let go of
    yield from every.batches()


class Dots:
    """Dot products of every example's gradient with given vectors. Gradients stay factors wherever that is cheaper.

    Passes over spans of the data give the same numbers in any order and in any process.

    Args:
        objective: the stage's.
        data: the examples.
        layout: of the parameters.
        vectors: (Q, P), or by parameter (Q, size) each, which may be mapped from files.
        error: allowed relative error of a query's products. If it is above 0, query vectors may be compressed: low
            rank, projected, half precision. `objective.remarks.compression` then has the forms, and the largest
            error measured on a batch of examples from all over the data.
    """

    def __init__(
        self,
        objective: Objective,
        data: Any,
        layout: Layout,
        vectors: Tensor | Mapping[str, Tensor],
        error: float = 0.0,
    ):
        self.objective, self.data, self.layout = objective, data, layout
        self._single = vectors[0] if isinstance(vectors, Tensor) and len(vectors) == 1 else None
        if self._single is not None:
            return
        if isinstance(vectors, Tensor):
            vectors = by_parameter(objective, layout, vectors)
        self._watch = Watch(objective, layout)
        if error:
            self._families, objective.remarks.compression = _compressed(self._watch, data, vectors, error)
        else:
            # Of a long pass the watch learns the calls before, so that no span has to.
            some = next(_some(self._watch, data, 0, objective.batch_size))[0] if len(data) >= MIN_EXAMPLES else None
            worth = len(next(iter(vectors.values()))) >= MIN_VECTORS
            self._families = [uncompressed(vectors, some if worth else None)]

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """(positions, products (B, Q)) batch by batch, of the examples from `start` on, up to `stop`."""
        if self._single is not None:
            yield from _tangents(self.objective, self.data, self.layout, self._single, start, stop)
            return
        watch = self._watch.from_batch(start // self.objective.batch_size + self._watch.batches)
        for positions, batch in self.objective.batches(self.data, start, stop):
            count = positions.stop - positions.start
            yield positions, products(self._families, watch.factors(batch, count), count)


def _compressed(
    watch: Watch, data: Any, vectors: Mapping[str, Tensor], error: float
) -> tuple[list[QueryFamily], dict[str, Any]]:
    """`compression.compressed` of vectors (Q, size) by parameter, with the error measured on examples of all the data.

    The examples do not depend on where a pass begins, so that a resumed pass compresses as the first one did.
    """
    directions = None
    if len(data) >= MIN_EXAMPLES:
        queries = len(next(iter(vectors.values())))
        directions = main_directions((factors for factors, _ in _some(watch, data, 1, BASIS_EXAMPLES)), queries)
    return compressed(vectors, *next(_some(watch, data, 0, watch.objective.batch_size)), error, directions)


def _some(watch: Watch, data: Any, first: int, count: int) -> Iterator[tuple[Factors, int]]:
    """(factors, number of examples), batch by batch, of `count` examples that are evenly spaced over the data."""
    for positions, batch in watch.objective.batches(spread(data, count, first)):
        yield watch.factors(batch, positions.stop - positions.start), positions.stop - positions.start


def by_parameter(objective: Objective, layout: Layout, vectors: Tensor) -> dict[str, Tensor]:
    """Vectors (Q, P) split by parameter into contiguous tensors (Q, size), which products would copy otherwise."""
    some = vectors.to(objective.device, objective.sum_dtype)
    found = {name: some.new_empty(len(some), where.stop - where.start) for name, where in layout.slices.items()}
    step = max(1, CORE_CACHE_BYTES // (some.element_size() * layout.size))
    for start in range(0, len(some), step):
        rows = slice(start, start + step)
        clean = without_specks(some[rows])
        for name, where in layout.slices.items():
            found[name][rows] = clean[:, where]
    return found


def _tangents(
    objective: Objective, data: Any, layout: Layout, vector: Tensor, start: int, stop: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """`dots` with one vector: the directional derivative of the losses, by forward-mode differentiation."""
    here = {n: objective.parameters[n] for n in layout.shapes}
    tangent = layout.unflatten(vector)
    for positions, batch in objective.batches(data, start, stop):
        count = positions.stop - positions.start
        try:
            with plain_kernels(), FastPooling(), torch.no_grad():
                found = jvp(lambda p, b=batch, c=count: objective.losses(b, c, p), (here,), (tangent,))[1]
        except (RuntimeError, NotImplementedError, LookupError) as error:  # no forward-mode rule: `dots` of it twice
            if ran_out_of_memory(error):
                raise
            twice = Dots(objective, data, layout, torch.stack([vector, vector]))
            yield from ((where, block[:, :1]) for where, block in twice.batches(positions.start, stop))
            return
        yield positions, found[:, None].to(objective.sum_dtype)
