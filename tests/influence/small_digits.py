"""A small network on scikit-learn's 8x8 digits, trained in two stages to their minima."""

from __future__ import annotations

import torch
from minima import loss
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study
from influence.training.minimum import fit_stage


class SmallNet(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 4, stride=2), nn.Tanh(), nn.Flatten())
        self.head = nn.Linear(36, classes)
        self.double()

    def forward(self, x):
        return self.head(self.features(x))


def trained_study(variant: str, seed: int = 0) -> Study:
    """Pretrained on 700 digits 0 to 3, finetuned on 300 digits 4 to 9, explained on 40 others."""
    digits = load_digits()
    x, y = torch.tensor(digits.images)[:, None] / 16, torch.tensor(digits.target)
    old, new = (y < 4).nonzero().flatten()[:700], (y >= 4).nonzero().flatten()
    torch.manual_seed(seed)
    pretraining = Stage("pretrain", SmallNet(4), loss, TensorDataset(x[old], y[old]), l2=0.03)
    finetuning = Stage(
        "finetune",
        SmallNet(6),
        loss,
        TensorDataset(x[new[:300]], y[new[:300]] - 4),
        l2=0.03,
        frozen=["features.*"] if variant == "frozen" else [],
        proximity=0.1,
    )
    fit_stage(pretraining, None)
    fit_stage(finetuning, pretraining)
    return Study(variant, [pretraining, finetuning], TensorDataset(x[new[300:340]], y[new[300:340]] - 4))
