"""A stage's objective at its trained parameters: losses, per-example gradients, curvature products.

Nothing is hooked, replaced or flagged in the user's model, which is copied once.
"""

from influence.derivatives.objective import Objective, plain_kernels

__all__ = ["Objective", "plain_kernels"]
