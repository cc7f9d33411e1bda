"""The run on disk, a folder of files in open formats: reading it, writing it, adding to it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
