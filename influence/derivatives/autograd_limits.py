"""What in autograd's graph would make derivatives wrong without an error, refused by name."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from influence.errors import LossError


def refuse_reentrant(stage: str, losses: Tensor) -> None:
    """Raise LossError if a part of the model was checkpointed so that its parameters are not in the graph."""
    if _holds([losses], "CheckpointFunctionBackward"):
        raise LossError(
            f"Stage {stage!r}: its model uses reentrant checkpointing, through which single parameters cannot be "
            "differentiated. Pass use_reentrant=False to torch.utils.checkpoint."
        )


def refuse_once_differentiable(stage: str, slopes: Iterable[Tensor | None]) -> None:
    """Raise LossError if derivatives, made to be differentiated again, come from a function that forbids it."""
    if _holds(slopes, "torch::autograd::Error"):
        raise LossError(
            f"Stage {stage!r}: its model or loss has a function that is marked `once_differentiable`, and its second "
            "derivatives are needed. Write the function's backward in torch and leave the mark out."
        )


def _holds(tensors: Iterable[Tensor | None], name: str) -> bool:
    """Whether any node that the tensors come from has this name."""
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
