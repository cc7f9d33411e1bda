"""A random vector with a given Hessian as its second moment, by products with the Hessian alone.

E[s s'] = H for s = D (D^-1 H D^-1)^(1/2) e, with random signs e and any diagonal D. Where D^2 is about the size of H's
rows, the eigenvalues in the middle are of the order of one, and Lanczos's iteration finds the root in a few products:
in three or so for a diagonal plus a few directions, as most losses have it. The blocks of a block-diagonal H (positions
of a text, pixels, examples) are found by products, too; the iteration runs for each block of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from influence.derivatives.second.outputs import OutputLoss

CHECKED = (3, 5, 8, 12, 16, 24, 32)
"""Numbers of products after which the change of the vector is measured. The last one is the largest."""
MAX_BASIS_BYTES = 2**30
"""Bytes that the basis of the iteration may take."""
TOLERANCE = 1e-3
"""The iteration stops when the vector changes by at most this much, relatively."""
EXHAUSTED = 1000
"""A length of so many units of rounding counts as zero."""
INDEPENDENT = 1e-4
"""Two blocks are independent if the products differ by at most this much, relatively."""


@dataclass
class Sample:
    """A random vector at the outputs, and what it leaves out of the Hessian.

    Attributes:
        sides: parts of the vector, of the shapes of `OutputLoss.leaves`.
        positive, negative: |s|^2 of the positive and of the negative part of the Hessian; the negative is left out.
        error: relative error of the vector.
    """

    sides: list[Tensor]
    positive: float = 0.0
    negative: float = 0.0
    error: float = 0.0


@dataclass
class Part:
    """Output tensors that have no curvature together with any other.

    Attributes:
        members: their positions in `OutputLoss.points`.
        apart: dimensions along which the Hessian is block-diagonal.
    """

    members: list[int]
    apart: list[int]

    def rows(self, tensors: list[Tensor]) -> Tensor:
        """The tensors as (blocks, width)."""
        found = []
        for tensor in (tensors[i] for i in self.members):
            moved = tensor.movedim(self.apart, list(range(len(self.apart))))
            found.append(moved.reshape(moved.shape[: len(self.apart)].numel(), -1))
        return torch.cat(found, dim=1)

    def fill(self, tensors: list[Tensor], rows: Tensor) -> None:
        """Put rows back into the tensors, in place."""
        start = 0
        for tensor in (tensors[i] for i in self.members):
            moved = tensor.movedim(self.apart, list(range(len(self.apart))))
            width = moved.shape[len(self.apart) :].numel()
            moved.copy_(rows[:, start : start + width].reshape(moved.shape))
            start += width


class Krylov:
    """Lanczos's iteration for every row of `start` (blocks, width), each with a matrix of its own."""

    def __init__(self, start: Tensor):
        self.length = start.norm(dim=1, keepdim=True)
        self.basis = [_divided(start, self.length)]
        self.diagonal: list[Tensor] = []
        self.beside: list[Tensor] = []

    def extend(self, image: Tensor) -> None:
        """Add the matrix's product with the last basis vector. A block whose space is exhausted goes on with zeros."""
        self.diagonal.append((self.basis[-1] * image).sum(1))
        for vector in [*self.basis, *self.basis]:  # twice, to keep the basis orthogonal
            image = image - vector * (vector * image).sum(1, keepdim=True)
        length = image.norm(dim=1, keepdim=True)
        size = torch.stack([*self.diagonal, *self.beside]).abs().amax(0)[:, None]
        length = length * (length > EXHAUSTED * torch.finfo(length.dtype).eps * size)
        self.beside.append(length[:, 0])
        self.basis.append(_divided(image, length))

    @property
    def exhausted(self) -> bool:
        return not bool(self.beside[-1].any())

    def roots(self) -> tuple[Tensor, Tensor]:
        """The roots of the matrices' positive and negative parts, times `start`: (blocks, width) each."""
        diagonal, beside = (torch.stack(entries, 1).double() for entries in (self.diagonal, self.beside))
        matrix = diagonal.diag_embed() + beside[:, :-1].diag_embed(1) + beside[:, :-1].diag_embed(-1)
        eigenvalues, vectors = torch.linalg.eigh(matrix)
        found = []
        for part in (eigenvalues, -eigenvalues):
            weights = torch.einsum("bij,bj,bj->bi", vectors, part.clamp(min=0).sqrt(), vectors[:, 0])
            weights = weights.to(self.length) * self.length
            found.append(torch.stack([w[:, None] * v for w, v in zip(weights.T, self.basis, strict=False)]).sum(0))
        return found[0], found[1]


