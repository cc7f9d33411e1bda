"""`python -m explorer.jobs.server ENTRY PORT`: Streamlit's server, which asks nobody outside for its own address."""

from __future__ import annotations

import contextlib
import resource
import sys
from functools import partialmethod

from streamlit import net_util
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.web import cli

OPEN_FILES = 10_240
"""Files that may be open at once, if the system lets us: macOS has no more, and gives 256 unless it is asked."""
KEPT_SESSIONS = 24
"""Closed pages that are remembered for two minutes, in case their browser comes back. Each holds three open files."""


def main() -> None:
    entry, port = sys.argv[1:]
    raise_open_files()
    # A foreign page's attempt to connect would make Streamlit ask a web service for this machine's address.
    net_util.get_internal_ip = net_util.get_external_ip = lambda: None
    # No setting bounds their number; Streamlit would keep 128.
    kept = partialmethod(MemorySessionStorage.__init__, maxsize=KEPT_SESSIONS)
    MemorySessionStorage.__init__ = kept  # type: ignore[assignment, method-assign]
    sys.argv = ["streamlit", "run", entry, "--server.port", port]
    cli.main()


def raise_open_files() -> None:
    """Allow this process and those that it starts `OPEN_FILES` open files, or as many as its user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
