"""One forward and one backward pass that record every layer's input and output gradient, for all examples of a batch.

Calls of torch functions are recorded, not modules. So attention projections, functional layers, shared and tied
weights are seen wherever they are used, and a parameter with a use that no layer rule covers is known (`foreign`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn.functional import embedding, multi_head_attention_forward
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from influence.derivatives.first.alignment import DERIVED, Alignment, first_guess
from influence.derivatives.first.call import Call, Key, tolerance
from influence.derivatives.first.derived import Derived
from influence.derivatives.first.factors import Factor
from influence.derivatives.first.fixed import Fixed
from influence.derivatives.first.layers import RULES, Use, shared
from influence.derivatives.first.layers.attention import attention, bound_arguments
from influence.derivatives.first.layers.local import Local
from influence.derivatives.kernels.max_pooling import FastPooling
from influence.derivatives.objective import BUDGET


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
        constants: the model's buffers, and tensors that it holds otherwise.
        frozen: the model's parameters that are not watched. A tensor computed from parameters, constants and what is
            made of numbers alone (`torch.arange`) is a `Derived`.

    Attributes:
        calls: recorded calls of functions with a layer rule.
        foreign: names of parameters with a use that no rule covers.
        unsure: names of parameters with a call whose output does not divide into examples, or not as its layout says.
        ragged: whether a call's output has a number of rows that does not come from the number of examples.
    """

    def __init__(
        self,
        watched: Mapping[str, Tensor],
        count: int,
        layouts: Mapping[Key, str] | None = None,
        careful: bool = False,
        constants: Iterable[Tensor] = (),
        frozen: Iterable[Tensor] = (),
    ):
        super().__init__()
        self.names = {id(tensor): name for name, tensor in watched.items()}
        constants, frozen = list(constants), list(frozen)
        self.constants = {id(tensor) for tensor in constants}
        self.count, self.layouts, self.careful = count, layouts or {}, careful
        self.alignment = Alignment(count, self.constants, frozen)
        self.calls: list[Call] = []
        self.derived: dict[str, Derived] = {}
        self.alive: list[Tensor] = []
        self.fixed = Fixed([*constants, *frozen])
        self.foreign: set[str] = set()
        self.unsure: set[str] = set()
        self.ragged = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = tensors_in(args, kwargs)
        touched = {self.names[id(tensor)] for tensor in tensors if id(tensor) in self.names}
        if not touched:
            fixed = all(map(self.fixed.holds, tensors))
            return self._untouched(func(*args, **kwargs), func, args, kwargs, tensors, fixed)
        if func is multi_head_attention_forward:
            given = bound_arguments(self.name, args, kwargs)
            if given is not None:
                with self:
                    return attention(given)
        output = func(*args, **kwargs)
        known = all(id(t) in self.names or self.fixed.holds(t) or _is_place(func, t) for t in tensors)
        if not torch.is_grad_enabled() or func in _DETACH:  # the model detaches this use on purpose
            if known and isinstance(output, Tensor) and id(output) not in self.names:
                self.fixed.add(output)
            return output
        if known and func not in (Tensor.expand, embedding) and not self._repeats_for_all(func, output):
            self._derive_all(output, func, args, kwargs)
            return output
        use = self._use_of(func, args, kwargs, output, touched)
        if use is not None:
            return self._record(use, output, func, args, kwargs, known)
        # Reading the shape or dtype is harmless, and so is `to` where it returns the parameter itself.
        if any(isinstance(leaf, Tensor) and self.name(leaf) is None for leaf in pytree.tree_leaves(output)):
            self.foreign |= self.parameters_behind(touched)
        return output

    def _use_of(self, func: Any, args: Any, kwargs: Any, output: Any, touched: set[str]) -> Use | None:
        """What is recorded of a call: by the function's own rule, or else as of any function."""
        if not isinstance(output, Tensor) or output.is_nested:
            return None
        use = RULES[func](self.name, *args, **kwargs) if func in RULES else None
        if use is not None and set(use.names) == touched:
            return use
        if not output.is_floating_point() or id(output) in self.names or _in_place(func, kwargs):
            return None
        leaves, spec = pytree.tree_flatten((args, kwargs))
        named = [self.name(leaf) if isinstance(leaf, Tensor) else None for leaf in leaves]
        fixed = {i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and self.fixed.holds(leaf)}
        return Local(func, leaves, spec, named, fixed)

    def _untouched(self, output: Any, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], fixed: bool) -> Any:
        self.alignment.see(func, args, kwargs, output)
        if tensors and isinstance(output, Tensor) and all(id(tensor) in self.constants for tensor in tensors):
            self.constants.add(id(output))
            self.alive.append(output)
        if fixed:
            self.fixed.see(func, tensors, output, self.alignment.sizes)
        return output

    def _repeats_for_all(self, func: Any, output: Any) -> bool:
        """Whether a call makes a copy of its input for each example."""
        return func is Tensor.repeat and output.dim() > 1 and len(output) in self.alignment.sizes

    def may_be_shared(self, call: Call) -> bool:
        """Whether all examples may share a call's output: it does not grow with them, and a copy for each has room."""
        grown = self.alignment.sizes.intersection(call.shape[:2]) - {self.count}
        return not grown and self.count * call.shape.numel() * call.dtype.itemsize <= BUDGET // 4

    def name(self, tensor: Any) -> str | None:
        """Name of a watched parameter or derived tensor; None for any other tensor."""
        return self.names.get(id(tensor))

    def parameters_behind(self, names: Iterable[str]) -> set[str]:
        """The names, with every derived tensor replaced by the parameters it was computed from."""
        return {root for name in names for root in (self.derived[name].parameters if name in self.derived else (name,))}

    def _derive_all(self, output: Any, func: Any, args: Any, kwargs: Any) -> None:
        """Name what a call made of parameters and fixed tensors: a tensor, or several."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        if isinstance(output, Tensor):
            self._derive(output, func, leaves, lambda new: pytree.tree_unflatten(new, spec))
        elif isinstance(output, tuple | list):
            for place, part in enumerate(output):
                if isinstance(part, Tensor):
                    self._derive(part, _part(func, place), leaves, lambda new: pytree.tree_unflatten(new, spec))

    def _derive(self, output: Tensor, func: Any, leaves: list[Any], rebuild: Callable[[list[Any]], Any]) -> None:
        if id(output) in self.names:
            return
        behind = [self.derived.get(n, n) if (n := self.name(leaf)) is not None else None for leaf in leaves]
        name = f"derived {len(self.derived)}"
        self.derived[name] = Derived(func, leaves, rebuild, behind, output)
        self.names[id(output)] = name
        self.alive.append(output)  # keeps its id from being given to another tensor

    def _record(self, use: Use, output: Tensor, func: Any, args: Any, kwargs: Any, derivable: bool) -> Tensor:
        key: Key = (*use.names, sum(call.use.names == use.names for call in self.calls))
        layout = self.layouts.get(key) or first_guess(output, self.count)
        if layout == DERIVED and derivable:
            self._derive_all(output, func, args, kwargs)
            return output
        layout = first_guess(output, self.count) if layout == DERIVED else layout
        if layout == "shared":
            # The shared output is expanded to one row for each example, so that each has its own gradient.
            output = shared(output, self.count)
            use.share(self.count)
        if layout == "first, stacked":
            use.arrange(output, layout, self.count)
        self.ragged = self.ragged or not self.alignment.holds(output, layout)
        if not output.requires_grad:
            output = _Start.apply(output, torch.zeros((), requires_grad=True))
        edge = get_gradient_edge(output)
        if self.careful:
            use.keep_copies()
        versions = [(t, t._version) for t in use.kept_tensors()]
        self.calls.append(Call(key, use, edge, output.shape, output.dtype, layout, versions, derivable))
        return output

    @property
    def epsilon(self) -> float:
        """Largest machine epsilon of the calls' outputs. Under autocast it is larger than that of the parameters."""
        return max((torch.finfo(call.dtype).eps for call in self.calls if call.dtype.is_floating_point), default=0.0)

    @property
    def loose(self) -> bool:
        """Whether rows may be aligned otherwise in another batch of the same pattern; then each must be checked."""
        return self.ragged or self.alignment.by_values

    def pattern(self) -> tuple[Any, ...]:
        """The patterns of all calls of the pass, with the batch size: the kind of batch that a check is valid for."""
        cuts = () if self.loose else tuple(self.alignment.cuts)
        return (self.count, cuts, *(call.pattern(self.count) for call in self.calls))

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
        return self.factors(self.output_gradients(outputs, sides, again))

    def output_gradients(
        self, outputs: Sequence[Tensor], sides: Sequence[Tensor] | None = None, again: bool = False
    ) -> list[tuple[Call, Tensor]]:
        """The gradient of sum(outputs * sides) at every call's output, of calls that the outputs depend on."""
        live = [call for call in self.calls if not self.foreign.issuperset(self.parameters_behind(call.use.names))]
        pairs = [(o, None if sides is None else sides[i]) for i, o in enumerate(outputs) if o.requires_grad]
        if not live or not pairs:
            return []
        tensors = [o for o, _ in pairs]
        weights = [torch.ones_like(o) if s is None else s for o, s in pairs]
        gradients = torch.autograd.grad(
            tensors, [call.edge for call in live], weights, allow_unused=True, retain_graph=again
        )
        return [(call, gradient) for call, gradient in zip(live, gradients, strict=True) if gradient is not None]

    def factors(self, output_gradients: list[tuple[Call, Tensor]]) -> dict[str, list[Factor]]:
        """Parameter with a layer rule -> factors of its per-example gradients, from the gradients at the calls."""
        found: dict[str, list[Factor]] = {}
        for call, gradient in output_gradients:
            factors = call.factors(gradient, self.count)
            if factors is None:
                self.unsure |= self.parameters_behind(call.use.names)
                continue
            for name, factor in factors:
                carried = self.derived[name].carried(factor) if name in self.derived else [(name, factor)]
                for root, one in carried:
                    found.setdefault(root, []).append(one)
        return {n: f for n, f in found.items() if n not in self.foreign}

    def misaligned(
        self, output_gradients: list[tuple[Call, Tensor]], weighted: list[tuple[Call, Tensor]], weights: Tensor
    ) -> set[str]:
        """Parameters with a call whose rows do not belong to the examples that its layout says.

        Args:
            output_gradients: of the sum of the losses.
            weighted: of their sum with weights, which tell the examples apart: each row must have its example's.
            weights: (n,).
        """
        if not output_gradients:
            return set()
        gradients = [gradient for _, gradient in weighted]
        whole = torch.stack([gradient.float().norm() for gradient in gradients]).norm()
        found: set[str] = set()
        for (call, before), after in zip(output_gradients, gradients, strict=True):
            if not call.deviation(before, after, weights) <= tolerance(after, self.epsilon, whole):
                found |= self.parameters_behind(call.use.names)
        return found


_DETACH = (torch.detach, Tensor.detach, Tensor.data.__get__)  # type: ignore[attr-defined]


def _is_place(func: Any, tensor: Tensor) -> bool:
    """Whether a tensor is a single whole number by which a parameter is indexed, as an expert's."""
    return func is Tensor.__getitem__ and tensor.dim() == 0 and not tensor.is_floating_point()


def _in_place(func: Any, kwargs: Any) -> bool:
    name = getattr(func, "__name__", "")
    return kwargs.get("out") is not None or (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"


def _part(func: Any, place: int) -> Callable[..., Any]:
    return lambda *args, **kwargs: func(*args, **kwargs)[place]


_PLAIN = Tensor | int | float | str | None | torch.dtype


def tensors_in(args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors among a call's arguments, nested ones too. Pytrees are slow, so flat arguments skip them."""
    leaves = [*args, *kwargs.values()]
    if not all(isinstance(leaf, _PLAIN) for leaf in leaves):
        leaves = pytree.tree_leaves(leaves)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
