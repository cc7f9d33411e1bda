"""One stage of training: a model, its data, its loss and the terms of its objective."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from influence.errors import StudyError

TokenLosses = Callable[[Any, Any], Tensor]
"""(outputs, batch) -> (B, L): each token's share of its text's loss, in nats; they add up to the loss."""

Forward = Callable[[nn.Module, Any], Any]
Loss = Callable[[Any, Any], Tensor]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")


def call_model(model: nn.Module, batch: Any) -> Any:
    """The default forward: `model(**batch)` for dict batches, else `model(batch[0])`."""
    return model(**batch) if isinstance(batch, Mapping) else model(batch[0])


@dataclass(eq=False)
class Stage:
    """One training stage: a model, trained to a minimum of its own objective

        1/m sum_z loss_z(theta) + 1/2 sum_i l2_i theta_i^2 + proximity ||P - P_inherited||^2

    where theta are the trained parameters and P those of them that were inherited.

    Args:
        name: letters, digits, `_` and `-`; names files of a run.
        model: the module at its trained parameters. It is never changed. Dropout and batch statistics are
            taken as in evaluation mode.
        loss: `loss(outputs, batch)` -> per-example losses, shape (B,), in nats.
        data: map-style dataset of the training examples; batches are made with `collate`.
        forward: `forward(model, batch)` -> outputs; default `model(batch[0])`, or `model(**batch)` for dicts. It
            must call the model that it is given.
        collate: list of examples -> batch; default torch's.
        l2: lambda of the term (lambda/2)||theta||^2 over this stage's trained parameters; or {glob pattern of parameter
            names: lambda}, where the first pattern that matches counts and parameters without one have none:
            {"*.bias": 0, "*": 0.01} is decay on everything but biases.
        frozen: glob patterns of parameter names that this stage inherits and does not train.
        proximity: alpha of alpha*||W - W_inherited||^2 for inherited parameters that it does train (Chen et al.
            2020, eq. 12).
        inherits: {name here: name in the previous stage}; default: equal name and shape, where need be without what
            wrappers and adapters add to a name (`module.`, `_orig_mod.`, `base_model.model.`, `base_layer` ...).

    Raises:
        StudyError: a value is of the wrong kind, or the data set is empty.
    """

    name: str
    model: nn.Module
    loss: Loss
    data: Any
    forward: Forward | None = None
    collate: Callable[[list[Any]], Any] | None = None
    l2: float | Mapping[str, float] = 0.0
    frozen: Sequence[str] = ()
    proximity: float = 0.0
    inherits: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise StudyError(f"Stage name {self.name!r}: use letters, digits, '_' and '-', at most 50.")
        if not isinstance(self.model, nn.Module):
            raise StudyError(
                f"Stage {self.name!r}: model is a {type(self.model).__name__}, expected a torch.nn.Module."
            )
        _check_parameters(self.name, self.model)
        _require_callable(self, "loss", self.loss)
        check_dataset(self.data, f"Stage {self.name!r}: data")
        self.proximity = _strength(self.name, "proximity", self.proximity)
        self.l2 = (
            _strengths(self.name, self.l2) if isinstance(self.l2, Mapping) else _strength(self.name, "l2", self.l2)
        )
        if isinstance(self.frozen, str):
            raise StudyError(
                f"Stage {self.name!r}: frozen is the string {self.frozen!r}, expected a list of "
                f"patterns: [{self.frozen!r}]."
            )
        patterns = tuple(self.frozen) if isinstance(self.frozen, Iterable) else (None,)
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise StudyError(f"Stage {self.name!r}: frozen is {self.frozen!r}, expected a list of patterns.")
        self.frozen = patterns
        if self.inherits is not None and not isinstance(self.inherits, Mapping):
            raise StudyError(
                f"Stage {self.name!r}: inherits is {self.inherits!r}, expected "
                "{name here: name in the previous stage}."
            )
        self.forward = self.forward or call_model
        _require_callable(self, "forward", self.forward)
        if self.collate is not None:
            _require_callable(self, "collate", self.collate)


def check_dataset(data: Any, what: str) -> None:
    """Raise StudyError unless `data` is a map-style dataset that is not empty."""
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise StudyError(f"{what} is a {type(data).__name__}, expected a map-style dataset (with len() and [index]).")
    if isinstance(data, torch.utils.data.IterableDataset):
        raise StudyError(f"{what} is an IterableDataset, expected a map-style one: examples need a fixed order.")
    if len(data) == 0:
        raise StudyError(f"{what} is empty, expected at least one example.")


def _check_parameters(stage: str, model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise StudyError(f"Stage {stage!r}: parameter {name!r} has no shape yet. Call the model on a batch first.")
        if parameter.is_complex():
            raise StudyError(
                f"Stage {stage!r}: parameter {name!r} is complex, which influence is not defined for here. Hold its "
                "real and imaginary parts as parameters of their own, and put them together by torch.complex."
            )


def _strength(stage: str, field: str, value: Any) -> float:
    if not isinstance(value, Real) or not 0 <= float(value) < float("inf"):
        raise StudyError(f"Stage {stage!r}: {field} is {value!r}, expected a finite number that is not negative.")
    return float(value)


def _strengths(stage: str, l2: Mapping[Any, Any]) -> dict[str, float]:
    for pattern in l2:
        if not isinstance(pattern, str):
            raise StudyError(f"Stage {stage!r}: l2 has the key {pattern!r}, expected glob patterns of parameter names.")
    return {pattern: _strength(stage, f"l2 of {pattern!r}", value) for pattern, value in l2.items()}


def _require_callable(stage: Stage, field: str, value: Any) -> None:
    if not callable(value):
        raise StudyError(f"Stage {stage.name!r}: {field} is {value!r}, expected a function.")
