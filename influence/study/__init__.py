"""The description of a multi-stage training: stages, studies, and the parameters that a stage inherits and trains."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
