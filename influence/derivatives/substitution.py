"""Calls of a model at other parameters than its own, which leave nothing in it but their values.

`torch.func.functional_call` exchanges what modules register, name by name. A tied table of a module with two names is
then left behind, and so is what modules keep in evaluation mode (LeViT's attention biases), or hold in lists, functions
and hooks. Here every place that holds a parameter is known, and each is exchanged once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import _lru_cache_wrapper, partial
from operator import is_, setitem
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from influence.study.copies import LARGEST, held, is_empty

Row = list[Any] | set[Any] | deque[Any]

Place = tuple[Callable[[Any], Any], Any]
"""A function that sets what stands at a place, and what stands there."""

_REGISTERS = ("_parameters", "_buffers", "_modules")
_HOOKS = [name for name, value in vars(nn.Module()).items() if isinstance(value, dict) and name not in _REGISTERS]


class Substitution:
    """Every place where a model holds a parameter, and all that its modules keep.

    Args:
        model: in evaluation mode, never called but through `at`.
        names: of the parameters to exchange.
    """

    def __init__(self, model: nn.Module, names: Iterable[str]):
        modules, exchanged = list(model.modules()), set(names)
        # Modules that make a tensor of their parameters where they enter evaluation mode, and keep it.
        self._remade = [m for m in modules if any(_has_history(v) for v in (*vars(m).values(), *m._buffers.values()))]
        self._own = {name: p for name, p in model.named_parameters() if name in exchanged}
        self._names = {id(p): name for name, p in self._own.items()}
        self._single: list[tuple[Callable[[Any], Any], Tensor, str]] = []
        self._nested: list[Place] = []  # tuples with parameters in them
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._rows: list[tuple[Row, tuple[Any, ...]]] = []
        self._caches = list(_caches(model))
        hooks = {id(vars(module).get(name)) for module in modules for name in _HOOKS}
        for value in held(model):
            for put, there in _places(value):
                if id(there) in self._names:
                    self._single.append((put, there, self._names[id(there)]))
                elif isinstance(there, tuple) and any(id(each) in self._names for each in pytree.tree_leaves(there)):
                    self._nested.append((put, there))
            if id(value) in hooks or not isinstance(value, dict | list | set | deque) or len(value) > LARGEST:
                continue
            if isinstance(value, dict):
                self._dicts.append((value, dict(value)))
            else:
                self._rows.append((value, tuple(value)))

    @contextmanager
    def at(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        """Within this context the model has these parameters, by name."""
        for put, _, name in self._single:
            put(parameters[name])
        for cache in self._caches:
            cache.cache_clear()
        try:
            for put, there in self._nested:
                put(pytree.tree_map(lambda v: parameters[self._names[id(v)]] if id(v) in self._names else v, there))
            for module in self._remade:
                module.train().eval()
            yield
        finally:
            for put, there, _ in self._single:
                put(there)
            for put, there in self._nested:
                put(there)
            self._let_go()
            if not torch._C._are_functorch_transforms_active():  # which refuse checkpoints
                # A checkpoint calls its layers again on the way back, when this context is left: at the same values.
                with torch._C.DisableTorchFunction():  # no call of the model's, so none that a tape records
                    for name, parameter in self._own.items():
                        parameter.data = parameters[name].detach()

    def _let_go(self) -> None:
        """Undo what the call has put into attributes, dictionaries, lists, sets, queues and caches."""
        for cache in self._caches:
            cache.cache_clear()
        for now, was in self._dicts:
            if len(now) != len(was) or not all(map(is_, now.values(), was.values())):
                now.clear()
                now.update(was)
        for items, were in self._rows:
            if len(items) != len(were) or not all(map(is_, items, were)):
                _fill(items, were)


def _fill(row: Row, items: Iterable[Any]) -> None:
    row.clear()
    (row.update if isinstance(row, set) else row.extend)(items)


def _bind(function: partial[Any], arguments: tuple[Any, ...]) -> None:
    function.__setstate__((function.func, arguments, function.keywords, vars(function)))  # type: ignore[attr-defined]


def _caches(model: nn.Module) -> Iterator[Any]:
    """The `lru_cache`s among what a model holds and among the methods of its modules, those within wrappers too."""
    methods = [each for kind in {*map(type, model.modules())} for line in kind.__mro__ for each in vars(line).values()]
    plain = [getattr(each, "__func__", each) for each in methods]  # of static methods
    cells = [cell for each in plain if isinstance(each, FunctionType) for cell in each.__closure__ or ()]
    wrapped = [cell.cell_contents for cell in cells if not is_empty(cell)]
    every = (*held(model), *plain, *wrapped)
    yield from {id(each): each for each in every if isinstance(each, _lru_cache_wrapper)}.values()


def _has_history(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_leaf


def _places(value: Any) -> Iterator[Place]:
    """The places of an object that may hold a parameter."""
    if isinstance(value, nn.Module):
        scripted = isinstance(value, torch.jit.ScriptModule)  # its names are no dictionary
        for names in (value._parameters, value._buffers) if scripted else ():
            yield from ((partial(setitem, names, key), there) for key, there in names.items())
    elif isinstance(value, dict):
        yield from ((partial(setitem, value, key), there) for key, there in value.items())
    elif isinstance(value, list):
        yield from ((partial(setitem, value, i), there) for i, there in enumerate(value))
    elif isinstance(value, set | deque):
        yield partial(_fill, value), tuple(value)
    elif isinstance(value, partial):
        yield partial(_bind, value), value.args
    elif isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            if not is_empty(cell):
                yield partial(setattr, cell, "cell_contents"), cell.cell_contents
        yield partial(setattr, value, "__defaults__"), value.__defaults__
