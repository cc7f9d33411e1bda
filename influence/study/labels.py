"""The label of an example: where an example of a data set holds it, and the same example with another label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.errors import StudyError
from influence.study.forms import in_kind
from influence.study.positions import plain

KEYS = ("labels", "label", "targets", "target", "y")
"""Keys of an example that is a dict, under the first of which its label is looked for."""
SUM_OF_ONE = 1e-3
"""How far the sum of probabilities may be from 1: people write .33."""


def label_of(example: Any, what: str) -> Any:
    """The label of an example: the last entry of a tuple or list of two or more, or what a dict has under `KEYS`.

    Args:
        example: as a data set gives it.
        what: names the example in the error.

    Raises:
        StudyError: the example holds no label.
    """
    return example[_place(example, what)]


def with_label(example: Any, label: Any, what: str) -> Any:
    """The example with another label, of the old one's kind; numbers in place of a class number are its probabilities.

    Args:
        example: as a data set gives it; it is not changed.
        label: the other one: a class number, a value, or one probability a class.
        what: names the example in the error.

    Raises:
        StudyError: the example holds no label, or the new one is no label of this kind.
    """
    place = _place(example, what)
    new = _cast(label, example[place], example, what)
    if isinstance(example, Mapping):
        return {**example, place: new}
    values = list(example)
    values[place] = new
    if hasattr(example, "_fields"):
        return type(example)(*values)
    return values if isinstance(example, list) else tuple(values)


def probabilities(example: Any, own: Any) -> int:
    """How many probabilities of classes the label of an example has, where its own was one number; else 0."""
    new, old = label_of(example, "An example"), label_of(own, "An example")
    soft = isinstance(new, Tensor) and new.dim() == 1 and torch.as_tensor(old).dim() == 0
    return len(new) if soft else 0


def with_probabilities(example: Any, classes: int, what: str) -> Any:
    """The example with probabilities of the classes as its label: 1 for the class that it has."""
    label = torch.as_tensor(label_of(example, what))
    if label.dim():
        return example
    return with_label(example, torch.eye(classes)[int(label)], what)


def _place(example: Any, what: str) -> Any:
    if isinstance(example, Mapping):
        for key in KEYS:
            if key in example:
                return key
        raise StudyError(
            f"{what} is a dict with the keys {', '.join(map(repr, example))}, so its label is not known; expected one "
            f"of {', '.join(map(repr, KEYS))}. Give the changed examples: edits.replace(stage, rows, examples)."
        )
    if isinstance(example, tuple | list) and len(example) > 1:
        return len(example) - 1
    raise StudyError(
        f"{what} is a {type(example).__name__}, so its label is not known; expected a tuple whose last entry is the "
        "label, or a dict. Give the changed examples: edits.replace(stage, rows, examples)."
    )


def _cast(label: Any, old: Any, example: Any, what: str) -> Any:
    """`label` in the kind of `old`."""
    if isinstance(old, str | bytes) or isinstance(label, str | bytes):
        if type(label) is not type(old):
            raise StudyError(f"{what} has the label {old!r}; {label!r} is of another kind.")
        return label
    try:
        value, before = torch.as_tensor(label), torch.as_tensor(old)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StudyError(f"{what} cannot have the label {label!r}: expected a number, or numbers.") from error
    if value.dtype.is_complex or not value.double().isfinite().all():
        raise StudyError(f"{what} cannot have the label {label!r}: expected finite numbers.")
    if value.numel() == before.numel() == 1:
        value = value.reshape(before.shape)
    if value.dim() == 1 and before.dim() == 0 and len(value):
        return _probabilities(value.to(_real_dtype(example)), what)
    if value.shape != before.shape:
        raise StudyError(
            f"{what} has a label of shape {tuple(before.shape)}; the new one, {plain(label)!r}, has "
            f"{tuple(value.shape)}."
        )
    if not before.is_floating_point() and bool((value.double() != value.double().round()).any()):
        raise StudyError(
            f"{what} has the label {plain(old)!r}; there is no class {plain(label)!r}, expected a whole number."
        )
    return in_kind(value, old)


def _probabilities(label: Tensor, what: str) -> Tensor:
    if bool((label < 0).any()) or abs(float(label.double().sum()) - 1) > SUM_OF_ONE:
        raise StudyError(
            f"{what} cannot have the label {label.tolist()!r}: several numbers are the probabilities of the classes, "
            "expected none below 0, and a sum of 1."
        )
    return label


def _real_dtype(example: Any) -> torch.dtype:
    """Of the first tensor of real numbers in an example; torch's default where there is none."""
    leaves: Sequence[Any] = pytree.tree_leaves(example)
    real = (leaf.dtype for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point())
    return next(real, torch.get_default_dtype())
