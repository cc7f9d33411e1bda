"""Named errors for unknown options, unusable devices, and models that torch cannot differentiate."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from influence.derivatives.objective import ran_out_of_memory
from influence.errors import LossError, MethodError
from influence.study.study import Study


@contextmanager
def derivatives_named(study: Study) -> Iterator[None]:
    """Turn torch's errors within this context into named ones.

    Raises:
        LossError: torch cannot differentiate one of the study's models or losses.
    """
    try:
        with torch.inference_mode(False):  # the caller's inference mode would forbid derivatives
            yield
    except RuntimeError as error:
        if ran_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else ""
        raise LossError(
            f"Study {study.name!r}: torch cannot differentiate one of its models or losses ({type(error).__name__}: "
            f"{reason}). Look for operations in place, and for layers or losses without second derivatives: solves "
            "need those of the loss, the Hessian those of the model."
        ) from error


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


def check_options(signature_of: Any, method: str, options: dict[str, Any]) -> None:
    known = [n for n, p in inspect.signature(signature_of).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise MethodError(f"Method {method!r} has no option {name!r}; it has {', '.join(known)}.")
