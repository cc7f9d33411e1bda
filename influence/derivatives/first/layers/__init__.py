"""How a call of a torch function makes its parameters' per-example gradients: one kind of function a file."""

from influence.derivatives.first.layers import convolution, elementwise, embedding, linear
from influence.derivatives.first.layers.use import Use, shared

RULES = {**linear.RULES, **convolution.RULES, **embedding.RULES, **elementwise.RULES}
"""torch function -> rule(a parameter -> its name, *the arguments) -> `Use`, or None where the rule does not hold."""

__all__ = ["RULES", "Use", "shared"]
