"""Which pretraining examples made a finetuned model right or wrong? Multi-stage influence functions for PyTorch."""

import lazy_loader

from influence.version import VERSION

__version__ = VERSION
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
