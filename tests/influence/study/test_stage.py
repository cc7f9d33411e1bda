"""What a `Stage` answers to what cannot be; which l2 its parameters have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_loss, tiny_net, tiny_stage
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from influence.errors import StudyError
from influence.study.parameters import l2_of


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])

    def __len__(self):
        return 3


EMPTY = TensorDataset(torch.empty(0, 4), torch.empty(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a/b"}, "Stage name 'a/b': use letters, digits"),
        ({"name": ""}, "Stage name '': use letters"),
        ({"name": 3}, "Stage name 3: use letters"),
        ({"model": tiny_loss}, "Stage 'pretrain': model is a function, expected a torch.nn.Module"),
        ({"model": nn.Tanh}, "model is a type, expected a torch.nn.Module"),
        ({"loss": "nll"}, "Stage 'pretrain': loss is 'nll', expected a function"),
        ({"forward": "x"}, "Stage 'pretrain': forward is 'x', expected a function"),
        ({"collate": "x"}, "Stage 'pretrain': collate is 'x', expected a function"),
        ({"data": EMPTY}, "Stage 'pretrain': data is empty, expected at least one example"),
        ({"data": Stream()}, "Stage 'pretrain': data is an IterableDataset, expected a map-style one"),
        ({"data": iter([1])}, "Stage 'pretrain': data is a list_iterator, expected a map-style dataset"),
        ({"data": DataLoader(EMPTY)}, "Stage 'pretrain': data is a DataLoader, expected a map-style dataset"),
        ({"data": None}, "Stage 'pretrain': data is a NoneType, expected a map-style dataset"),
        ({"l2": -0.1}, "Stage 'pretrain': l2 is -0.1, expected a finite number that is not negative"),
        ({"l2": float("nan")}, "l2 is nan, expected a finite number"),
        ({"l2": float("inf")}, "l2 is inf, expected a finite number"),
        ({"l2": "0.1"}, "l2 is '0.1', expected a finite number"),
        ({"l2": {"*.weight": -1}}, "l2 of '*.weight' is -1, expected a finite number"),
        ({"l2": {0: 0.1}}, "l2 has the key 0, expected glob patterns"),
        ({"proximity": -1}, "proximity is -1, expected a finite number"),
        ({"proximity": None}, "proximity is None, expected a finite number"),
        ({"frozen": "body.*"}, r"frozen is the string 'body.*', expected a list of patterns: ['body.*']"),
        ({"frozen": None}, "frozen is None, expected a list of patterns"),
        ({"frozen": [1]}, "frozen is [1], expected a list of patterns"),
        (
            {"inherits": ["body.0.bias"]},
            "inherits is ['body.0.bias'], expected {name here: name in the previous stage}",
        ),
    ],
)
def test_bad_stage(changes, message):
    with pytest.raises(StudyError) as error:
        tiny_stage(**changes)
    assert message in str(error.value)


def test_numbers_of_numpy_are_numbers():
    assert tiny_stage(l2=np.float32(0.5), proximity=np.int64(1)).l2 == 0.5


def test_the_first_pattern_of_l2_that_matches_counts_and_others_have_none():
    tied = tiny_net(2)
    tied.again = tied.head
    groups = {"again.bias": 3, "head.*": 2, "*.weight": 1}
    expected = {"body.0.weight": 1.0, "body.0.bias": 0.0, "head.weight": 2.0, "head.bias": 3.0}
    assert l2_of(tiny_stage(model=tied, l2=groups)) == expected
    assert l2_of(tiny_stage(l2=0.5)) == dict.fromkeys(expected, 0.5)
