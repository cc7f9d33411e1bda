"""Scores that another tool computed become a run: their arrays, the tables of what they are about, the run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
