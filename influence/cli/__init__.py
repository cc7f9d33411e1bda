"""`upstream ...`: the command line, a command a file.

Commands name what they call by its package (`influence.precompute.precompute`), which is imported when it is called:
`--help` and the lists need no torch. For the same reason help is plain text, and rich is imported where a table is
printed.
"""

from influence.cli.app import app, main

__all__ = ["app", "main"]
