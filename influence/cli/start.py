"""Where `upstream` begins. Signals are expected before much is imported: loading PyTorch takes seconds.

Ctrl+C and requests to end give one line, and the exit code that shells expect; at no moment a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
LINE = "Interrupted. Finished steps are kept: the same command resumes.\n"


class Interruption(SystemExit):
    """Ends the process as a signal asked for, with 128 and its number; open files and locks are put in order."""


def main() -> None:
    """Run the command line; errors that the user can mend are printed without a traceback, with exit code 2."""
    expect()
    try:
        from influence.cli.app import run

        run()
    except Interruption:
        sys.stderr.write(LINE)
        raise


def expect() -> None:
    """From now on a signal to end raises `Interruption`, or ends the process at once where that would be lost."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell does for what runs in its background
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)  # a second time the process is just ended
    sys.unraisablehook = lambda _: _at_once(number)  # it was met where Python only prints it
    if _imports(frame):
        _at_once(number)  # half a module, or C code, would make something else of it
    raise Interruption(128 + number)


def _at_once(number: int) -> None:
    os.write(2, LINE.encode())
    os._exit(128 + number)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
