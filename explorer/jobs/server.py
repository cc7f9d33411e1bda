"""`python -m explorer.jobs.server ENTRY PORT`: Streamlit's server, which asks nobody outside for its own address."""

from __future__ import annotations

import sys

from streamlit import net_util
from streamlit.web import cli


def main() -> None:
    entry, port = sys.argv[1:]
    # A foreign page's attempt to connect would make Streamlit ask a web service for this machine's address.
    net_util.get_internal_ip = net_util.get_external_ip = lambda: None
    sys.argv = ["streamlit", "run", entry, "--server.port", port]
    cli.main()


if __name__ == "__main__":
    main()