def random_root(curve: OutputLoss, probe: list[Tensor]) -> Sample:
    """A random vector whose second moment is the positive part of the Hessian in the points.

    Args:
        curve: the loss at the outputs of a batch.
        probe: random vectors of the points' shapes, without zeros. Their signs are the random signs e.
    """
    parts, sizes = _structure(curve)
    scales = [part.rows(sizes).sqrt() for part in parts]
    spaces = [Krylov(part.rows(probe).sign() * (scale > 0)) for part, scale in zip(parts, scales, strict=True)]
    kept = sum(point.nbytes for point in curve.points)
    last, sample = None, Sample([], error=1.0)
    for done in range(1, max(CHECKED[1], min(CHECKED[-1], MAX_BASIS_BYTES // kept)) + 1):
        vectors = [torch.zeros_like(point) for point in curve.points]
        for part, scale, space in zip(parts, scales, spaces, strict=True):
            part.fill(vectors, _divided(space.basis[-1], scale))
        images = curve.product(vectors)
        for part, scale, space in zip(parts, scales, spaces, strict=True):
            space.extend(_divided(part.rows(images), scale))
        exhausted = all(space.exhausted for space in spaces)
        if done in CHECKED or exhausted:
            roots = [[scale * root for root in space.roots()] for scale, space in zip(scales, spaces, strict=True)]
            sample.positive, sample.negative = (float(sum(pair[i].square().sum() for pair in roots)) for i in (0, 1))
            if last is not None:
                change = sum(float((a[0] - b[0]).square().sum()) for a, b in zip(roots, last, strict=True))
                sample.error = (change / max(sample.positive, 1e-300)) ** 0.5
            if exhausted:
                sample.error = 0.0
            last = roots
            if sample.error <= TOLERANCE:
                break
    sample.sides = [torch.zeros_like(point) for point in curve.points]
    for part, pair in zip(parts, last or [], strict=True):
        part.fill(sample.sides, pair[0])
    return sample


def _structure(curve: OutputLoss) -> tuple[list[Part], list[Tensor]]:
    """The parts of the outputs, and the size of each row of their Hessian, of the points' shapes.

    The sizes must not depend on the random signs, or the second moment would be another.
    """
    points, generator = curve.points, torch.Generator().manual_seed(0)
    probe = [vector.sign() + vector / 2 for vector in curve.random(generator)]
    base = curve.product(probe)
    squares = [image.square() for image in base]

    def same(factors: list[Tensor]) -> list[bool]:
        """Whether H (f u) is f (H u), with `factors` f for each of the points."""
        images = curve.product([f * u for f, u in zip(factors, probe, strict=True)])
        for square, image in zip(squares, images, strict=True):
            square += image.square()
        differences = [(image - f * b).norm() for image, f, b in zip(images, factors, base, strict=True)]
        return [bool(d <= INDEPENDENT * i.norm()) for d, i in zip(differences, images, strict=True)]

    alone = len(points) == 1 or all(same([torch.full_like(p, 1 + i / len(points)) for i, p in enumerate(points)]))
    parts = [Part([i], []) for i in range(len(points))] if alone else [Part([*range(len(points))], [])]
    for dim in range(max(p.dim() for p in points)):
        factors = [torch.ones_like(p) for p in points]
        tried = []
        for part in parts:
            sizes = {points[i].shape[dim] if points[i].dim() > dim else 0 for i in part.members}
            if len(sizes) == 1 and 0 not in sizes:
                drawn = torch.rand(*sizes, generator=generator) + 0.5
                tried.append(part)
                for i in part.members:
                    factors[i] *= drawn.to(points[i]).view(-1, *[1] * (points[i].dim() - dim - 1))
        independent = same(factors)
        for part in tried:
            if all(independent[i] for i in part.members):
                part.apart.append(dim)
    return parts, [square.sqrt() for square in squares]


def _divided(rows: Tensor, sizes: Tensor) -> Tensor:
    """Divide rows by their sizes; 0 where the size is."""
    return torch.where(sizes > 0, rows / sizes, 0.0)
