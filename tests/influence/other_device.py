"""A pretend device, `other`: its memory is the processor's, but PyTorch keeps the two apart as it does a GPU's.

Tensors of both in one operation are an error, unless one is a single number or an index. What goes from one to the
other, or makes the processor wait for a value, is counted. For this PyTorch process, for good: tests that need it run
in a process of their own.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet
from torch.utils import backend_registration

DEVICE = "other"
CPU, EXTENSION = 1, 12
"""Kinds of devices in DLPack."""
MIXING = {"aten::_to_copy", "aten::index.Tensor", "aten::index.Tensor_out", "aten::_index_put_impl_"}
"""What a GPU, too, does with tensors of both."""
ONLY_SHAPES = ("as_strided", "view", "_reshape_alias", "unfold", "set_.source_Storage_storage_offset")
"""Operations that never look at the numbers: the processor's kernels do for any device."""

crossings: Counter[str] = Counter()
"""How often what happened: "to device", "from device", and "waits", for a number or for how many there are."""


class _Module(backend_registration._DummyBackendModule):
    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)


class _Head(ctypes.Structure):
    """The beginning of DLPack's tensor."""

    _fields_ = [("data", ctypes.c_void_p), ("kind", ctypes.c_int32), ("number", ctypes.c_int32)]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _seen_as(kind: int, tensor: Tensor) -> Tensor:
    """The same memory as a tensor of a device of this kind."""
    capsule = torch._C._to_dlpack(tensor)
    head = _Head.from_address(_pointer(capsule, b"dltensor"))
    head.kind, head.number = kind, 0
    return torch._C._from_dlpack(capsule)


def _is_ours(tensor: Tensor) -> bool:
    return tensor.device.type == DEVICE


def _each(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """What an operation takes or gives, with another tensor in the place of each. Torch's own trees are slower."""
    if isinstance(value, Tensor):
        return function(value)
    return type(value)([_each(function, each) for each in value]) if type(value) in (tuple, list) else value


@cache
def _outs(operation: Any) -> list[str]:
    return [each.name for each in operation._schema.arguments if each.is_out]


def _run(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Any operation with a tensor of the device, on the processor."""
    name = operation._name
    given: list[Tensor] = []
    _each(lambda tensor: given.append(tensor) or tensor, (*args, *kwargs.values()))
    ours = [tensor for tensor in given if _is_ours(tensor)]
    if name == "aten::_copy_from":
        return _copied(*args[:2])
    if ours and name not in MIXING and any(tensor.dim() and not _is_ours(tensor) for tensor in given):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    if name.startswith(("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique")):
        crossings["waits"] += 1
    made_here = "device" not in kwargs or torch.device(kwargs["device"] or DEVICE).type == DEVICE
    kwargs |= {"device": torch.device("cpu")} if "device" in kwargs else {}
    known: dict[int, tuple[Tensor, Tensor]] = {}

    def inner(tensor: Tensor) -> Tensor:
        if not _is_ours(tensor):
            return tensor
        found = _seen_as(CPU, tensor)
        known[id(found)] = found, tensor
        return found

    def outer(tensor: Tensor) -> Tensor:
        if id(tensor) in known:  # changed in place
            return known[id(tensor)][1]
        return _seen_as(EXTENSION, tensor) if made_here else tensor

    targets = {name: kwargs[name] for name in _outs(operation)}
    args, kwargs = _each(inner, args), {name: _each(inner, value) for name, value in kwargs.items()}
    if not targets:
        return _each(outer, operation(*args, **kwargs))
    found = {name: torch.empty(0, dtype=target.dtype) for name, target in targets.items()}
    operation(*args, **kwargs | found)
    for name, target in targets.items():
        _put(found[name], target)
    return next(iter(targets.values())) if len(targets) == 1 else tuple(targets.values())


def _copied(source: Tensor, target: Tensor) -> Tensor:
    if _is_ours(source) != _is_ours(target):
        crossings["from device" if _is_ours(source) else "to device"] += 1
    one, other = (_seen_as(CPU, each) if _is_ours(each) else each.detach() for each in (source, target))
    other.copy_(one)
    return target


def _put(values: Tensor, target: Tensor) -> None:
    """Into `target`, which takes their shape."""
    if target.shape == values.shape:
        _seen_as(CPU, target).copy_(values)
        return
    new = _seen_as(EXTENSION, values)
    torch.ops.aten.set_.source_Storage_storage_offset(target, new.untyped_storage(), 0, new.shape, new.stride())


def _convolution(*args: Any) -> Tensor:
    return _run(torch.ops.aten.convolution.default, *args)


def _convolution_backward(grad: Tensor, source: Tensor, weight: Tensor, *rest: Any) -> Any:
    transposed, groups = rest[3], rest[5]
    bias = [weight.shape[1] * groups if transposed else weight.shape[0]]
    return _run(torch.ops.aten.convolution_backward.default, grad, source, weight, bias, *rest)


def _by_processor(operation: Any) -> Any:
    return lambda *args, **kwargs: operation.redispatch(DispatchKeySet(DispatchKey.CPU), *args, **kwargs)


backend_registration._setup_privateuseone_for_python_backend(DEVICE, backend_module=_Module())
_every, _aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
_every.fallback(_run, "PrivateUse1")
_aten.impl("convolution_overrideable", _convolution, "PrivateUse1")
_aten.impl("convolution_backward_overrideable", _convolution_backward, "PrivateUse1")
for _name in ONLY_SHAPES:
    _packet, _, _overload = _name.partition(".")
    _operation = getattr(getattr(torch.ops.aten, _packet), _overload or "default")
    _aten.impl(_name, _by_processor(_operation), "PrivateUse1")
