"""Where `upstream` begins. Little is imported before signals are expected: loading PyTorch takes seconds."""

from __future__ import annotations

import sys

from influence.cli.interruption import LINE, Interruption, expect


def main() -> None:
    """Run the command line; errors that the user can mend are printed without a traceback, with exit code 2."""
    expect()
    try:
        from influence.cli.app import run

        run()
    except Interruption:
        sys.stderr.write(LINE)
        raise
