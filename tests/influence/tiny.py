"""A tiny two-stage study that trains in a moment; every call builds it anew, from the same random start."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study
from influence.studies.exhibit import Exhibit

OLD, NEW = ["ant", "bee"], ["cat", "dog", "eel"]
PRETRAIN, FINETUNE, QUERIES = 40, 20, 6


class TinyNet(nn.Module):
    def __init__(self, classes: int, dropout: float = 0.0):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(dropout))
        self.head = nn.Linear(3, classes)
        self.double()

    def forward(self, x):
        return self.head(self.body(x))


def tiny_loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def tiny_net(classes: int, dropout: float = 0.0) -> TinyNet:
    with torch.random.fork_rng():
        torch.manual_seed(classes)
        return TinyNet(classes, dropout)


def tiny_data(count: int, classes: int, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    rule = torch.randn(4, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(classes))
    noise = torch.randn(count, classes, dtype=torch.float64, generator=generator)
    return TensorDataset(x, (x @ rule + noise).argmax(1))


def tiny_stage(**changes):
    """A stage called pretrain of eight examples, with other arguments where they are given."""
    arguments = {"name": "pretrain", "model": tiny_net(2), "loss": tiny_loss, "data": tiny_data(8, 2)}
    return Stage(**arguments | changes)


def tiny_stages(frozen: bool = True, dropout: float = 0.0, **changes) -> list[Stage]:
    """Two stages; `changes` are arguments of the second."""
    settings = {"l2": 0.02, "frozen": ["body.*"] if frozen else [], "proximity": 0.0 if frozen else 0.1, **changes}
    return [
        Stage("pretrain", tiny_net(2, dropout), tiny_loss, tiny_data(PRETRAIN, 2, seed=1), l2=0.02),
        Stage("finetune", tiny_net(3), tiny_loss, tiny_data(FINETUNE, 3, seed=2), **settings),
    ]


def tiny_study(frozen: bool = True, **changes) -> Study:
    """The finetuned body is the pretrained one, as if nothing had moved it."""
    stages = tiny_stages(frozen, **changes)
    stages[1].model.body.load_state_dict(stages[0].model.body.state_dict())
    return Study("tiny", stages, tiny_data(QUERIES, 3, seed=3))


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), int(number) % 256).save(buffer, "PNG")
    return buffer.getvalue()


def tiny_table(data: TensorDataset, classes: list[str], first: int) -> pd.DataFrame:
    ids = np.arange(first, first + len(data))
    labels = [classes[label] for label in data.tensors[1]]
    return pd.DataFrame({"id": ids, "label": labels, "image": [picture(i) for i in ids]})


def tiny_exhibit(variant: str = "frozen", pretraining: Stage | None = None, **changes) -> Exhibit:
    """The variant "frozen" or "updated"; `changes` are arguments of Exhibit."""
    first, second = tiny_stages(variant == "frozen", dropout=0.5)
    study = Study("tiny", [pretraining or first, second], tiny_data(QUERIES, 3, seed=3))
    arguments = {
        "study": study,
        "title": f"Tiny, {variant}",
        "summary": "Made for tests.",
        "measure": "loss of the true class",
        "classes": {"pretrain": OLD, "finetune": NEW},
        "examples": {
            "pretrain": tiny_table(study.stages[0].data, OLD, 100),
            "finetune": tiny_table(second.data, NEW, 500),
        },
        "queries": tiny_table(study.queries, NEW, 900),
        "embedding": lambda model, batch: model.body(batch[0]),
        "train": True,
        "seed": 0,
        "variant": variant,
        "curvature": "hessian",
    }
    return Exhibit(**arguments | changes)


def two_exhibits(**changes) -> list[Exhibit]:
    """Both variants of one pretrained model."""
    first = tiny_exhibit("frozen", **changes)
    return [first, tiny_exhibit("updated", pretraining=first.study.stages[0], **changes)]
