"""Live answers of a finished run's model. Only `Live` loads torch; questions are read and named without it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
