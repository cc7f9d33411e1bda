"""What stands in the terminal in which the explorer was started."""

from __future__ import annotations

import subprocess
import sys

from explorer.jobs import terminal

FAILING = r"""
import logging

try:
    raise ValueError("a title: \x1b]0;owned\x07 \u202e \x9b31m\r")
except ValueError as error:
    logging.getLogger("explorer").error("Run %s cannot be drawn", "\x1b[2J", exc_info=error)
"""


def test_it_obeys_nothing_of_the_servers_log(capsys):
    command = [sys.executable, "-X", "utf8", "-c", FAILING]
    with subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", errors="backslashreplace") as server:
        terminal.show_log(server.stderr)
    log = capsys.readouterr().err
    lines = log.splitlines()
    assert lines[0] == r"Run \x1b[2J cannot be drawn"
    assert lines[1].startswith("Traceback")
    assert lines[-1].startswith(r"ValueError: a title: \x1b]0;owned\x07 \u202e \x9b31m")
    assert not set(log) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}
