"""Studies of texts: a language model pretrained on some, finetuned to tell classes of others apart."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
