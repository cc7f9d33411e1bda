"""Options, devices and derivatives that cannot be, refused by name."""

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
    """What torch cannot differentiate in a study's models, as a named error.

    Raises:
        LossError: in place of torch's own error.
    """
    try:
        with torch.inference_mode(False):  # a caller's: nothing made within it could be differentiated
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
    """The device, if one can compute on it.

    Raises:
        MethodError: there is no such device here.
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
