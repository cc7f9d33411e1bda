"""`python -m explorer --runs DIR`: serve the explorer on this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from pathlib import Path
from types import FrameType
from typing import Any

import influence.run
from explorer import vendor
from explorer.jobs import demo, terminal
from influence.errors import RunError, printable

HERE = Path(__file__).parent
HOST = "localhost"
ENDS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
"""Signals that end it."""


class LaunchError(Exception):
    """The explorer cannot be started; the message says what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; 0 after that, 2 if something given is wrong."""
    options = _parser().parse_args(arguments)
    for number in ENDS:
        signal.signal(number, _interrupt)
    try:
        refuse_taken_port(options.port)
        if options.compute:
            runs, first = Path(options.runs).resolve(), options.run
            demo.start(runs, options.compute)
        else:
            runs, first = folder_and_run(Path(options.runs), options.run)
        with tempfile.TemporaryDirectory(prefix="upstream-") as launch:
            os.environ["UPSTREAM_STUDY"] = options.study or ""
            return serve(Path(launch), runs, first, options.port, not options.no_browser, bool(options.compute))
    except (LaunchError, RunError) as error:
        sys.stderr.write(f"Error: {printable(str(error))}\n")
        return 2
    except OSError as error:
        why = printable(str(error))
        sys.stderr.write(f"Error: no launch folder can be written ({why}). Point TMPDIR to a writable folder.\n")
        return 2
    except KeyboardInterrupt:  # before anything was served
        if options.compute:
            terminal.stop(Path(options.runs).resolve())
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in ENDS:
        signal.signal(each, signal.SIG_IGN)  # what ends now is not to be interrupted again
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m explorer", description="Show runs in the browser.")
    parser.add_argument("--runs", default="data/runs", help="folder of runs (default: data/runs)")
    parser.add_argument("--run", help="the run to open first: its name in that folder, or a path")
    parser.add_argument(
        "--compute", metavar="STUDY", help="compute this embedded study, and serve --run as soon as it can be opened"
    )
    parser.add_argument("--study", metavar="FILE.py:FUNCTION", help="a function that runs were computed from")
    parser.add_argument("--port", type=_port, default=8501, help="port on localhost (default: 8501)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 1 to 65535")
    return int(text)


def folder_and_run(runs: Path, run: str | None) -> tuple[Path, str | None]:
    """The folder of runs to serve and the name of the run to open first, which is verified.

    Raises:
        LaunchError: `run` names no run that can be opened.
    """
    if run is None:
        return runs.resolve(), None
    path = Path(run)
    if path.name == run and not (path / "run.json").is_file():
        path = runs / run
    try:
        influence.run.Run.open(path)
    except RunError as error:
        raise LaunchError(str(error)) from error
    path = path.resolve()
    return path.parent, path.name


def refuse_taken_port(port: int) -> None:
    """Raises LaunchError if something listens on `port` already or it may not be used."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # As the server will do: a port that was closed a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise LaunchError(f"Port {port} may not be used by this user. Choose one above 1023 with --port.") from None
        except OSError:
            raise LaunchError(
                f"Port {port} is in use. Choose another with --port, e.g. --port {port % 65535 + 1}."
            ) from None


def prepare(launch: Path) -> Path:
    """Fill the launch folder: entry script, settings, served files. Nothing in the package is written.

    Returns:
        The entry script.
    """
    (launch / ".streamlit").mkdir()
    shutil.copyfile(HERE / ".streamlit" / "config.toml", launch / ".streamlit" / "config.toml")
    static = launch / "static"
    static.mkdir()
    (static / vendor.PLOTLY).write_bytes(vendor.plotly_source())
    entry = launch / "upstream.py"
    entry.write_text(f"import runpy\nrunpy.run_path({str(HERE / 'app.py')!r})\n", encoding="utf-8")
    return entry


def serve(launch: Path, runs: Path, first: str | None, port: int, browser: bool, computing: bool = False) -> int:
    """Run Streamlit's server in a process of its own until it ends or this one is interrupted.

    Args:
        launch: an empty folder for what the server reads.
        runs: the folder of runs.
        first: the run to open first.
        port: on localhost.
        browser: whether to open one.
        computing: `first` is being computed: its address is said when it can be opened, and the computation ends with
            the server.

    Raises:
        RunError: the computation ended before `first` could be opened.
    """
    entry = prepare(launch)
    environment = {
        **os.environ,
        "UPSTREAM_RUNS": str(runs),
        "UPSTREAM_RUN": first or "",
        "UPSTREAM_STATIC": str(launch / "static"),
        "PYTHONSAFEPATH": "1",  # as -P, for what the server starts
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-P", "-m", "explorer.jobs.server", str(entry), str(port)]
    # Without stdin Streamlit asks nothing; its own start message would only repeat ours.
    # In a group of its own: Ctrl+C in the terminal reaches this process only, which ends the server.
    server = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=launch,
        process_group=0,
        encoding="utf-8",
        errors="backslashreplace",
    )
    assert server.stderr is not None
    log = threading.Thread(target=terminal.show_log, args=(server.stderr,), daemon=True)
    log.start()
    looking = _first_look(port, environment)
    readable = not computing
    try:
        if computing and first:
            terminal.until_readable(runs, first)
            readable = True
            looking.wait()
            looking = _first_look(port, environment)
        threading.Thread(target=_announce, args=(server, looking, runs, port, browser, computing), daemon=True).start()
        return 0 if server.wait() in (0, -signal.SIGTERM, -signal.SIGINT) else 1
    except KeyboardInterrupt:
        return 0 if readable else 130
    finally:
        if computing:
            terminal.stop(runs)
        _end(looking)
        _end(server)
        log.join(timeout=1)


def _first_look(port: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process that ends when the server at `port` has drawn its first page: the first visitor waits for less."""
    command = [sys.executable, "-P", "-m", "explorer.jobs.first_look", str(port)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, process_group=0, **quiet)


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def _announce(
    server: subprocess.Popen[str],
    looking: subprocess.Popen[bytes],
    runs: Path,
    port: int,
    browser: bool,
    computing: bool,
) -> None:
    """Print the address, and open it, once the first page was drawn; then what becomes of a computation under way."""
    address = f"http://{HOST}:{port}"
    while looking.poll() is None:
        if server.poll() is not None:
            return
        time.sleep(0.05)
    sys.stdout.write(f"Upstream is at {address} (stop it with Ctrl+C)\n")
    sys.stdout.flush()
    if browser:
        webbrowser.open(address)
    if computing:
        terminal.until_ended(runs)


if __name__ == "__main__":
    sys.exit(main())
