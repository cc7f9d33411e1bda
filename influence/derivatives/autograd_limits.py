"""What autograd graphs tell: leaves, and silently wrong derivatives (reentrant checkpoints, `once_differentiable`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

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


def leaves_of(tensors: Iterable[Tensor | None]) -> Iterator[Tensor]:
    """The leaf tensors that require a gradient and that the tensors depend on."""
    return (node.variable for node in _nodes(tensors) if hasattr(node, "variable"))


def _holds(tensors: Iterable[Tensor | None], name: str) -> bool:
    """Whether the autograd graph of the tensors has a node of this name."""
    return any(node.name() == name for node in _nodes(tensors))


def _nodes(tensors: Iterable[Tensor | None]) -> Iterator[Any]:
    """The nodes of the tensors' autograd graph, each once."""
    left, seen = [tensor.grad_fn for tensor in tensors if tensor is not None], set()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        yield node
        seen.add(node)
        left += [following for following, _ in node.next_functions]
