"""How the sizes of a run's scores are shown: as nats, as nats by a measured slope, or not at all."""

from __future__ import annotations

import numpy as np

from explorer.ui import theme
from influence.run import NAT, Run, slope_of


def unit(run: Run, method: str, stage: str, scores: np.ndarray) -> theme.Unit:
    """The unit in which a stage's stored scores are shown."""
    slope = slope_of(run, method, stage)
    return theme.unit_of(scores, NAT if slope else run.unit(method, stage), slope.times if slope else 1.0)


def lost(run: Run, method: str, stage: str) -> tuple[str, ...]:
    """Why sizes are not shown, a sentence each; empty: they are."""
    return () if slope_of(run, method, stage) else run.order_only(method, stage)
