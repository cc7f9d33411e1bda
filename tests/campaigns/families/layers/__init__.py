"""Kinds of layers, each between a linear layer and a head: torch's own, and parts that people write themselves."""

from comparison import Row

from families.layers import by_hand, of_torch

KIND = "Layers"
LAYERS = {**of_torch.LAYERS, **by_hand.LAYERS}
TOLD = {**of_torch.TOLD}
QUICK = {
    "Linear of width 0",
    "Embedding, scale_grad_by_freq",
    "Linear",
    "Embedding",
    "Conv2d, groups",
    "LayerNorm",
    "GRU",
    "Attention",
    "einsum",
    "Conv1d",
    "BatchNorm2d",
    "TransformerEncoderLayer",
    "One layer four times",
    "Hypernetwork",
    "Kolmogorov-Arnold",
    "A weight that is a product",
}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in LAYERS.items()]
ROWS += [Row(KIND, name, make, name in QUICK, told) for name, (make, told) in TOLD.items()]
