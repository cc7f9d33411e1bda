"""One forward and one backward pass that record every layer's input and output gradient, for all examples of a batch.

Calls of torch functions are recorded, not modules. So attention projections, functional layers, shared and tied
weights are seen wherever they are used, and a parameter with a use that no layer rule covers is known (`foreign`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.functional import embedding, multi_head_attention_forward
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from influence.derivatives.first.derived import Derived
from influence.derivatives.first.factors import Factor
from influence.derivatives.first.layers import RULES, Use, shared
from influence.derivatives.first.layers.attention import attention, bound_arguments
from influence.derivatives.kernels.max_pooling import FastPooling

LAYOUTS = ("first", "second", "shared")
"""The dimension of a call's output that counts the examples: the first (or folded into it), the second, or none,
because all examples share the output."""


Key = tuple[str | int, ...]
"""Identity of a call within a pass: its parameters' names, and the number of earlier calls with the same names."""


@dataclass
class Call:
    """One recorded call that uses watched parameters.

    Attributes:
        edge: the node of the autograd graph at which the output's gradient is taken.
        shape, dtype: of the output.
        layout: one of `LAYOUTS`.
        versions: kept tensors with their version counters, to notice changes in place.
    """

    key: Key
    use: Use
    edge: GradientEdge
    shape: torch.Size
    dtype: torch.dtype
    layout: str
    versions: list[tuple[Tensor, int]]

    def factors(self, gradient: Tensor, count: int) -> list[tuple[str, Factor]] | None:
        """(parameter, factor of its per-example gradients); None if the output's shape does not divide into examples.

        Raises:
            ChangedInPlaceError: a kept input was overwritten after the call.
        """
        if any(tensor._version != version for tensor, version in self.versions):
            raise ChangedInPlaceError
        gradient = self.use.widen(gradient)
        if self.layout == "second":
            if gradient.dim() < 2 or gradient.shape[1] != count:
                return None
            return self.use.factors(gradient, lambda t: t.transpose(0, 1), count)
        if gradient.dim() == 0 or gradient.shape[0] % count:
            return None
        return self.use.factors(gradient, lambda t: t, count)

    def pattern(self, count: int) -> tuple[Any, ...]:
        """Key of the call's kind: if a checked batch had only calls of the same patterns, this batch needs no check."""
        lead = self.shape[1:2] if self.layout == "second" else self.shape[:1]
        return (*self.use.names, self.layout, len(self.shape), lead == (count,), not lead or lead[0] % count == 0)


class ChangedInPlaceError(Exception):
    """A layer's input was overwritten later in the forward pass."""


