"""`python -m explorer.jobs.server ENTRY PORT`: Streamlit's server, which asks nobody outside for its own address."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from functools import partialmethod

import uvicorn
from starlette.middleware import Middleware
from streamlit import net_util
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.starlette import App

from explorer.jobs.shell import Shell

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
    os.environ["STREAMLIT_SERVER_PORT"] = port
    # Not by `streamlit run`: on the socket that it opens, an answer's end waits until the browser has confirmed its
    # beginning, 40 ms a file (no TCP_NODELAY).
    uvicorn.run(
        App(entry, middleware=[Middleware(Shell)]),
        host="127.0.0.1",
        port=int(port),
        access_log=False,
        log_level="warning",
        ws_per_message_deflate=False,
    )


def raise_open_files() -> None:
    """Allow this process and those that it starts `OPEN_FILES` open files, or as many as its user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
