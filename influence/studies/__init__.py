"""Studies: what is pretrained, finetuned and shown; built in, of one's own files, and from a function."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
