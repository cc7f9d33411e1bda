"""Inverse-curvature products, one method a file.

A method is a class with the attributes of `Method`; `METHODS` is the list that the command line shows.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
