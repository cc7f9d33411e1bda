"""`upstream ...`: the command line, a command a file.

Commands name what they call by its package (`influence.precompute.precompute`), which is imported when it is called:
`--help` and the lists need no torch. For the same reason help is plain text, and rich is imported where a table is
printed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
