"""What a model holds, and the copy of it that influence is computed on."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from influence.errors import StudyError

LARGEST = 1000
"""Entries of a list or a dictionary that is searched. Longer ones are data or vocabularies."""


def held(*roots: Any) -> Iterator[Any]:
    """All that modules hold, each object once: modules, tensors, and the dictionaries, lists and functions between.

    A parameter is often held in more places than the one that registers it: in a list, by a function made in
    `__init__`, by a hook.
    """
    left, seen = list(roots), {}
    while left:
        value = left.pop()
        if id(value) not in seen:
            seen[id(value)] = value  # keeps its id from being given to another object
            yield value
            left += _within(value)


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, Tensor | type | ModuleType):
        return ()
    if isinstance(value, nn.Module):
        registered = value._parameters, value._buffers, value._modules
        return vars(value), *(each for names in registered for each in list(names.values()))
    if isinstance(value, dict | list | tuple | set | frozenset | deque):
        few = len(value) <= LARGEST
        return () if not few else list(value.values()) if isinstance(value, dict) else list(value)
    if isinstance(value, FunctionType):
        inside = (cell.cell_contents for cell in value.__closure__ or () if not is_empty(cell))
        kept = (*inside, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        kinds = Tensor | nn.Module | dict | list | tuple | FunctionType | MethodType | partial
        return [each for each in kept if isinstance(each, kinds)]
    if isinstance(value, MethodType):
        return value.__self__, value.__func__
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    kind = type(value)  # an object that `deepcopy` copies attribute by attribute
    plain = kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__
    return (vars(value),) if plain and hasattr(value, "__dict__") and not hasattr(kind, "__deepcopy__") else ()


def is_empty(cell: CellType) -> bool:
    """Whether a closure's cell holds nothing (yet)."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def copied(model: nn.Module) -> nn.Module:
    """Deep-copy a model. Non-leaf tensors stored on it (activations) are detached, since PyTorch cannot copy them.

    Functions that the model holds, and that use its parameters or modules, are copied too: `deepcopy` would leave them
    to the model's own.

    Raises:
        StudyError: the model cannot be copied.
    """
    tensors = [value for value in held(model) if isinstance(value, Tensor) and not value.is_leaf]
    own = {id(value) for value in (*model.modules(), *model.parameters())}

    def is_own(value: Any) -> bool:
        return any(id(each) in own for each in held(value))

    functions = [value for value in held(model) if isinstance(value, FunctionType) and is_own(_within(value))]
    cells = {id(cell): CellType() for f in functions for cell in f.__closure__ or () if not is_empty(cell)}
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in tensors}
    memo |= {id(function): _twin(function, cells) for function in functions}
    try:
        again = copy.deepcopy(model, memo)
        for function in functions:
            twin = memo[id(function)]
            for old, new in zip(function.__closure__ or (), twin.__closure__ or (), strict=True):
                if new is not old:
                    value = old.cell_contents
                    new.cell_contents = copy.deepcopy(value, memo) if is_own(value) else value
            twin.__defaults__ = tuple(copy.deepcopy(v, memo) if is_own(v) else v for v in function.__defaults__ or ())
            named = (function.__kwdefaults__ or {}).items()
            twin.__kwdefaults__ = {key: copy.deepcopy(v, memo) if is_own(v) else v for key, v in named}
        _renew_scripted(again)
        return again
    except (RuntimeError, TypeError) as error:
        if isinstance(error, RuntimeError) and "deepcopy" not in str(error):
            raise
        raise StudyError(
            f"The model {type(model).__name__} cannot be copied ({str(error).splitlines()[0]}), and influence is "
            "computed on a copy. Keep tensors with a history, locks, open files and the like outside of it."
        ) from error


def _renew_scripted(model: nn.Module) -> None:
    """Give scripted modules new parameters: gradients of those that `deepcopy` makes would go to the originals."""
    new: dict[int, tuple[Tensor, nn.Parameter]] = {}
    for module in model.modules():
        for name, old in list(module._parameters.items()) if isinstance(module, torch.jit.ScriptModule) else ():
            if old is not None:
                own = nn.Parameter(old.detach().clone(), old.requires_grad)
                module._parameters[name] = new.setdefault(id(old), (old, own))[1]


def put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Write values into the model's parameters, by name."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in values:
                parameter.copy_(values[name])


def _twin(function: FunctionType, cells: dict[int, CellType]) -> FunctionType:
    closure = tuple(cells.get(id(cell), cell) for cell in function.__closure__ or ())
    twin = FunctionType(function.__code__, function.__globals__, function.__name__, None, closure)
    twin.__dict__.update(function.__dict__)
    return twin
