"""How the sizes of a run's scores are shown: as nats, as nats by a measured slope, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explorer.ui import theme
from influence.run import NAT, Run, Slope, slope_of


def slope(run: Run, method: str, stage: str, told: Sequence[str]) -> Slope | None:
    """By what a stage's scores are multiplied to be nats, as retraining measured; None: they are shown as they are.

    It says nothing of what a live computation alone doubts (`told`).
    """
    return None if set(told) - set(run.order_only(method, stage)) else slope_of(run, method, stage)


def unit(run: Run, method: str, stage: str, scores: np.ndarray) -> theme.Unit:
    """The unit in which a stage's stored scores are shown."""
    known = slope_of(run, method, stage)
    return theme.unit_of(scores, NAT if known else run.unit(method, stage), known.times if known else 1.0)


def lost(run: Run, method: str, stage: str) -> tuple[str, ...]:
    """Why sizes are not shown, a sentence each; empty: they are."""
    return () if slope_of(run, method, stage) else run.order_only(method, stage)
