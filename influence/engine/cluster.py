"""`connected`: a Ray cluster for the length of a `with` block, an existing one or one on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from influence.errors import EngineError
from influence.threads import processors

CLIENT = "ray://"
ADDRESS = "RAY_ADDRESS"
"""Ray's own environment variable for the address of a cluster."""
AUTHENTICATION = "RAY_AUTH_MODE"
"""Ray's own: `token` if clusters ask for a token, `disabled` if they do not."""
ANSWER = 5.0
"""Seconds in which a cluster must answer. Ray itself waits for two minutes, and then ends the process."""
STORE = 200 * 2**20
"""Bytes of shared memory of a cluster on this machine: results are small, and containers have little of it."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected to a cluster.

    Args:
        address: of a Ray Client server; None: the environment's `RAY_ADDRESS`, and if that is not set, a cluster on
            this machine that ends with the block. Nothing is reported to anybody, and no dashboard is started.

    Raises:
        EngineError: Ray is not installed, no cluster answers, or it has other versions.
    """
    address = address or os.environ.get(ADDRESS)
    if address and _has_token():  # as `ray start` does: where there is a token, its cluster asks for it
        os.environ.setdefault(AUTHENTICATION, "token")
    ray = _module()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address:
        _refuse_silent(address)
    else:
        options |= {"num_cpus": processors(), "include_dashboard": False, "object_store_memory": STORE}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, OSError, RuntimeError, ValueError, SystemExit) as error:
        mode = os.environ.get(AUTHENTICATION, "not set")
        raise EngineError(
            f"The Ray cluster {_at(address)} cannot be used ({AUTHENTICATION} is {mode}): {_first_lines(error)}"
        ) from error
    finally:  # Ray puts its own in the place of what the process had
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    try:
        yield ray
    finally:
        ray.shutdown()


def _module() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # an extra, which takes a second
    except ImportError as error:
        raise EngineError("The engine `ray` needs the package Ray: pip install 'upstream-explorer[ray]'.") from error
    if ray.is_initialized():
        raise EngineError("This process is connected to a Ray cluster already; call ray.shutdown() first.")
    return ray


def _has_token() -> bool:
    """Whether Ray's token, which clusters ask for, is known to this process."""
    known = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(known) or (Path.home() / ".ray" / "auth_token").is_file()


def _refuse_silent(address: str) -> None:
    """Raise EngineError if nothing listens there. `auto` and files that name a cluster are left to Ray."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    with contextlib.suppress(ValueError):
        if parts.hostname and parts.port:
            try:
                socket.create_connection((parts.hostname, parts.port), ANSWER).close()
            except OSError as error:
                raise EngineError(
                    f"No Ray cluster answers {_at(address)}: {error}. Start one (`ray start --head`), or leave the "
                    "address away for a cluster on this machine."
                ) from error
            return
    if address.startswith(CLIENT):
        raise EngineError(f"The address {address!r} names no host and port; expected {CLIENT}HOST:PORT, often 10001.")


def _at(address: str | None) -> str:
    return f"at {address}" if address else "on this machine"


def _first_lines(error: BaseException) -> str:
    said = " ".join(str(error).split()) if not isinstance(error, SystemExit) else "Ray gave up waiting for its head."
    return said[:400] or type(error).__name__
