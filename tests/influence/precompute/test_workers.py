"""What a run says of the workers that computed it."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from influence.engine.actor import processor
from influence.precompute.manifest import unlike_processors, versions


def engine(*processors):
    return SimpleNamespace(workers=3, processors=set(processors))


def test_workers_and_kinds_of_processors_are_told():
    told = versions(torch.device("cpu"), engine("arm64 DEFAULT", "x86_64 AVX2"))
    assert told["workers"] == "3 (arm64 DEFAULT, x86_64 AVX2)"
    assert told["processor"] == processor()
    for nobody in (None, engine()):
        assert "workers" not in versions(torch.device("cpu"), nobody)


def test_a_note_says_where_processors_round_differently():
    assert unlike_processors(None) == unlike_processors(engine(processor())) == []
    (note,) = unlike_processors(engine(processor(), "abacus WOOD"))
    assert "by processors of 2 kinds" in note
    assert "abacus WOOD" in note
