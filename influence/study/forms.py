"""The form of an example: the same example in the containers and kinds of numbers of a stage's own."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from influence.errors import StudyError


def alike(example: Any, own: Any, collated: bool, what: str) -> Any:
    """The example in the form of one of the stage's own: a list for a list, a tensor for a tensor.

    Numbers and arrays are converted, where none changes. Tensors keep their dtype.

    Args:
        example: as a user gives it.
        own: an example of the stage's data set.
        collated: whether the stage has a `collate` of its own, which may take lists and tensors of any length; torch's
            stacks them.
        what: names the example in the error.

    Raises:
        StudyError: it has other parts than the stage's own, or one of another kind or shape, or is not finite.
    """
    return _alike(example, own, collated, f"{what} is")


def _alike(example: Any, own: Any, collated: bool, what: str) -> Any:
    holds = what.removesuffix(" is").removesuffix(" holds") + " holds"
    if isinstance(own, Mapping) and isinstance(example, Mapping) and example.keys() == own.keys():
        return {key: _alike(example[key], own[key], collated, holds) for key in own}
    if isinstance(own, tuple | list) and isinstance(example, tuple | list):
        several = collated and _numbers(own)  # a text's tokens
        if len(example) == len(own) or several:
            pairs = zip(example, [own[0]] * len(example) if several else own, strict=True)
            parts = [_alike(part, there, collated, holds) for part, there in pairs]
            return type(own)(*parts) if hasattr(own, "_fields") else type(own)(parts)
    if _numeric(own) and _numeric(example):
        return _in_kind(example, own, collated, holds)
    if isinstance(example, type(own)) and not isinstance(own, Mapping | tuple | list) and not _numeric(own):
        return example
    raise StudyError(
        f"{what} a {_form(example)} where the stage's own have a {_form(own)}. Give it as the stage's data set gives "
        "its examples, not collated."
    )


def _in_kind(example: Any, own: Any, collated: bool, what: str) -> Any:
    """A number, array or tensor in the kind of `own`."""
    value, there = torch.as_tensor(example), torch.as_tensor(own)
    other = isinstance(example, Tensor) and isinstance(own, Tensor) and value.dtype != there.dtype
    shaped = value.shape == there.shape or (collated and value.dim() == there.dim() > 0)
    changed = not _real(there) and bool((value.double() != value.double().round()).any())
    if other or changed or not shaped:
        raise StudyError(f"{what} a {_form(example)} where the stage's own have a {_form(own)}.")
    if _real(value) and not value.isfinite().all():
        raise StudyError(f"{what} numbers that are not finite.")
    return in_kind(value, own)


def in_kind(value: Tensor, own: Any) -> Any:
    """A tensor in the kind of `own`: a tensor of its dtype on its device, an array, or a number."""
    if isinstance(own, Tensor):
        return value.to(own.device, own.dtype)
    if isinstance(own, np.ndarray | np.generic):
        found = value.to(torch.as_tensor(own).dtype).cpu().numpy()
        return found if isinstance(own, np.ndarray) else found[()]
    return type(own)(value.item())


def _real(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def _numeric(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return isinstance(value, Tensor | Number)


def _numbers(value: Any) -> bool:
    return len(value) > 0 and all(isinstance(each, Number) for each in value)


def _form(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)} and {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape} and {value.dtype}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, Mapping):
        return f"dict with the keys {', '.join(map(repr, value))}"
    if isinstance(value, Number):
        return f"number, {value!r},"
    return type(value).__name__
