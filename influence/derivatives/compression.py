"""Query vectors of low rank, layer by layer, and of half precision, where a measured error allows it.

A solved query's part in a linear layer is a matrix (L, R); of rank r it costs r (L + R) instead of L R products an
example. How small r may be depends on the solve: 8 may do for EK-FAC's vectors and 32 not for exact ones. So the rank
is never given but measured: the smallest whose scores of some examples are as near as asked.

What is not of low rank may be of half precision, in the same way, on hardware that multiplies it faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from influence.derivatives.factors import Factor, Outer, add_sum_of_dots

RANKS = (4, 8, 16, 32)
OVERSAMPLED = 4
"""Random directions beyond the rank that the range is looked for in."""


@dataclass
class LowRank:
    """Vectors (Q, L R) as sum_r left[q, r] (outer) right[q, r]: left (Q, r, L), right (Q, r, R)."""

    left: Tensor
    right: Tensor

    def __len__(self) -> int:
        return len(self.left)


Vectors = Mapping[str, Tensor | LowRank]
Factors = Mapping[str, list[Factor]]


def compressed(vectors: Mapping[str, Tensor], factors: Factors, error: float) -> tuple[Vectors, dict[str, Any]]:
    """Vectors by parameter, as small as `error` allows, and what was done: `rank`, `half`, `error`.

    Args:
        vectors: parameter -> (Q, size).
        factors: parameter -> factors of the examples on which the error is measured.
        error: largest |found - exact| / |exact| over these examples' scores that any query may have.

    Returns:
        rank: the least that is allowed, of linear layers; 0 where none is both cheaper and near enough.
        half: whether the other vectors are of half precision.
        error: what was measured.
    """
    exact = _scores(vectors, factors)

    def wrong(found: Vectors) -> float:
        return float(((_scores(found, factors) - exact).norm(dim=0) / exact.norm(dim=0).clamp(min=1e-30)).max())

    chosen, rank, measured = _of_low_rank(vectors, factors, error, wrong)
    whole = next(iter(vectors.values()))
    if whole.dtype == torch.float32 and _halves_pay(whole.device):
        halves = {n: v.to(torch.bfloat16) if isinstance(v, Tensor) else v for n, v in chosen.items()}
        less = wrong(halves)
        if less <= error:
            return halves, {"rank": rank, "half": True, "error": less}
    return chosen, {"rank": rank, "half": False, "error": measured}


def _of_low_rank(
    vectors: Mapping[str, Tensor], factors: Factors, error: float, wrong: Callable[[Vectors], float]
) -> tuple[Vectors, int, float]:
    for rank in RANKS:
        pairs = {name: several[0] for name, several in factors.items() if _is_pair(several, rank)}
        if not pairs:
            break
        thin = {n: low_rank(vectors[n].unflatten(1, f.sides), rank) for n, f in pairs.items() if isinstance(f, Outer)}
        found: Vectors = {**vectors, **thin}
        measured = wrong(found)
        if measured <= error:
            return found, rank, measured
    return vectors, 0, 0.0


def _halves_pay(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16: where it has not, it is slower than single precision."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = (getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(check() for check in known)


def low_rank(matrices: Tensor, rank: int) -> LowRank:
    """The leading `rank` directions of (Q, L, R), by a seeded range finder (Halko et al. 2011)."""
    short = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    generator = torch.Generator().manual_seed(0)
    width = min(rank + OVERSAMPLED, short.shape[1])
    probes = torch.randn(short.shape[2], width, generator=generator).to(short)
    gram = short @ short.mT
    span = torch.linalg.qr(gram @ (short @ probes))[0]
    span = torch.linalg.qr(gram @ span)[0]
    # Within the span, the leading directions are the eigenvectors of the small Gram matrix.
    within = torch.linalg.eigh(span.mT @ gram @ span)[1][:, :, -rank:]
    axes = (span @ within).mT.contiguous()  # (Q, r, short side)
    other = axes @ short
    return LowRank(axes, other) if short is matrices else LowRank(other, axes)


def _add_low_rank_dots(scores: Tensor, factor: Outer, vectors: LowRank) -> None:
    """As `Factor.add_dots`, for a linear layer: two thin products and a sum over the rank."""
    left, right = factor.left[:, 0, 0], factor.right[:, 0, 0]
    a, b = left @ vectors.left.flatten(0, 1).T, right @ vectors.right.flatten(0, 1).T
    scores += a.mul_(b).unflatten(1, vectors.left.shape[:2]).sum(2)


def _is_pair(several: list[Factor], rank: int) -> bool:
    one = several[0]
    return (
        len(several) == 1
        and isinstance(one, Outer)
        and one.groups == one.positions == 1
        and 2 * rank * sum(one.sides) < one.shape[1]
    )


def _scores(vectors: Vectors, factors: Factors) -> Tensor:
    one = next(iter(vectors.values()))
    like = one.left if isinstance(one, LowRank) else one
    count = next(iter(factors.values()))[0].shape[0]
    dtype = torch.promote_types(like.dtype, torch.float32)
    found = torch.zeros(count, len(one), dtype=dtype, device=like.device)
    for name, several in factors.items():
        add_dots(found, several, vectors[name])
    return found


def add_dots(scores: Tensor, factors: list[Factor], vectors: Tensor | LowRank) -> None:
    """Add a parameter's dot products, whatever form the vectors have, to `scores` (n, Q)."""
    if isinstance(vectors, LowRank):
        (factor,) = factors
        assert isinstance(factor, Outer)
        _add_low_rank_dots(scores, factor, vectors)
    else:
        add_sum_of_dots(scores, factors, vectors)
