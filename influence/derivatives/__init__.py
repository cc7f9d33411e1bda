"""A stage's objective at its trained parameters: losses, per-example gradients, curvature products.

The user's model is copied once. No hooks are registered on it, and none of its modules or flags are changed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
