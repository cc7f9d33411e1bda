"""One forward and one backward pass that leave every layer's input and the gradient at its output, for all examples.

Calls of torch functions are watched, not modules: attention projections, functional layers, shared and tied weights
are seen wherever they are used, and a parameter that is used in any other way is known to be.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.functional import linear, multi_head_attention_forward
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from influence.derivatives.factors import Factor
from influence.derivatives.layers import RULES, Use, shared

LAYOUTS = ("first", "second", "shared")
"""Where a call's output has the examples: in its first dimension (or folded into it), in its second, or nowhere,
because all examples share it."""


@dataclass
class Call:
    """One call that uses watched parameters, and what of it must be kept."""

    use: Use
    edge: GradientEdge
    shape: torch.Size
    layout: str
    versions: list[tuple[Tensor, int]]

    def factors(self, gradient: Tensor, count: int) -> list[tuple[str, Factor]] | None:
        """The parameters' gradients per example; None if the output cannot be told apart into examples."""
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


class ChangedInPlaceError(Exception):
    """A layer's input or output was overwritten later in the forward pass."""


class Tape(TorchFunctionMode):
    """Watches parameters during one forward pass.

    Args:
        watched: parameters by name, as the model will see them (the same objects).
        count: examples in the batch.
        layouts: of calls, by their number in the pass, where the first guess was wrong.
        careful: copy what may be overwritten later.

    Attributes:
        calls: of functions that a rule covers.
        foreign: names of parameters that anything else was done with.
    """

    def __init__(self, watched: Mapping[str, Tensor], count: int, layouts: Mapping[int, str], careful: bool):
        super().__init__()
        self.names = {id(tensor): name for name, tensor in watched.items()}
        self.count, self.layouts, self.careful = count, layouts, careful
        self.calls: list[Call] = []
        self.foreign: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        touched = self._touched((args, kwargs))
        if not touched:
            return func(*args, **kwargs)
        if func is multi_head_attention_forward:
            given = _ATTENTION.bind(*args, **kwargs).arguments
            hidden = ["bias_k", "bias_v"] + ["in_proj_bias"] * bool(given.get("use_separate_proj_weight"))
            if all(self.name(given[part]) is None for part in hidden):
                with self:
                    return attention(given)
        output = func(*args, **kwargs)
        use = RULES[func](self.name, *args, **kwargs) if func in RULES else None
        if use is not None and isinstance(output, Tensor) and set(use.names) == touched:
            return self._record(use, output)
        # Neither its shape or type nor the parameter itself, as `to` may give it back.
        if any(isinstance(leaf, Tensor) and self.name(leaf) is None for leaf in pytree.tree_leaves(output)):
            self.foreign |= touched
        return output

    def name(self, tensor: Any) -> str | None:
        """Of a watched parameter; None for any other tensor."""
        return self.names.get(id(tensor))

    def _touched(self, values: Any) -> set[str]:
        found = set()
        for value in pytree.tree_leaves(values):
            if isinstance(value, Tensor) and id(value) in self.names:
                found.add(self.names[id(value)])
        return found

    def _record(self, use: Use, output: Tensor) -> Tensor:
        layout = self.layouts.get(len(self.calls)) or first_guess(output, self.count)
        if layout == "shared":
            # Each example gets its own copy of what all share, so that each has its own gradient.
            output = shared(output, self.count)
            use.share(self.count)
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        edge = get_gradient_edge(output)
        if self.careful:
            use.keep_copies()
        versions = [(t, t._version) for t in use.kept()]
        self.calls.append(Call(use, edge, output.shape, layout, versions))
        return output.clone() if self.careful else output

    def run(self, losses: Callable[[], Tensor]) -> tuple[dict[str, list[Factor]], set[str]]:
        """Of every covered parameter the factors of its per-example gradients; the names of those not covered.

        Raises:
            ChangedInPlaceError: the pass must be repeated with `careful`.
        """
        with self, torch.enable_grad():
            try:
                values = losses()
            except RuntimeError as error:
                if "in-place" in str(error) and not self.careful:
                    raise ChangedInPlaceError from error
                raise
        live = [call for call in self.calls if not self.foreign.issuperset(call.use.names)]
        gradients: tuple[Tensor | None, ...] = ()
        if live and values.requires_grad:
            gradients = torch.autograd.grad(values.sum(), [call.edge for call in live], allow_unused=True)
        found: dict[str, list[Factor]] = {}
        for call, gradient in zip(live, gradients, strict=False):
            if gradient is None:  # computed, but the loss does not depend on it
                continue
            factors = call.factors(gradient, self.count)
            if factors is None:
                self.foreign |= set(call.use.names)
                continue
            for name, factor in factors:
                found.setdefault(name, []).append(factor)
        return {n: f for n, f in found.items() if n not in self.foreign}, self.foreign


def first_guess(output: Tensor, count: int) -> str:
    """Where a call's output has the examples, by its shape."""
    shape = output.shape
    if len(shape) == 0 or shape[0] == count:
        return "first"
    if len(shape) > 2 and shape[1] == count:
        return "second"
    if shape[0] == 1:
        return "shared"
    return "first"


_ATTENTION = inspect.signature(multi_head_attention_forward)


def attention(given: dict[str, Any]) -> Any:
    """`multi_head_attention_forward` of these arguments, with its projections as calls of `linear` of their own.

    What is left, between identity matrices in place of the projections, is attention without parameters.
    """
    inputs, bias = [given["query"], given["key"], given["value"]], given["in_proj_bias"]
    if given.get("use_separate_proj_weight"):
        weights = [given["q_proj_weight"], given["k_proj_weight"], given["v_proj_weight"]]
        parts = [linear(x, w, None) for x, w in zip(inputs, weights, strict=True)]
    elif inputs[0] is inputs[1] and inputs[1] is inputs[2]:
        parts = list(linear(inputs[0], given["in_proj_weight"], bias).chunk(3, dim=-1))
    else:
        parts = [linear(x, given["in_proj_weight"], bias).chunk(3, dim=-1)[i] for i, x in enumerate(inputs)]
    width = given["embed_dim_to_check"]
    identity = torch.eye(width, dtype=parts[0].dtype, device=parts[0].device)
    plain = given | dict(zip(("query", "key", "value"), parts, strict=True))
    plain |= dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj_weight"), identity)
    separate = bool(given.get("use_separate_proj_weight"))
    plain |= {"use_separate_proj_weight": True, "in_proj_weight": None, "out_proj_bias": None}
    plain["in_proj_bias"] = bias if separate else None
    with torch._C.DisableTorchFunction():
        mixed, weights_of_heads = multi_head_attention_forward(**plain)
    return linear(mixed, given["out_proj_weight"], given["out_proj_bias"]), weights_of_heads
