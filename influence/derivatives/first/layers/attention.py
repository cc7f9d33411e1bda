"""Multi-head attention, rewritten so that its projections are calls of `linear`, for which there is a layer rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear, multi_head_attention_forward

_SIGNATURE = inspect.signature(multi_head_attention_forward)


def bound_arguments(named: Callable[[Any], str | None], args: Any, kwargs: Any) -> dict[str, Any] | None:
    """The call's arguments by name. None if a watched parameter is one that `attention` does not pass through `linear`.

    `named` gives a watched tensor's name, and None for others.
    """
    given = _SIGNATURE.bind(*args, **kwargs).arguments
    hidden = ["bias_k", "bias_v"] + ["in_proj_bias"] * bool(given.get("use_separate_proj_weight"))
    return given if all(named(given[part]) is None for part in hidden) else None


def attention(given: dict[str, Any]) -> Any:
    """`multi_head_attention_forward` with these arguments, its input and output projections as calls of `linear`.

    Torch's own function is called in between, with identity matrices as projections: attention without parameters.
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
