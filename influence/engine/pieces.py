"""A computation as pieces: `Piece`, the `Job` that they belong to, the `Worker` and the `Engine` that compute them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

NEAR = 1e-3
"""Share by which losses of one model may differ between kinds of processors."""


@dataclass(frozen=True)
class Piece:
    """A part of a computation that any worker can compute, in any order.

    Attributes:
        key: hash of everything that its result depends on.
        name: what it is, for messages.
        of: what a worker needs to know of it beside the job: small, picklable.
    """

    key: str
    name: str
    of: Any


@dataclass(frozen=True)
class Done:
    """A piece that was computed.

    Attributes:
        piece: which.
        result: of it; None with an `error`.
        error: why it has no result; another worker would meet the same. MemoryError: its memory was too small.
        seconds: that computing it took.
    """

    piece: Piece
    result: Any
    error: Exception | None
    seconds: float


@dataclass(frozen=True)
class Fingerprint:
    """What two processes compare before one computes for the other: their models, and some losses of their data.

    Attributes:
        parameters: hash of all parameters and of the numbers of examples.
        losses: of some examples, nats. Other processors round them otherwise.
    """

    parameters: str
    losses: tuple[float, ...]

    def agrees(self, other: Fingerprint) -> bool:
        if self.parameters != other.parameters or len(self.losses) != len(other.losses):
            return False
        pairs = zip(self.losses, other.losses, strict=True)
        return all(math.isclose(here, there, rel_tol=NEAR, abs_tol=NEAR) for here, there in pairs)


class Worker(Protocol):
    """Computes pieces of one job, in a process of its own.

    Attributes:
        fingerprint: of the models and data that it made by itself.
    """

    fingerprint: Fingerprint

    def compute(self, of: Any) -> Any:
        """The result of the piece that `of` says: small, picklable."""
        ...


class Job(Protocol):
    """What all pieces of a computation have in common: small and picklable, equal if it is the same computation.

    Attributes:
        fingerprint: of the driver's models and data.
    """

    @property
    def fingerprint(self) -> Fingerprint: ...

    def worker(self) -> Worker:
        """Make a worker, once in each process that computes: its models and data are read here, not sent."""
        ...


class Engine(Protocol):
    """Computes pieces on several workers.

    Attributes:
        workers: how many there are.
        threads: of each worker.
        device: where workers compute, if not where the driver does.
        processors: kinds of the processors of the workers that have computed, see `Process`.
    """

    workers: int
    threads: int
    device: str | None
    processors: set[str]

    def __enter__(self) -> Engine:
        """Reach the workers; they are given back on leaving."""
        ...

    def __exit__(self, *_: object) -> None: ...

    def begin(self, job: Job) -> None:
        """Let workers make their models for a job; nothing waits for them."""
        ...

    def each(self, job: Job, pieces: Iterable[Piece], say: Callable[[str], None]) -> Iterator[Done]:
        """Compute pieces, and give each as soon as it is computed.

        Args:
            job: of all of them.
            pieces: one is taken as soon as a worker has nothing to do, so a generator may end where time does.
            say: told what went wrong and is done again.

        Raises:
            EngineError: no worker can be had, one is unlike the driver, or a piece ended its worker several times.
        """
        ...
