"""`python -m explorer.jobs.first_look PORT`: look at a served explorer once, so that the next visitor finds all opened.

A look is what a browser begins with: a connection that asks for the first page and waits until it is drawn. By then the
server has loaded its pages, and has read and cached what they show.
"""

from __future__ import annotations

import sys
import time

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

PATIENCE = 60.0
"""Seconds after which the address is said anyway."""
OPENING = 2.0
"""Seconds that an attempt takes at most: a server that is starting may accept a connection and never answer on it."""
PAUSE = 0.1
"""Seconds between two attempts to reach a server that is starting."""


def look(port: int) -> None:
    """Return when the first page is drawn, or when `PATIENCE` is over."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            # Without the name of a browser: pages know by it that somebody looks.
            address = f"ws://localhost:{port}/_stcore/stream"
            with connect(address, max_size=None, user_agent_header=None, open_timeout=OPENING) as server:
                message = BackMsg()
                message.rerun_script.query_string = ""
                server.send(message.SerializeToString())
                while (answer := server.recv(end - time.monotonic(), decode=False)) is not None:
                    if ForwardMsg.FromString(answer).WhichOneof("type") == "script_finished":
                        return
        except (OSError, WebSocketException):
            time.sleep(PAUSE)


if __name__ == "__main__":
    look(int(sys.argv[1]))
