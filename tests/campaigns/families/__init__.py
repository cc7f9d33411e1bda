"""The setups, a kind a file."""

from families import adapters, batches, formats, layers, losses, stages, timm_networks, transformers_models, wrappers

KINDS = (transformers_models, timm_networks, adapters, wrappers, layers, losses, batches, formats, stages)
ROWS = [row for kind in KINDS for row in kind.ROWS]
