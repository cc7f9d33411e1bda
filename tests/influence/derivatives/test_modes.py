"""Every public way to scores has the same ones within the caller's autocast as without."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Index, Recipe, Stage, Study, attribute, group_effect, record, relabel_scores, token_influence
from influence.training import Retrainer, fit_stage


def loss(outputs, batch):
    return cross_entropy(outputs.float(), batch[1], reduction="none")


def study():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    data = TensorDataset(torch.randn(12, 6), torch.arange(12) % 3)
    return Study("one", [Stage("one", model, loss, data, l2=0.1)], data)


def replayed(_):
    (stage,) = study().stages
    recording = record(stage, None, Recipe(steps=3, batch_size=4, learning_rate=0.1))
    recording.apply()
    return attribute(Study("one", [stage], stage.data), method="replay", recordings=[recording], progress=False).values


def retrained(_):
    one = study()
    fit_stage(one.stages[0], None)
    return Retrainer(one).losses_without("one", [3]).numpy()


WAYS = {
    **{
        method: lambda _, method=method: attribute(study(), method=method, progress=False).values
        for method in ("identity", "exact", "cg", "ekfac", "arnoldi", "lissa")
    },
    "group": lambda _: group_effect(study(), "one", [0, 3], method="exact", progress=False).total,
    "labels": lambda _: relabel_scores(study(), method="exact", progress=False).values,
    "tokens": lambda _: token_influence(study(), {0: [1]}, lambda o, b: loss(o, b)[:, None], method="exact")[0][1],
    "index": lambda folder: Index(study(), folder, method="exact", progress=False).query(study().queries).values,
    "replay": replayed,
    "retraining": retrained,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_callers_autocast_changes_nothing(way, tmp_path):
    expected = WAYS[way](tmp_path / "without")
    with torch.autocast("cpu"):
        found = WAYS[way](tmp_path / "within")
        assert torch.is_autocast_enabled("cpu")
    np.testing.assert_array_equal(found, expected)


class Halved(nn.Module):
    """Computes in bfloat16 by an autocast of its own."""

    def __init__(self, inner):
        super().__init__()
        self.inner = copy.deepcopy(inner)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x)


def test_autocast_within_the_model_stays():
    plain = study()
    (stage,) = plain.stages
    own = Study("one", [Stage("one", Halved(stage.model), loss, stage.data, l2=0.1)], stage.data)
    expected, found = (attribute(each, method="identity", progress=False).values for each in (plain, own))
    gap = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-4 < gap < 0.1
