"""Layer rules: from a call of a torch function to per-example gradients of its parameters. One kind of layer a file."""

from influence.derivatives.first.layers import convolution, elementwise, embedding, linear
from influence.derivatives.first.layers.use import Use, shared

RULES = {**linear.RULES, **convolution.RULES, **embedding.RULES, **elementwise.RULES}
"""torch function -> rule. A rule takes `name` (tensor -> parameter name or None) and the call's arguments, and returns
a `Use`, or None for arguments that it does not cover."""

__all__ = ["RULES", "Use", "shared"]
