"""What a `Study` answers to stages that do not fit together, tied weights and data that change."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_data, tiny_loss, tiny_net, tiny_stage
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from influence import Stage, Study, attribute
from influence.errors import StudyError
from influence.study.parameters import groups_of


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])

    def __len__(self):
        return 3


DATA = tiny_data(8, 3)
EMPTY = TensorDataset(torch.empty(0, 4), torch.empty(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Study("s", [], EMPTY), "Study 's' has no stages; it needs at least one"),
        (lambda: Study("s", tiny_stage(), DATA), "Study 's': stages is a Stage, expected a list of Stage"),
        (lambda: Study("s", [tiny_net(2)], DATA), "Study 's': stages holds a TinyNet, expected only Stage"),
        (lambda: Study("s", [tiny_stage(), tiny_stage()], DATA), "2 stages called 'pretrain'; give each its own name"),
        (lambda: Study("s", [tiny_stage()], EMPTY), "Study 's': queries is empty, expected at least one example"),
        (lambda: Study("s", [tiny_stage()], Stream()), "Study 's': queries is an IterableDataset"),
        (lambda: Study("s", [tiny_stage()], DATA, measure="loss"), "Study 's': measure is 'loss', expected a function"),
        (lambda: Study("s", [tiny_stage(model=nn.Tanh())], DATA), "the model has no parameters"),
        (
            lambda: Study("s", [tiny_stage(inherits={"head.bias": "head.bias"})], DATA),
            "Stage 'pretrain' is the first, so it inherits nothing; remove `inherits`",
        ),
    ],
)  # fmt: skip
def test_bad_study(make, message):
    with pytest.raises(StudyError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frozen": ["features.*"]}, "the pattern 'features.*' in `frozen` matches none of body.0.weight, body.0"),
        ({"frozen": ["*"]}, "Stage 'finetune': `frozen` covers every parameter, so the stage trains nothing"),
        ({"l2": {"*.gamma": 0.1}}, "Stage 'finetune': the pattern '*.gamma' in `l2` matches none of body.0.weight, bo"),
        ({"inherits": {"trunk": "body.0.bias"}}, "`inherits` names 'trunk', which its model lacks. It has body.0.w"),
        (
            {"inherits": {"body.0.bias": "trunk"}},
            "`inherits` takes 'body.0.bias' from 'trunk', which stage 'pretrain' lacks. It has body.0.weight",
        ),
        (
            {"inherits": {"head.weight": "head.weight"}},
            "'head.weight' has shape (3, 3), but 'head.weight' of stage 'pretrain' has (2, 3); an inherited ",
        ),
        ({"inherits": {}}, "Stage 'finetune': `inherits` is empty, so nothing comes from stage 'pretrain'"),
        (
            {"model": nn.Sequential(nn.Linear(4, 3))},
            "inherits nothing from 'pretrain': no parameter has equal name and shape. Here: 0.weight, 0.bias. "
            "There: body.0.weight, body.0.bias, head.weight, head.bias. State the pairs in `inherits`",
        ),
    ],
)  # fmt: skip
def test_stages_that_do_not_fit_together(changes, message):
    with pytest.raises(StudyError) as error:
        Study(
            "tiny",
            [
                tiny_stage(),
                Stage(**{"name": "finetune", "model": tiny_net(3), "loss": tiny_loss, "data": DATA, **changes}),
            ],
            DATA,
        )
    assert message in str(error.value)


class Pair(nn.Module):
    def __init__(self, tied: bool):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        if tied:
            self.b.weight = self.a.weight


def pair(name: str, tied: bool, **changes) -> Stage:
    return Stage(name, Pair(tied), tiny_loss, tiny_data(5, 3), **changes)


def test_an_untied_weight_inherits_from_the_tied_one_under_either_name():
    groups = groups_of(pair("second", tied=False, frozen=["b.*"]), pair("first", tied=True))
    assert dict(groups.inherited) == {"a.weight": "a.weight", "b.weight": "a.weight"}
    assert (groups.frozen, groups.held, groups.constant) == (("b.weight",), ("a.weight",), ())


def test_a_tied_weight_with_two_origins_is_refused():
    with pytest.raises(StudyError, match="takes the tied weight 'a.weight' from both 'a.weight' and 'b.weight'"):
        groups_of(
            pair("second", tied=True, inherits={"a.weight": "a.weight", "b.weight": "b.weight"}),
            pair("first", tied=False),
        )


def test_frozen_may_be_any_iterable():
    assert pair("one", tied=False, frozen=(name for name in ["a.*"])).frozen == ("a.*",)


class Growing(Dataset):
    """One example more at every look at its length but the first few."""

    def __init__(self):
        self.looks = 0

    def __len__(self):
        self.looks += 1
        return 9 + self.looks // 8

    def __getitem__(self, i):
        return torch.ones(3), i % 3


class Noisy(Growing):
    def __len__(self):
        return 9

    def __getitem__(self, i):
        return torch.randn(3), i % 3


@pytest.mark.parametrize(
    ("changing", "message"), [(Growing, "had 9 examples and have 10 now"), (Noisy, "switch random augmentation")]
)
def test_data_that_change_between_passes_are_refused(changing, message):
    def loss(outputs, batch):
        return nn.functional.cross_entropy(outputs, batch[1], reduction="none")

    stage = Stage("moving", nn.Linear(3, 3), loss, changing(), l2=0.1)
    fixed = TensorDataset(torch.ones(2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(StudyError, match=f"'moving'.*{message}"):
        attribute(Study("one", [stage], fixed), method="cg", progress=False)
