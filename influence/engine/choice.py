"""The engine that a person asks for: `here`, `ray`, or the address of a Ray cluster."""

from __future__ import annotations

from influence.engine.cluster import CLIENT
from influence.engine.on_ray import OnRay
from influence.errors import EngineError

HERE, RAY = "here", "ray"


def engine_of(
    text: str, *, workers: int | None = None, threads: int | None = None, gpus_per_worker: float = 0
) -> OnRay | None:
    """The engine of that name; None for `here`: this process computes everything.

    Args:
        text: `here`; `ray`: the cluster at the environment's RAY_ADDRESS, else one on this machine; or
            `ray://HOST:PORT`, the address of a cluster's Ray Client server.
        workers: how many; default as many as the cluster has processors for.
        threads: of each worker, default 1.
        gpus_per_worker: GPUs that each worker has to itself.

    Raises:
        EngineError: there is no engine of that name, or workers are asked for and none are used.
    """
    if text == HERE:
        if workers is not None or gpus_per_worker:
            raise EngineError("Workers are those of a cluster, and this process computes alone; add --engine ray.")
        return None
    if text != RAY and not text.startswith(CLIENT):
        raise EngineError(f"There is no engine {text!r}; expected here, ray or {CLIENT}HOST:PORT.")
    return OnRay(None if text == RAY else text, workers=workers, threads=threads or 1, gpus_per_worker=gpus_per_worker)
