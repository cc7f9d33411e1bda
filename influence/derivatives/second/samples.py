"""Random vectors at the outputs whose second moment is the loss's Hessian there, E[s s'] = d2 loss / d outputs2.

They need products with the Hessian only, of the loss alone. In the forms that most losses have, one or two products
tell the form, and the root is known:

- a (weighted) cross-entropy along any dimension: w (diag p - p p'), p the softmax;
- a diagonal: squared error, yes-or-no labels, counts.

Any other Hessian is decomposed where an example has few outputs, and else multiplied (`square_root`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from influence.derivatives.second.outputs import OutputLoss
from influence.derivatives.second.roots import hessian_roots
from influence.derivatives.second.square_root import Sample, random_root

SAME = 1e-3
"""A Hessian has a form if its product with a random vector differs by so much at most, relatively."""
MAX_DECOMPOSED = 32
"""Outputs of an example up to which a Hessian of no known form is decomposed."""


def random_sides(curve: OutputLoss, count: int, generator: torch.Generator) -> Sample:
    """A random vector s with E[s s'] = d2 loss / d outputs2, independent from example to example.

    Of several vectors with this second moment, those made of random signs along a root of the Hessian scatter least.

    Args:
        curve: the loss at the outputs of a batch.
        count: examples in the batch.
        generator: of the random numbers.
    """
    probe = curve.random(generator)
    sides = _of_known_form(curve, probe, generator)
    if sides is None:
        sides = _of_roots(curve, count, generator)
    sample = random_root(curve, probe) if sides is None else Sample(sides)
    sample.sides = [side.to(leaf.dtype) for side, leaf in zip(sample.sides, curve.leaves, strict=True)]
    return sample


def _of_known_form(curve: OutputLoss, probe: list[Tensor], generator: torch.Generator) -> list[Tensor] | None:
    """The vector where every output tensor has a Hessian of a known form, and none between two of them."""
    products = curve.product(probe)
    points = [point.detach() for point in curve.points]
    found = [_softmax_side(*each) for each in zip(points, probe, products, strict=True)]
    if any(side is None for side in found):
        again = curve.random(generator)
        images = curve.product(again)
        pairs = zip(zip(probe, products, strict=True), zip(again, images, strict=True), strict=True)
        found = [_diagonal_side(*pair) if side is None else side for side, pair in zip(found, pairs, strict=True)]
    return None if any(side is None for side in found) else [side for side in found if side is not None]


def _softmax_side(logits: Tensor, probe: Tensor, product: Tensor) -> Tensor | None:
    """A vector with the second moment w (diag p - p p'); None if the product is not that of such a matrix.

    p is the softmax along the last dimension, the second, or any other; w, which may differ from place to place, comes
    from the product.
    """
    if not product.any():
        return torch.zeros_like(logits)
    for dim in sorted(range(1, logits.dim()), key=lambda d: (d < logits.dim() - 1, d)):
        p = logits.softmax(dim)
        expected = p * (probe - (p * probe).sum(dim, keepdim=True))
        squares = expected.square().sum(dim, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny)
        weight = (product * expected).sum(dim, keepdim=True) / squares
        wrong = product - weight.clamp(min=0) * expected
        if wrong.norm() <= SAME * product.norm():
            return weight.clamp(min=0).sqrt() * _softmax_root(p, probe.sign(), dim)
    return None


def _softmax_root(p: Tensor, signs: Tensor, dim: int) -> Tensor:
    """R e of random signs e, with R R' = diag p - p p' and one column fewer than classes.

    diag p - p p' = D (I - q q') D, with q = sqrt(p) and D = diag q. The reflection I - (q + u)(q + u)' / (1 + q_k)
    takes the unit vector u = e_k to -q, and the other unit vectors to a basis of what is orthogonal to q. The class k
    is the most probable one, so that no digits are lost where its probability is nearly one.
    """
    q, top = p.sqrt(), p.argmax(dim, keepdim=True)
    signs = signs.scatter(dim, top, 0.0)
    along = (q * signs).sum(dim, keepdim=True) / (1 + q.gather(dim, top))
    return q * (signs - q * along).scatter_add(dim, top, -along)


def _diagonal_side(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor | None:
    """A vector with a diagonal second moment; None if two (vector, product) are not those of such a matrix."""
    (probe, product), (again, image) = one, other
    diagonal = (product / probe).clamp(min=0)
    if not (image - diagonal * again).norm() <= SAME * image.norm():
        return None
    return diagonal.sqrt() * probe.sign()


def _of_roots(curve: OutputLoss, count: int, generator: torch.Generator) -> list[Tensor] | None:
    """The sum of the roots of a small Hessian with random signs."""
    roots = hessian_roots(curve, count, MAX_DECOMPOSED)
    if roots is None:
        return None
    total = [torch.zeros_like(point) for point in curve.points]
    for root in roots:
        signs = (torch.randint(0, 2, (count,), generator=generator) * 2 - 1).to(total[0])
        for whole, part in zip(total, root, strict=True):
            whole += part * signs.view(-1, *[1] * (part.dim() - 1))
    return total
