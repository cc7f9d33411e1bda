"""The setups, a kind a file."""

from families import (
    adapters,
    batches,
    files,
    formats,
    layers,
    losses,
    scores,
    stages,
    tasks,
    timm_networks,
    transformers_models,
    wrappers,
)

KINDS = (
    transformers_models,
    timm_networks,
    adapters,
    wrappers,
    layers,
    losses,
    batches,
    tasks,
    files,
    formats,
    stages,
    scores,
)
ROWS = [row for kind in KINDS for row in kind.ROWS]
