"""What a computation is asked for: its method, options and device, each refused by name where it cannot be."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from influence.curvature import Method, method_named
from influence.derivatives import Objective
from influence.derivatives.modes import callers_modes_off
from influence.derivatives.objective import ran_out_of_memory
from influence.derivatives.origin import MISTAKES, origin_of
from influence.errors import LossError, MethodError
from influence.study.stage import Stage
from influence.study.study import Study

WRITTEN_OUT = {
    "segment_reduce": "`torch.zeros(examples, width).index_add(0, owner, rows)`, owner being each row's example",
}
"""Functions that torch differentiates once only -> what does the same and is differentiated twice."""


@contextmanager
def derivatives_named(study: Study) -> Iterator[None]:
    """Turn torch's errors, and those of a user's own code, within this context into named ones.

    Raises:
        LossError: torch cannot differentiate one of the study's models or losses, or one of them raises an exception.
    """
    try:
        with callers_modes_off():
            yield
    except MISTAKES as error:
        origin = origin_of(error)
        if ran_out_of_memory(error) or not (origin or isinstance(error, RuntimeError)):
            raise
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if origin:
            raise LossError(
                f"Stage {origin.stage!r}: its {origin.part} raised {reason}. It did so with gradients on, or in a "
                "batch of another size; all examples had passed through it without gradients. Try it so by hand; "
                "operations in place and conversions to numpy are usual causes."
            ) from error
        raise LossError(
            f"Study {study.name!r}: torch cannot differentiate one of its models or losses ({reason}). "
            + _advice(reason)
        ) from error


def _advice(reason: str) -> str:
    """What to do where torch cannot differentiate, for this reason."""
    if re.search("nested", reason, re.IGNORECASE):
        return "Nested tensors lack derivatives that are needed here: pad them in `collate`, and mask what is padded."
    once = re.search(r"derivative for aten::_?(\w+?)_backward is not implemented", reason)
    if not once:
        return (
            "Look for operations in place, and for layers or losses without second derivatives: solves need those of "
            "the loss, the Hessian those of the model."
        )
    written = WRITTEN_OUT.get(once[1], "functions that have them")
    return (
        f"`{once[1]}` has no second derivatives in torch, which solves need. Write it with {written}, or use "
        "method='identity', which needs none."
    )


def usable(device: torch.device | str) -> torch.device:
    """The device as torch names it, if tensors can be made on it.

    Raises:
        MethodError: this machine has no such device.
    """
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise MethodError(
            f"Device {device!r} cannot be used here ({reason}). Leave `device` out, or use 'cpu'."
        ) from error


def device_of(study: Study, device: torch.device | str | None) -> torch.device:
    """The device asked for, by default that of the last stage's model.

    Raises:
        MethodError: this machine has no such device.
    """
    return next(study.stages[-1].model.parameters()).device if device is None else usable(device)


def solver_of(
    method: str, damping: float | None, curvature: str, options: Mapping[str, Any]
) -> Callable[[Objective], Method]:
    """Function from a stage's objective to the method that inverts its curvature.

    Raises:
        MethodError: an unknown method, or an option that it does not have.
    """
    chosen = method_named(method)
    check_options(chosen.__init__, method, options)
    return lambda objective: chosen(objective, damping=damping, curvature=curvature, **options)


def checked_first(
    check: Callable[[Objective], Any], stage: Stage, solver: Callable[[Objective], Method]
) -> Callable[[Objective], Method]:
    """The solver of `solver_of`, which first has the objective of one stage checked: its curvature may take long."""

    def solve(objective: Objective) -> Method:
        if objective.stage is stage:
            check(objective)
        return solver(objective)

    return solve


def check_options(signature_of: Any, method: str, options: Mapping[str, Any]) -> None:
    known = [n for n, p in inspect.signature(signature_of).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise MethodError(f"Method {method!r} has no option {name!r}; it has {', '.join(known)}.")
