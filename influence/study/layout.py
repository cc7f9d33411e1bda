"""Named parameters as one flat vector, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class Layout:
    """The order of some named parameters within a flat vector."""

    def __init__(self, parameters: Mapping[str, Tensor], names: Iterable[str]):
        self.shapes = {n: parameters[n].shape for n in names}
        self.dtypes = {n: parameters[n].dtype for n in self.shapes}
        self.slices: dict[str, slice] = {}
        self.size = 0
        for name, shape in self.shapes.items():
            self.slices[name] = slice(self.size, self.size + math.prod(shape))
            self.size += math.prod(shape)

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """{name: (..., *shape)} -> (..., P), with any leading dimensions."""
        if not self.shapes:
            first = next(iter(tensors.values()))
            return first.new_zeros(0)
        return torch.cat(
            [
                tensors[n].flatten(start_dim=tensors[n].dim() - len(s)) if s else tensors[n][..., None]
                for n, s in self.shapes.items()
            ],
            -1,
        )

    def columns(self, vectors: Tensor, part: Layout) -> Tensor:
        """The columns of some parameters, in the order of `part`, out of vectors over these: (Q, P) -> (Q, part).

        The vectors themselves, and no copy, where that is all of them.
        """
        if part.slices == self.slices:
            return vectors
        if not part.size:
            return vectors[:, :0]
        return torch.cat([vectors[:, self.slices[name]] for name in part.slices], dim=1)

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """(..., P) -> {name: (..., *shape)}, each in its parameter's dtype."""
        lead, sizes = vector.shape[:-1], [shape.numel() for shape in self.shapes.values()]
        # Split, not sliced: going backwards is then one concatenation, not a vector of zeros for every parameter.
        parts = zip(self.shapes.items(), vector.split(sizes, dim=-1), strict=True)
        return {n: part.reshape((*lead, *shape)).to(self.dtypes[n]) for (n, shape), part in parts}
