"""`Actor`: the process on a cluster that computes pieces, and `Process`, what it says of itself first."""

from __future__ import annotations

import platform
import socket
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from influence.engine.pieces import Fingerprint, Job
from influence.errors import EngineError, UpstreamError
from influence.version import VERSION


@dataclass(frozen=True)
class Process:
    """A process, as another one must know it before it trusts it.

    Attributes:
        python, torch, upstream: versions.
        host: name of the machine.
        processor: its kind, by which libraries choose how they compute, e.g. "x86_64 AVX512".
        fingerprint: of the models and data that it made; None: none were made.
    """

    python: str
    torch: str
    upstream: str
    host: str
    processor: str
    fingerprint: Fingerprint | None = None

    def differs(self, other: Process) -> str:
        """In which versions another process differs, in words; empty if in none."""
        names = {"python": "Python", "torch": "torch", "upstream": "upstream-explorer"}
        pairs = {name: (getattr(other, of), getattr(self, of)) for of, name in names.items()}
        return ", ".join(
            f"{name} {there} where the driver has {here}" for name, (there, here) in pairs.items() if there != here
        )


def processor() -> str:
    """Kind of this machine's processor."""
    import torch  # takes seconds: whoever only names engines is there before

    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def this_process() -> Process:
    """The process that asks, without a fingerprint."""
    return Process(platform.python_version(), version("torch"), VERSION, socket.gethostname(), processor())


class Actor:
    """Computes pieces of one job.

    Errors that other workers would meet too are given back, not raised.
    """

    def begin(self, job: Job, driver: Process) -> Process | EngineError:
        """Make the models, once; says what was made, or why it cannot be."""
        here = this_process()
        unlike = driver.differs(here)
        if unlike:
            return EngineError(
                f"The worker on {here.host} has {unlike}. Numbers would differ; install the same versions on all "
                "machines."
            )
        try:
            self.worker = job.worker()
        except UpstreamError as error:
            return EngineError(f"The worker on {here.host} cannot read the study: {error}")
        return replace(here, fingerprint=self.worker.fingerprint)

    def compute(self, of: Any) -> tuple[Any, Exception | None, float]:
        """The piece's result or its error, and the seconds that it took."""
        began = time.perf_counter()
        try:
            return self.worker.compute(of), None, time.perf_counter() - began
        except Exception as error:
            if not isinstance(error, UpstreamError | MemoryError) and not ran_out_of_memory(error):
                raise
            told = error if isinstance(error, UpstreamError) else MemoryError(str(error))  # of types that all know
            return None, told, time.perf_counter() - began


def ran_out_of_memory(error: Exception) -> bool:
    """Whether torch raised it for the lack of memory; known without torch, which a worker's first message needs not."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
