"""The passes over a stage's data that find the blocks of EK-FAC, the second one span by span."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from influence.curvature.linear_algebra.ekfac_blocks import Block, Diagonal, Full, Kronecker
from influence.derivatives import Objective
from influence.derivatives.batches import spans, spread
from influence.derivatives.first.factors import Dense, Factor, Factors, Outer, TableRows
from influence.derivatives.second.fisher import Fisher

EIGENBASIS_EXAMPLES = 4096
"""Examples that the eigenvectors of the Kronecker factors come from. The eigenvalues use all examples."""
MAX_FULL_BLOCK = 512
"""Largest parameter without Kronecker form that gets a full block; larger ones get a diagonal."""
SUM_BYTES = 2**34
"""Bytes that the sums of all spans of a stage may take together, on a disk."""

Names = tuple[str, ...]


def gathered(objective: Objective, draws: int, seed: int) -> dict[Names, Block]:
    """The blocks of a stage, by the names of their parameters; arguments as of `EKFAC`."""
    fisher = Fisher(objective, seed)
    eigenvalues = Eigenvalues(objective, axes_of(objective, draws, seed, fisher), draws, seed, fisher)
    for span in eigenvalues.spans:
        eigenvalues.add(eigenvalues.sums(span))
    return eigenvalues.end()


def axes_of(objective: Objective, draws: int, seed: int, fisher: Fisher) -> dict[Names, Block]:
    """First pass: the blocks with their axes, from `EIGENBASIS_EXAMPLES`; their curvature is 0 yet.

    A parameter that none of these examples uses, as of an expert that is seldom chosen, has a block without axes:
    other examples may use it.
    """
    blocks = dict[Names, Block]()
    sample = _some(objective, seed)
    for _ in range(draws):
        for _, factors in fisher.factors(sample):
            for names in _grouped(blocks, factors):
                several = [factors[name] for name in names]
                if names not in blocks:
                    blocks[names] = _block(objective, names, several)
                blocks[names].see(several)
    seen = {name for names in blocks for name in names}
    for name in objective.trained.shapes if sample is not None else ():
        if name not in seen:
            blocks[(name,)] = _without_axes(objective, name)
    for block in blocks.values():
        block.turn()
        block.curvature = block.empty(objective.sum_dtype, objective.device)
    return blocks


class Eigenvalues:
    """Second pass: the curvature of blocks along their axes, as sums over spans of the stage's data.

    The sums of a span are the same in any process, and are added in the order of the spans.

    Args:
        objective: the stage's.
        blocks: with their axes; they get their curvature.
        draws, seed: as of `EKFAC`.
        fisher: of the first pass, which knows the calls already; it is used where there is one span.

    Attributes:
        spans: of the data.
    """

    def __init__(
        self, objective: Objective, blocks: dict[Names, Block], draws: int, seed: int, fisher: Fisher | None = None
    ):
        self.objective, self.blocks, self.draws = objective, blocks, draws
        most = max(2, SUM_BYTES // (objective.sum_dtype.itemsize * objective.trained.size))
        self.spans = spans(objective.count, objective.all.size, most=most)
        self._fisher = fisher if fisher and len(self.spans) == 1 else Fisher(objective, seed)
        if len(self.spans) > 1:  # what there is to learn of the calls is learned before, in every process alike
            next(self._fisher.factors(spread(objective.stage.data, objective.batch_size)))
        self._fisher.positive = self._fisher.negative = self._fisher.error = 0.0
        self._totals: dict[Names, Tensor] = {}

    def sums(self, span: slice) -> dict[str, Tensor]:
        """What the examples of a span add, to be kept and given to `add`.

        Args:
            span: one of `spans`.

        Returns:
            Place of a block among `blocks` -> sums of squares along its axes, in the block's shape and dtype; a block
            that no example of the span uses is left out. "lacks" -> (3,) float64, what `Fisher.tell` says.
        """
        found: dict[Names, Tensor] = {}
        lacks = torch.zeros(3, dtype=torch.float64)
        for draw in range(self.draws):
            fisher = self._fisher.of_span(draw, span.start)
            for _, factors in fisher.factors(start=span.start, stop=span.stop):
                for names, block in self.blocks.items():
                    if all(name in factors for name in names):
                        more = block.measured([factors[name] for name in names])
                        found[names] = found[names].add_(more) if names in found else more
            lacks += torch.tensor([fisher.positive, fisher.negative, 0.0])
            lacks[2] = max(float(lacks[2]), fisher.error)
        named = {str(place): found[names] for place, names in enumerate(self.blocks) if names in found}
        return named | {"lacks": lacks}

    def add(self, sums: Mapping[str, Tensor]) -> None:
        """Add the sums of the next span."""
        for place, names in enumerate(self.blocks):
            if (more := sums.get(str(place))) is not None:
                more = more.to(self.objective.device)
                total = self._totals.setdefault(names, torch.zeros_like(more, dtype=torch.float64))
                total += more
        fisher, lacks = self._fisher, sums["lacks"].tolist()
        fisher.positive, fisher.negative = fisher.positive + lacks[0], fisher.negative + lacks[1]
        fisher.error = max(fisher.error, lacks[2])

    def end(self) -> dict[Names, Block]:
        """The blocks that some example uses, with their curvature; remarks say what the random gradients lack."""
        for names, total in self._totals.items():
            self.blocks[names].curvature = total.to(self.blocks[names].curvature)
        self._fisher.tell()
        return {names: block for names, block in self.blocks.items() if names in self._totals}


def _some(objective: Objective, seed: int) -> Dataset[object] | None:
    """The examples that the axes are found from; None for all."""
    if objective.count <= EIGENBASIS_EXAMPLES:
        return None
    drawn = torch.randperm(objective.count, generator=torch.Generator().manual_seed(seed))
    # In the data's own order, which may be by length.
    return Subset(objective.stage.data, drawn[:EIGENBASIS_EXAMPLES].sort().values.tolist())


def _grouped(blocks: Mapping[Names, Block], factors: Factors) -> list[Names]:
    """Parameters of one block: a weight with its layer's bias, all others alone."""
    known = [names for names in blocks if all(name in factors for name in names)]
    settled = {name for names in blocks for name in names}
    single = {n: several[0] for n, several in factors.items() if len(several) == 1 and n not in settled}
    biases = {
        factor.left_of: name
        for name, factor in single.items()
        if isinstance(factor, Dense) and isinstance(single.get(factor.left_of or ""), Outer)
    }
    taken = settled | set(biases.values())
    return known + [(n, biases[n]) if n in biases else (n,) for n in factors if n not in taken]


def _block(objective: Objective, names: Names, factors: list[list[Factor]]) -> Block:
    forms = {_sides(factor) for factor in factors[0]}
    form = forms.pop()
    if form is not None and not forms:
        groups, left, right = form
        places = [objective.trained.slices[name] for name in names]
        return Kronecker(places, groups, (left, right + len(names) - 1))
    return _without_axes(objective, names[0])


def _without_axes(objective: Objective, name: str) -> Block:
    """The full block of one parameter, or of a large one the diagonal."""
    place = objective.trained.slices[name]
    return Full([place]) if place.stop - place.start <= MAX_FULL_BLOCK else Diagonal([place])


def _sides(factor: Factor) -> tuple[int, int, int] | None:
    """(g, L, R) of a factor that has the Kronecker form."""
    if isinstance(factor, Outer):
        return (factor.groups, *factor.sides)
    if isinstance(factor, TableRows):
        return (1, factor.count, factor.values.shape[2])
    return None
