"""Embedding bags composed of differentiable steps: look up, weight, sum.

Torch's own kernel has no second derivatives, and its bags by offsets have no dimension of examples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """As `torch.nn.functional.embedding_bag`, to rounding. Gradients are dense, and those of the loss."""
    if max_norm is not None or not input.numel() or mode not in ("sum", "mean", "max"):
        given: Any = (
            offsets, max_norm, norm_type, False, mode, False, per_sample_weights, include_last_offset, padding_idx
        )  # fmt: skip
        return functional.embedding_bag(input, weight, *given)
    held = torch.ones_like(input, dtype=torch.bool)
    if offsets is not None:
        stops = offsets[1:] if include_last_offset else torch.cat([offsets[1:], offsets.new_tensor([len(input)])])
        place, held = _positions(offsets[: len(stops)], stops, len(input))
        input = torch.take(input, place)
        per_sample_weights = None if per_sample_weights is None else torch.take(per_sample_weights, place)
    if padding_idx is not None:
        held = held & (input != padding_idx % len(weight))
    rows = functional.embedding(input, weight)
    if mode == "max":
        highest = rows.masked_fill(~held[..., None], -torch.inf).amax(1)
        return highest.masked_fill(~held.any(1)[:, None], 0)
    share = held.to(rows.dtype)
    if mode == "mean":
        share = share / share.sum(1, keepdim=True).clamp(min=1)
    if per_sample_weights is not None:
        share = share * per_sample_weights
    return (share[..., None] * rows).sum(1)


def _positions(starts: Tensor, stops: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Positions (bags, longest bag) of each bag's members in the input, and the mask of entries that are members."""
    step = torch.arange(max(1, int((stops - starts).max())), device=starts.device)
    place = starts[:, None] + step
    return place.clamp(max=size - 1), place < stops[:, None]
