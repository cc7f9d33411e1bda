"""`python -m influence ...`: the command line, where `upstream` is not on the path."""

from __future__ import annotations

from influence.cli import main

main()