class _Start(torch.autograd.Function):
    """Identity that starts a gradient. Unlike a leaf tensor, its output may be changed in place."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, seed: Tensor) -> Tensor:
        return output.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        return None, None


class Tape(TorchFunctionMode):
    """Records the calls that use watched parameters during one forward pass.

    Args:
        watched: parameters by name, the same tensor objects that the model uses.
        count: examples in the batch.
        layouts: call key -> layout, for calls whose layout `first_guess` gets wrong.
        careful: clone inputs, in case the model changes them in place.
        constants: the model's buffers. A tensor computed from constants and parameters alone is a `Derived`.

    Attributes:
        calls: recorded calls of functions with a layer rule.
        foreign: names of parameters with a use that no rule covers.
        unsure: names of parameters with a call whose output does not divide into examples.
        dynamic: whether rows were selected by data-dependent indices; then every batch must be checked.
    """

    def __init__(
        self,
        watched: Mapping[str, Tensor],
        count: int,
        layouts: Mapping[Key, str] | None = None,
        careful: bool = False,
        constants: Iterable[Tensor] = (),
    ):
        super().__init__()
        self.names = {id(tensor): name for name, tensor in watched.items()}
        self.constants = {id(tensor) for tensor in constants}
        self.count, self.layouts, self.careful = count, layouts or {}, careful
        self.calls: list[Call] = []
        self.derived: dict[str, Derived] = {}
        self.alive: list[Tensor] = []
        self.foreign: set[str] = set()
        self.unsure: set[str] = set()
        self.dynamic = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = tensors_in(args, kwargs)
        touched = {self.names[id(tensor)] for tensor in tensors if id(tensor) in self.names}
        if not touched:
            return self._untouched(func(*args, **kwargs), func, args, tensors)
        if func is multi_head_attention_forward:
            given = bound_arguments(self.name, args, kwargs)
            if given is not None:
                with self:
                    return attention(given)
        output = func(*args, **kwargs)
        if not torch.is_grad_enabled():  # the model detaches this use on purpose
            return output
        known = all(id(tensor) in self.names or id(tensor) in self.constants for tensor in tensors)
        if known and isinstance(output, Tensor) and func not in (Tensor.expand, embedding):
            leaves, spec = pytree.tree_flatten((args, kwargs))
            self._derive(output, func, leaves, lambda new: pytree.tree_unflatten(new, spec))
            return output
        use = RULES[func](self.name, *args, **kwargs) if func in RULES else None
        if use is not None and isinstance(output, Tensor) and set(use.names) == touched:
            return self._record(use, output)
        # Reading the shape or dtype is harmless, and so is `to` where it returns the parameter itself.
        if any(isinstance(leaf, Tensor) and self.name(leaf) is None for leaf in pytree.tree_leaves(output)):
            self.foreign |= self.parameters_behind(touched)
        return output

    def _untouched(self, output: Any, func: Any, args: Any, tensors: list[Tensor]) -> Any:
        self.dynamic = self.dynamic or picks_rows(func, args, self.count)
        if tensors and isinstance(output, Tensor) and all(id(tensor) in self.constants for tensor in tensors):
            self.constants.add(id(output))
            self.alive.append(output)
        return output

    def name(self, tensor: Any) -> str | None:
        """Name of a watched parameter or derived tensor; None for any other tensor."""
        return self.names.get(id(tensor))

    def parameters_behind(self, names: Iterable[str]) -> set[str]:
        """The names, with every derived tensor replaced by the parameters it was computed from."""
        return {root for name in names for root in (self.derived[name].parameters if name in self.derived else (name,))}

    def _derive(self, output: Tensor, func: Any, leaves: list[Any], rebuild: Callable[[list[Any]], Any]) -> None:
        if id(output) in self.names:
            return
        behind = [self.derived.get(n, n) if (n := self.name(leaf)) is not None else None for leaf in leaves]
        name = f"derived {len(self.derived)}"
        self.derived[name] = Derived(func, leaves, rebuild, behind)
        self.names[id(output)] = name
        self.alive.append(output)  # keeps its id from being given to another tensor

    def _record(self, use: Use, output: Tensor) -> Tensor:
        key: Key = (*use.names, sum(call.use.names == use.names for call in self.calls))
        layout = self.layouts.get(key) or first_guess(output, self.count)
        if layout == "shared":
            # The shared output is expanded to one row for each example, so that each has its own gradient.
            output = shared(output, self.count)
            use.share(self.count)
        if not output.requires_grad:
            output = _Start.apply(output, torch.zeros((), requires_grad=True))
        edge = get_gradient_edge(output)
        if self.careful:
            use.keep_copies()
        versions = [(t, t._version) for t in use.kept_tensors()]
        self.calls.append(Call(key, use, edge, output.shape, output.dtype, layout, versions))
        return output

    @property
    def epsilon(self) -> float:
        """Largest machine epsilon of the calls' outputs. Under autocast it is larger than that of the parameters."""
        return max((torch.finfo(call.dtype).eps for call in self.calls if call.dtype.is_floating_point), default=0.0)

    def pattern(self) -> tuple[Any, ...]:
        """The patterns of all calls of the pass, with the batch size: the kind of batch that a check is valid for."""
        return (self.count, *(call.pattern(self.count) for call in self.calls))

    def forward(self, call: Callable[[], Any]) -> Any:
        """Return `call()`, recorded."""
        with self, FastPooling(), torch.enable_grad():
            return call()

    def backward(
        self, outputs: Sequence[Tensor], sides: Sequence[Tensor] | None = None, again: bool = False
    ) -> dict[str, list[Factor]]:
        """Back-propagate sum(outputs * sides): parameter with a layer rule -> factors of its per-example gradients.

        Args:
            outputs: tensors that `forward` returned.
            sides: weights of the outputs, of the same shapes; default ones.
            again: keep the graph for more backward passes.

        Raises:
            ChangedInPlaceError: the forward pass must be repeated with `careful`.
        """
        live = [call for call in self.calls if not self.foreign.issuperset(self.parameters_behind(call.use.names))]
        pairs = [(o, None if sides is None else sides[i]) for i, o in enumerate(outputs) if o.requires_grad]
        if not live or not pairs:
            return {}
        tensors = [o for o, _ in pairs]
        weights = [torch.ones_like(o) if s is None else s for o, s in pairs]
        gradients = torch.autograd.grad(
            tensors, [call.edge for call in live], weights, allow_unused=True, retain_graph=again
        )
        found: dict[str, list[Factor]] = {}
        for call, gradient in zip(live, gradients, strict=True):
            if gradient is None:  # computed, but the outputs do not depend on it
                continue
            factors = call.factors(gradient, self.count)
            if factors is None:
                self.unsure |= self.parameters_behind(call.use.names)
                continue
            for name, factor in factors:
                carried = self.derived[name].carried(factor) if name in self.derived else [(name, factor)]
                for root, one in carried:
                    found.setdefault(root, []).append(one)
        return {n: f for n, f in found.items() if n not in self.foreign}


