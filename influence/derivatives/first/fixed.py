"""Tensors of a forward pass that hold nothing of the examples: constants, and what is made of them or of numbers."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import torch
from torch import Tensor

_NUMBERED = (torch.arange, torch.eye, torch.linspace)
_FILLED = (torch.full, torch.ones, torch.zeros)


class Fixed:
    """The tensors, each at the version of its values that is known: what is changed in place by data is not fixed.

    Args:
        constants: what the model holds.
    """

    def __init__(self, constants: Iterable[Tensor]):
        self._versions: dict[int, int] = {}
        self._alive: list[Tensor] = []  # keeps ids from being given to other tensors
        for tensor in constants:
            self.add(tensor)

    def holds(self, tensor: Tensor) -> bool:
        return self._versions.get(id(tensor), -1) == _version(tensor)

    def add(self, tensor: Tensor) -> None:
        self._versions[id(tensor)] = _version(tensor)
        self._alive.append(tensor)

    def see(self, func: Any, tensors: list[Tensor], output: Any, sizes: Container[int]) -> None:
        """Take notice of a call whose `tensors` were all fixed before it.

        What is filled with one number and has a length of `sizes`, those of dimensions that count examples, may be a
        state to begin with for every example, and is not known to be without them.
        """
        if not tensors:
            if func in _NUMBERED or (func in _FILLED and not any(length in sizes for length in output.shape[:2])):
                self.add(output)
            return
        bases = [t._base for t in tensors if t._base is not None and id(t._base) in self._versions]
        for tensor in (*tensors, *bases, *(output if isinstance(output, tuple | list) else (output,))):
            if isinstance(tensor, Tensor) and not self.holds(tensor):  # new, or changed in place
                self.add(tensor)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
