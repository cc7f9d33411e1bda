"""Refuse autograd graphs with silently wrong derivatives: reentrant checkpoints and once-differentiable functions."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from influence.errors import LossError


def refuse_reentrant(stage: str, losses: Tensor) -> None:
    """Raise LossError if the graph has a reentrant checkpoint: its parameters are then missing from the graph."""
    if _holds([losses], "CheckpointFunctionBackward"):
        raise LossError(
            f"Stage {stage!r}: its model uses reentrant checkpointing, through which single parameters cannot be "
            "differentiated. Pass use_reentrant=False to torch.utils.checkpoint."
        )


def refuse_once_differentiable(stage: str, slopes: Iterable[Tensor | None]) -> None:
    """Raise LossError if first derivatives (`slopes`) come from a function marked `once_differentiable`."""
    if _holds(slopes, "torch::autograd::Error"):
        raise LossError(
            f"Stage {stage!r}: its model or loss has a function that is marked `once_differentiable`, and its second "
            "derivatives are needed. Write the function's backward in torch and leave the mark out."
        )


def _holds(tensors: Iterable[Tensor | None], name: str) -> bool:
    """Whether the autograd graph of the tensors has a node of this name."""
    left, seen = [tensor.grad_fn for tensor in tensors if tensor is not None], set()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node.name() == name:
            return True
        seen.add(node)
        left += [following for following, _ in node.next_functions]
    return False
