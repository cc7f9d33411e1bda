"""`OnRay`: pieces on the workers of a Ray cluster.

Ray only says who computes. A piece's result comes back to the driver, which keeps it on disk at once; so nothing that
is lost with a worker, a node or the driver is more than the pieces that were under way.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from influence.engine.actor import Actor, Process, this_process
from influence.engine.cluster import connected
from influence.engine.pieces import Done, Job, Piece
from influence.errors import EngineError

ATTEMPTS = 4
"""Times that a piece is begun before it is given up: once, and three times again."""
PATIENCE = 300.0
"""Seconds in which the cluster must give the first worker."""


class OnRay:
    """Workers on a Ray cluster, each an actor with models of its own. Used in a `with` block.

    Each worker has one piece at a time: one that waited for it would begin after the time limit was looked at.

    Args:
        address: of the cluster, see `connected`.
        workers: how many; default as many as the cluster has processors for.
        threads: of each worker.
        gpus_per_worker: GPUs that each worker has to itself.

    Raises:
        EngineError: on entering, there is no such cluster, or it has not so many processors or GPUs.
    """

    def __init__(
        self, address: str | None = None, *, workers: int | None = None, threads: int = 1, gpus_per_worker: float = 0
    ):
        self.address, self.threads, self.gpus = address, threads, gpus_per_worker
        self._asked, self.workers = workers, workers or 1
        self.device = "cuda" if gpus_per_worker else None
        self.processors = set[str]()
        self._stack = contextlib.ExitStack()
        self._job: Job | None = None
        self._sent: Any = None
        self._idle: list[Any] = []
        # What each call under way is: of which worker, and the piece, or None while the worker makes its models.
        self._pending: dict[Any, tuple[Any, Piece | None]] = {}

    def __enter__(self) -> OnRay:
        self._ray = self._stack.enter_context(connected(self.address))
        try:
            self.workers = self._fitting(self._ray.cluster_resources())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._idle, self._pending, self._job, self._sent = [], {}, None, None
        self._stack.close()

    def _fitting(self, has: dict[str, float]) -> int:
        """The number of workers.

        Raises:
            EngineError: the cluster has not so many processors or GPUs.
        """
        most = int(has.get("CPU", 0) // self.threads)
        if self.gpus:
            most = min(most, int(has.get("GPU", 0) / self.gpus))
        each = f"{self.threads} threads" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
        there = f"the cluster has {has.get('CPU', 0):g} processors and {has.get('GPU', 0):g} GPUs"
        if not most:
            raise EngineError(f"A worker has {each}; {there}, too few for one.")
        if self._asked and self._asked > most:
            raise EngineError(
                f"{self._asked} workers of {each} each were asked for; {there}, room for {most}. Give --workers {most}."
            )
        return self._asked or most

    def begin(self, job: Job) -> None:
        """As `Engine.begin`."""
        if job != self._job:
            self._job, self._idle, self._pending = job, [], {}
            self._sent = self._ray.put(job)  # once, however many workers there are
        for _ in range(self.workers - len(self._idle) - len(self._pending)):
            self._start()

    def each(self, job: Job, pieces: Iterable[Piece], say: Callable[[str], None]) -> Iterator[Done]:
        """As `Engine.each`. Workers stay for the next pieces of the same job."""
        self.begin(job)
        source, again, deaths = iter(pieces), deque[Piece](), Counter[str]()
        try:
            while self._given(source, again):
                done, worker, piece = self._next(deaths, say)
                if worker is None:
                    self._start()
                    again.extend([piece] if piece else [])
                    continue
                self._idle.append(worker)
                if piece is None:
                    _refuse_unlike(job, done)
                    self.processors.add(done.processor)
                else:
                    yield Done(piece, *done)
        finally:  # who stops listening has no use for what is under way
            self._pending = {call: (worker, piece) for call, (worker, piece) in self._pending.items() if not piece}

    def _given(self, source: Iterator[Piece], again: deque[Piece]) -> bool:
        """Give pieces to all workers that have none; False if no piece is left or under way."""
        while self._idle:
            piece = again.popleft() if again else next(source, None)
            if piece is None:
                return any(under_way for _, under_way in self._pending.values())
            worker = self._idle.pop()
            self._pending[worker.compute.remote(piece.of)] = worker, piece
        return True

    def _start(self) -> None:
        """Start a worker."""
        options = {"num_cpus": self.threads, "num_gpus": self.gpus, "scheduling_strategy": "SPREAD"}
        worker = self._ray.remote(Actor).options(**options).remote()
        self._pending[worker.begin.remote(self._sent, this_process())] = worker, None

    def _next(self, deaths: Counter[str], say: Callable[[str], None]) -> tuple[Any, Any, Piece | None]:
        """What the next call that ends gives, its worker (None: it died), and its piece (None: it made its models).

        Raises:
            EngineError: no call ends, as the cluster has no room; or the piece has ended `ATTEMPTS` workers.
        """
        starting = all(piece is None for _, piece in self._pending.values())
        ended, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=PATIENCE if starting else None)
        if not ended:
            raise EngineError(
                f"The cluster gave no worker within {PATIENCE:.0f} s: others have its processors, or the study takes "
                "longer to read. Wait for them, or ask another cluster."
            )
        worker, piece = self._pending.pop(ended[0])
        try:
            return self._ray.get(ended[0]), worker, piece
        except self._ray.exceptions.RayError as error:
            key, what = (piece.key, piece.name) if piece else ("", "reading the study")
            deaths[key] += 1
            with contextlib.suppress(Exception):  # it may be dead in every way
                self._ray.kill(worker)
            if deaths[key] >= ATTEMPTS or self._is_certain(error):
                tried = "once" if deaths[key] == 1 else f"{deaths[key]} times"
                raise EngineError(
                    f"A worker ended while {what}, tried {tried}. {_said(error)}{_advice(error)}"
                ) from error
            say(f"A worker died ({_said(error)}); another one does it again: {what}.")
            return None, None, piece

    def _is_certain(self, error: Exception) -> bool:
        """Whether another worker would end in the same way: its code raised, or lacks what it is made of."""
        return isinstance(error, self._ray.exceptions.RayTaskError) or "ModuleNotFoundError" in str(error)


def _refuse_unlike(job: Job, other: Process | EngineError) -> None:
    """Raise EngineError if a worker cannot make the driver's models and data, or has others."""
    if isinstance(other, EngineError):
        raise other
    if other.fingerprint is None or not job.fingerprint.agrees(other.fingerprint):
        raise EngineError(
            f"A worker on {other.host} has another model or other data than this process, so what it computes would "
            "be of something else. Its study must give the same models and examples in every process: seed what is "
            "drawn, and let all machines read the same files."
        )


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or ['no reason given'])[-1][:300]}"


def _advice(error: Exception) -> str:
    """What to do where code is missing."""
    if "ModuleNotFoundError" not in str(error):
        return ""
    return (
        ". A study made in Python needs its modules on every machine: install them there, or give the study as "
        "FILE.py:FUNCTION, which workers read."
    )
