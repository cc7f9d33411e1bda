"""What a run shows of a study, beside its numbers: pictures or texts, labels, places on the map."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import nn

from influence.study import Study
from influence.version import VERSION


@dataclass
class Exhibit:
    """A study with everything that precompute needs to make a run of it.

    Attributes:
        study: its stages at their starting points if `train`, else at their trained parameters.
        title, summary: for people; one line, one paragraph.
        measure: what is explained, in words.
        classes: stage -> names of the model's outputs, in order.
        examples: stage -> table with id, label and image (PNG bytes) or text, in the order of the stage's data.
        queries: the same for the test queries.
        embedding: (first stage's model, batch) -> (B, d), what the map is made of.
        train: fit the stages before attributing.
        seed: of everything random.
        variant: of the study, for instance how it was finetuned.
        method, curvature: how the run's scores are solved.
        settings: further JSON values that the run depends on.
    """

    study: Study
    title: str
    summary: str
    measure: str
    classes: Mapping[str, Sequence[str]]
    examples: Mapping[str, pd.DataFrame]
    queries: pd.DataFrame
    embedding: Callable[[nn.Module, Any], torch.Tensor]
    train: bool
    seed: int
    variant: str = ""
    method: str = "exact"
    curvature: str = "ggn"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_settings(self) -> dict[str, Any]:
        """What the run depends on: equal settings give an equal run."""
        stages = [
            {
                "name": s.name,
                "examples": len(s.data),
                "shown": _digest(self.examples[s.name]),
                "classes": list(self.classes[s.name]),
                "l2": s.l2,
                "proximity": s.proximity,
                "frozen": list(s.frozen),
                "inherits": None if s.inherits is None else dict(s.inherits),
            }
            for s in self.study.stages
        ]
        return {
            "version": VERSION,
            "study": self.study.name,
            "variant": self.variant,
            "seed": self.seed,
            "method": self.method,
            "curvature": self.curvature,
            "measure": self.measure,
            "train": self.train,
            "models": None if self.train else [_fingerprint(s.model) for s in self.study.stages],
            "queries": _digest(self.queries),
            "stages": stages,
            **self.settings,
        }


def _digest(table: pd.DataFrame) -> str:
    """A fingerprint of a table's contents, so that a run of other data is not taken for this one."""
    return hashlib.sha256(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()).hexdigest()[:16]


def _fingerprint(model: nn.Module) -> str:
    """Of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
