"""Compute and compare runs of the tiny study, and register it as a built-in study."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from tiny import two_exhibits

from influence import Run
from influence.precompute.runs import precompute
from influence.studies.cards import StudyCard
from influence.training.minimum import Trainer

NAMES = ["tiny-frozen", "tiny-updated"]


def compute(root, exhibits=None, names=NAMES):
    return precompute(exhibits or two_exhibits(), names, root, progress=False)


def assert_equal_runs(one: Run, other: Run):
    for stage, tensors in one.models().items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, other.models()[stage][name]), (stage, name)
    for record in one.manifest.scores:
        which = record.stage, record.method
        np.testing.assert_array_equal(one.scores(*which)[:], other.scores(*which)[:])
    for stage in one.stages:
        pd.testing.assert_frame_equal(one.examples(stage), other.examples(stage))
    pd.testing.assert_frame_equal(one.queries(), other.queries())
    assert one.manifest.files.keys() == other.manifest.files.keys()
    passing = ("created", "timings", "peak_memory", "files", "checksum", "stages", "scores")
    for field in vars(one.manifest).keys() - {*passing}:
        assert getattr(one.manifest, field) == getattr(other.manifest, field), field


def counted_fits(monkeypatch):
    fitted, fit = [], Trainer.fit

    def counted(self, **options):
        fitted.append(self.stage.name)
        return fit(self, **options)

    monkeypatch.setattr(Trainer, "fit", counted)
    return fitted


CARD = StudyCard("tiny", "made for tests")


class TinyBuilt:
    """The tiny study as a built-in one."""

    card = CARD
    variants = CARD.variants

    def __init__(self, seed=0):
        self.exhibits = dict(zip(self.variants, two_exhibits(seed=seed), strict=True))

    def exhibit(self, variant):
        return self.exhibits[variant]
