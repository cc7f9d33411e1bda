"""A stage's objective at its trained parameters: losses, per-example gradients, curvature products.

Nothing is hooked, replaced or flagged in the user's model, which is copied once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