_PLAIN = Tensor | int | float | str | None | torch.dtype


def tensors_in(args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors among a call's arguments, nested ones too. Pytrees are slow, so flat arguments skip them."""
    leaves = [*args, *kwargs.values()]
    if not all(isinstance(leaf, _PLAIN) for leaf in leaves):
        leaves = pytree.tree_leaves(leaves)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


_PICKING = {
    Tensor.__getitem__,
    Tensor.__setitem__,
    torch.index_select,
    Tensor.index_select,
    torch.masked_select,
    Tensor.masked_select,
    Tensor.index_add_,
    torch.index_add,
    Tensor.index_add,
    torch.gather,
    Tensor.gather,
    torch.take_along_dim,
    Tensor.scatter_,
    Tensor.scatter_add_,
    torch.scatter_add,
    Tensor.scatter_add,
}


def picks_rows(func: Any, args: Any, count: int) -> bool:
    """Whether the call selects or moves rows of a batch by data-dependent indices."""
    if func not in _PICKING or len(args) < 2:
        return False
    if func not in (Tensor.__getitem__, Tensor.__setitem__):
        return not isinstance(args[1], int) or args[1] <= 0
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    for place, extent in zip(index, args[0].shape, strict=False):
        if isinstance(place, Tensor | list) and (place is index[0] or extent == count):
            return not _in_order(place, extent)
        if not isinstance(place, slice | int):
            break
    return False


def _in_order(index: Any, extent: int) -> bool:
    place = torch.as_tensor(index)
    if place.dtype == torch.bool:
        return bool(place.dim() == 1 and place.all())
    return place.shape == (extent,) and torch.equal(place, torch.arange(extent, device=place.device))


def first_guess(output: Tensor, count: int) -> str:
    """Guess a call's layout (see `LAYOUTS`) from its output's shape."""
    shape = output.shape
    if len(shape) == 0 or shape[0] == count:
        return "first"
    if len(shape) > 2 and shape[1] == count:
        return "second"
    if shape[0] == 1:
        return "shared"
    return "first"
