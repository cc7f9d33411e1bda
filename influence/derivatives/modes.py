"""What a caller may have switched on for the whole thread, and what no derivative may be computed under."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

DEVICES = ("cpu", "cuda", "xpu", "mps")
"""Kinds of devices for which there is an autocast."""


@contextmanager
def callers_modes_off() -> Iterator[None]:
    """Within this context, or in a function that it decorates, the caller's inference mode and autocast are off.

    Inference mode forbids derivatives; autocast would round them. Autocast within a model's own forward stays.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        yield
