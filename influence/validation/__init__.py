"""Does the score predict what really happens? Checks of a finished run, one a file, by `validate`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
