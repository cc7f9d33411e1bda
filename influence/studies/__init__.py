"""Studies that runs are computed from: built-in ones, pictures and texts in one's own files, a function in a file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
