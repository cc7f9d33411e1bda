"""The setups, a kind a file."""

from families import adapters, batches, formats, layers, losses, timm_networks, transformers_models, wrappers

KINDS = (transformers_models, timm_networks, adapters, wrappers, layers, losses, batches, formats)
ROWS = [row for kind in KINDS for row in kind.ROWS]
