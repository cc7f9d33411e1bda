"""Eigenvalue-corrected Kronecker factors: the fast approximation for networks of any size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from influence.curvature import cards
from influence.curvature.exact import Exact
from influence.curvature.gathering import gathered
from influence.curvature.linear_algebra.ekfac_blocks import Block, blocks_of, state_of
from influence.curvature.method import Method
from influence.curvature.size import warn_of_size
from influence.derivatives import Objective
from influence.derivatives.first.factors import Factors
from influence.derivatives.first.gradients import formed
from influence.errors import CurvatureError, MethodError

MAX_EXACT_STAGE = 2048
"""A stage with at most this many trained parameters (a new head, say) is solved exactly instead."""


class EKFAC(Method):
    """The Gauss-Newton matrix as one block a layer, each diagonal in the eigenvectors of its Kronecker factors.

    After George et al. 2018, with the influence solve of Grosse et al. 2023 (arXiv 2308.03296) and, across stages,
    Bao et al. 2025 (arXiv 2505.05017). l2 and proximity are added to every layer's curvature. Neglected are the
    curvature between layers, and the off-diagonal entries of a layer's block in this eigenbasis.

    Linear layers, convolutions and embeddings have the Kronecker form, attention's projections too, their biases
    included. Any other parameter gets a full block up to `MAX_FULL_BLOCK` numbers, else a diagonal. A stage of at most
    `small` parameters is solved exactly. `blocks` in the report names the block of every parameter.

    Args:
        draws: random gradients an example.
        seed: of the random gradients.
        small: a stage with at most this many trained parameters is solved exactly; default `MAX_EXACT_STAGE`.
        state: `state()` of an earlier instance for the same stage and options, in place of passes over the data.
    """

    card = cards.EKFAC

    def __init__(
        self,
        objective: Objective,
        *,
        damping: float | None = None,
        curvature: str = "ggn",
        draws: int = 1,
        seed: int = 0,
        small: int | None = None,
        state: Mapping[str, Tensor] | None = None,
    ):
        if curvature == "hessian":
            raise MethodError("Method 'ekfac' approximates the Gauss-Newton matrix; leave out curvature='hessian'.")
        if not isinstance(draws, int) or draws < 1:
            raise MethodError(f"draws is {draws!r}, expected at least 1.")
        self.draws, self.seed, self.small = draws, seed, MAX_EXACT_STAGE if small is None else small
        self._kept = state
        super().__init__(objective, damping=damping, curvature=curvature)

    def fit(self) -> None:
        layout, stage = self.objective.trained, self.objective.stage
        self._exact: Exact | None = None
        self._sized = False
        if layout.size <= self.small:
            self._exact = Exact(self.objective, damping=self.damping, curvature=self.curvature)
            self.report |= self._exact.report | {"blocks": {"exact": list(layout.shapes)}}
            return
        if (self.objective.ridge + self.damping).min() <= 0:
            raise CurvatureError(
                f"Stage {stage.name!r}: without l2 and damping its curvature has no inverse. Set `damping`."
            )
        self.count = self.objective.count * self.draws
        self.blocks = (
            blocks_of(self._kept, self.objective) if self._kept else gathered(self.objective, self.draws, self.seed)
        )
        forms = {name: block.form for names, block in self.blocks.items() for name in names}
        named = {form: [n for n in layout.shapes if forms.get(n) == form] for form in sorted(set(forms.values()))}
        self.idle = [name for name in layout.shapes if name not in forms]
        self.report["blocks"] = named | {"no gradient": self.idle}
        self.report["draws"] = self.draws

    def state(self) -> dict[str, Tensor]:
        """What the blocks found, see `state_of`; empty of a stage that is solved exactly."""
        return {} if self._exact is not None else state_of(self.blocks)

    def solve(self, queries: Tensor) -> Tensor:
        if self._exact is not None:
            return self._exact.solve(queries)
        # A parameter without gradients has no block: its curvature is ridge and damping alone.
        shift = (self.objective.ridge + self.damping).to(queries)
        solved = queries / shift
        for block in self.blocks.values():
            found = block.solve(_taken(queries, block), self.count, _taken(shift[None], block)[0])
            parts = found.split([s.stop - s.start for s in block.places], dim=1)
            for place, part in zip(block.places, parts, strict=True):
                solved[:, place] = part
        return solved

    def measure_error(self, queries: Tensor, solved: Tensor) -> None:
        super().measure_error(queries, solved)
        if self._exact is not None:
            self._exact.measure_error(queries, solved)
            self.report |= self._exact.report
        elif not self._sized:
            self._sized = True
            warn_of_size(self)

    def norms(self, queries: Tensor) -> Tensor:
        if self._exact is not None:
            return self._exact.norms(queries)
        shift = (self.objective.ridge + self.damping).to(queries)
        found = queries.new_zeros(len(queries))
        for block in self.blocks.values():
            found += block.norms(_taken(queries, block), self.count, _taken(shift[None], block)[0])
        for name in self.idle:
            place = self.objective.trained.slices[name]
            found += (queries[:, place].square() / shift[place]).sum(1)
        return found

    def norms_of(self, factors: Factors, count: int) -> tuple[Tensor, Tensor]:
        if self._exact is not None:
            return super().norms_of(factors, count)
        objective, left = self.objective, set(factors)
        shift = (objective.ridge + self.damping).to(objective.sum_dtype)
        norms, squares = shift.new_zeros(2, count)
        for names, block in self.blocks.items():
            if left >= set(names):
                found = block.norms_of([factors[name] for name in names], self.count, _taken(shift[None], block)[0])
                norms, squares, left = norms + found[0], squares + found[1], left - set(names)
        if left:  # parameters without a block, or without the other parameter of their block
            rows = formed(objective, objective.trained, {name: factors[name] for name in left}, slice(0, count))
            norms, squares = norms + self.norms(rows), squares + rows.square().sum(1)
        return norms, squares.sqrt()


def _taken(rows: Tensor, block: Block) -> Tensor:
    return torch.cat([rows[:, place] for place in block.places], dim=1)
