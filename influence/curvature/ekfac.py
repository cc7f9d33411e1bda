"""Eigenvalue-corrected Kronecker factors: the fast approximation for networks of any size."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from influence.curvature import cards
from influence.curvature.exact import Exact
from influence.curvature.linear_algebra.ekfac_blocks import FORMS, Block, Diagonal, Full, Kronecker
from influence.curvature.method import Method
from influence.curvature.size import warn_of_size
from influence.derivatives import Objective
from influence.derivatives.first.factors import Dense, Factor, Factors, Outer, TableRows
from influence.derivatives.first.gradients import formed
from influence.derivatives.second.fisher import Fisher
from influence.errors import CurvatureError, MethodError

MAX_EXACT_STAGE = 2048
"""A stage with at most this many trained parameters (a new head, say) is solved exactly instead."""
EIGENBASIS_EXAMPLES = 4096
"""Examples that the eigenvectors of the Kronecker factors come from. The eigenvalues use all examples."""
MAX_FULL_BLOCK = 512
"""Largest parameter without Kronecker form that gets a full block; larger ones get a diagonal."""


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
        self._kept = state or {}
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
        self.blocks = self._restored()
        if not self.blocks:
            self._gather()
        forms = {name: block.form for names, block in self.blocks.items() for name in names}
        named = {form: [n for n in layout.shapes if forms.get(n) == form] for form in sorted(set(forms.values()))}
        self.idle = [name for name in layout.shapes if name not in forms]
        self.report["blocks"] = named | {"no gradient": self.idle}
        self.report["draws"] = self.draws

    def _gather(self) -> None:
        """Find the blocks, in passes over the data."""
        fisher = Fisher(self.objective, self.seed)
        for second in (False, True):
            for _ in range(self.draws):
                for _, factors in fisher.factors(None if second else self._some()):
                    self._pass(factors, second)
            if not second:
                for block in self.blocks.values():
                    block.turn()
        fisher.tell()

    def state(self) -> dict[str, Tensor]:
        """JSON of [form, names, what] -> what the blocks found; empty of a stage that is solved exactly."""
        if self._exact is not None:
            return {}
        return {
            json.dumps([block.form, names, what]): tensor.contiguous()
            for names, block in self.blocks.items()
            for what, tensor in block.state().items()
        }

    def _restored(self) -> dict[tuple[str, ...], Block]:
        """The blocks that were kept, if any."""
        found: dict[tuple[str, tuple[str, ...]], dict[str, Tensor]] = {}
        for key, tensor in self._kept.items():
            form, names, what = json.loads(key)
            found.setdefault((form, tuple(names)), {})[what] = tensor.to(self.objective.device)
        places = self.objective.trained.slices
        return {names: FORMS[form].of([places[n] for n in names], state) for (form, names), state in found.items()}

    def _some(self) -> torch.utils.data.Dataset[object] | None:
        """The examples that the axes are found from; None for all."""
        if self.objective.count <= EIGENBASIS_EXAMPLES:
            return None
        drawn = torch.randperm(self.objective.count, generator=torch.Generator().manual_seed(self.seed))
        # In the data's own order, which may be by length.
        return torch.utils.data.Subset(self.objective.stage.data, drawn[:EIGENBASIS_EXAMPLES].sort().values.tolist())

    def _pass(self, factors: Factors, second: bool) -> None:
        for names in self._grouped(factors):
            several = [factors[name] for name in names]
            if names not in self.blocks and not second:
                self.blocks[names] = self._block(names, several)
            if names in self.blocks:
                block = self.blocks[names]
                block.measure(several) if second else block.see(several)

    def _grouped(self, factors: Factors) -> list[tuple[str, ...]]:
        """Parameters of one block: a weight with its layer's bias, all others alone."""
        known = [names for names in self.blocks if all(name in factors for name in names)]
        settled = {name for names in self.blocks for name in names}
        single = {n: several[0] for n, several in factors.items() if len(several) == 1 and n not in settled}
        biases = {
            factor.left_of: name
            for name, factor in single.items()
            if isinstance(factor, Dense) and isinstance(single.get(factor.left_of or ""), Outer)
        }
        taken = settled | set(biases.values())
        return known + [(n, biases[n]) if n in biases else (n,) for n in factors if n not in taken]

    def _block(self, names: tuple[str, ...], factors: list[list[Factor]]) -> Block:
        places = [self.objective.trained.slices[name] for name in names]
        forms = {_sides(factor) for factor in factors[0]}
        form = forms.pop()
        if form is not None and not forms:
            groups, left, right = form
            return Kronecker(places, groups, (left, right + len(names) - 1))
        size = self.objective.trained.shapes[names[0]].numel()
        return Full(places) if size <= MAX_FULL_BLOCK else Diagonal(places)

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


def _sides(factor: Factor) -> tuple[int, int, int] | None:
    """(g, L, R) of a factor that has the Kronecker form."""
    if isinstance(factor, Outer):
        return (factor.groups, *factor.sides)
    if isinstance(factor, TableRows):
        return (1, factor.count, factor.values.shape[2])
    return None
