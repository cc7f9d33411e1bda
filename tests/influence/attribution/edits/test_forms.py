"""Edits of other forms of studies: three stages, every method, odd losses and targets, against plain derivatives."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from minima import Net, data, loss, minimise_chain
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from influence import Stage, Study, edit_effect, edits
from influence.attribution.edits.change import Change
from influence.curvature import METHODS
from influence.derivatives.objective import objectives_of
from influence.errors import StudyError
from influence.training import Retrainer

OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}


@pytest.fixture(scope="module")
def three() -> Study:
    g = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    stages = [
        Stage("a", Net(2), loss, data(30, 3, 2, g), l2=0.1),
        Stage("b", Net(3), loss, data(30, 3, 3, g), l2=0.1, proximity=0.2),
        Stage("c", Net(2), loss, data(30, 3, 2, g), l2=0.1, frozen=["first.*"]),
    ]
    return Study("three", minimise_chain(stages), data(6, 3, 2, g))


@pytest.mark.parametrize("names", ["a", "b", "c", "ac", "abc"])
def test_edits_of_any_of_three_stages_are_what_training_again_gives(three, names):
    made = [edits.upweight(name, [2, 7], 1.5) for name in names]
    retrainer = Retrainer(three)
    measured = retrainer.retrain(edits=made).losses - retrainer.retrain().losses
    found = edit_effect(three, made, steps=8, **OPTIONS)
    np.testing.assert_allclose(found.total, measured, atol=1e-3 * np.abs(measured).max())
    assert set(found.report["steps"]) == set("abc"["abc".index(names[0]) :])


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("identity", "lissa")])
def test_every_method_follows_strong_edits(three, method):
    rows = list(range(0, 30, 4))
    x, y = three.stages[0].data.tensors
    edit = edits.replace("a", rows, [(x[row] * 0, y[row]) for row in rows])
    expected = edit_effect(three, edit, steps=10, **OPTIONS).total
    found = edit_effect(three, edit, steps=4, method=method, progress=False).total
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


TARGETS = {
    "largest loss": lambda z: functional.cross_entropy(z, z.argmin(1), reduction="none").max(),
    "spread": lambda z: z.softmax(1)[:, 0].std(),
    "logsumexp": lambda z: z.logsumexp(0)[1],
    "quantile": lambda z: z[:, 0].quantile(0.6),
    "sorted": lambda z: z[:, 1].sort().values[2],
}


@pytest.mark.parametrize("name", TARGETS)
def test_odd_targets_change_as_finite_differences_say(three, name):
    target = TARGETS[name]
    x = three.queries.tensors[0]
    by = 1e-3
    found = edit_effect(three, edits.upweight("b", [4], by), targets=[target], steps=0, **OPTIONS).first[0]
    values = []
    for sign in (1, -1):
        weights = torch.ones(30).double()
        weights[4] += sign * by
        with torch.no_grad():
            values.append(float(target(minimise_chain(three.stages, {"b": weights})[-1].model(x))))
    assert found == pytest.approx((values[0] - values[1]) / 2, rel=1e-3)


def of_all_ones(z, y):
    return functional.binary_cross_entropy_with_logits(z, y, reduction="none").sum(1)


FORMS = {
    "smooth labels": (3, lambda z, y: functional.cross_entropy(z, y, reduction="none", label_smoothing=0.2),
                      torch.tensor([0, 2, 1] * 4), 2),
    "a value": (1, lambda z, y: (z[:, 0] - y).square(), torch.linspace(-1, 1, 12).double(), 0.3),
    "several labels": (3, of_all_ones, torch.eye(3).double().repeat(4, 1), [1.0, 1.0, 0.0]),
    "a label a token": (6, lambda z, y: functional.cross_entropy(z.view(-1, 3, 2), y, reduction="none").sum(1),
                        torch.tensor([[0, 1]] * 6 + [[2, 0]] * 6), [1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_labels_of_any_kind_are_changed_as_by_hand(name):
    width, rule, labels, new = FORMS[name]
    torch.manual_seed(0)
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).double()
    model = nn.Linear(3, width).double()
    stage = Stage("only", model, lambda z, b: rule(z, b[1]), TensorDataset(x, labels), l2=0.1)
    (objective,) = objectives_of(Study("one", [stage], stage.data))
    found = Change(objective, [edits.relabel("only", [5], [new])]).gradient(objective)
    changed = labels.clone()
    changed[5] = torch.as_tensor(new)
    total = (rule(model(x), changed).sum() - rule(model(x), labels).sum()) / 12
    expected = torch.autograd.grad(total, list(model.parameters()))
    rows = dict(zip(dict(model.named_parameters()), expected, strict=True))
    torch.testing.assert_close(found, objective.trained.flatten(rows))


def test_texts_of_many_lengths_are_one_batch():
    examples = [([1] * length, length % 2) for length in range(2, 12)]

    def collate(some):
        return torch.tensor([[len(ids)] for ids, _ in some]).double(), torch.tensor([label for _, label in some])

    torch.manual_seed(0)
    stage = Stage("texts", nn.Linear(1, 2).double(), loss, examples, l2=0.1, collate=collate)
    (objective,) = objectives_of(Study("texts", [stage], examples))
    change = Change(objective, [edits.relabel("texts", [row], [0]) for row in range(10)])
    assert [len(examples) for examples, _ in change.parts] == [10, 10]


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class Pairs:
    """The same examples as another data set's, each with its parts by name."""

    def __init__(self, of: TensorDataset):
        self._of = of

    def __len__(self) -> int:
        return len(self._of)

    def __getitem__(self, row: int) -> Pair:
        return Pair(*self._of[row])


def test_examples_whose_parts_have_names_are_edited_as_plain_ones(three):
    first, *rest = three.stages
    named = Study("named", [dataclasses.replace(first, data=Pairs(first.data)), *rest], three.queries)
    x, y = first.data[9]
    given = [edits.relabel("a", [3], [1 - int(first.data[3][1])]), edits.add("a", [(x, y)]), edits.leave_out("a", [5])]
    expected = edit_effect(three, given, **OPTIONS).total
    found = edit_effect(named, [*given[:1], edits.add("a", [Pair(x, y)]), *given[2:]], **OPTIONS).total
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.abs(expected).max() > 0


class Endless:
    """Examples that do not say how many they are."""

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(3), torch.tensor(row % 2)


def test_examples_without_a_number_are_refused(three):
    endless: Any = Endless()
    with pytest.raises(StudyError, match="examples is a Endless, expected a list or data set of examples"):
        edits.add("a", endless)
    with pytest.raises(StudyError, match="data is a Endless, expected a map-style dataset"):
        edit_effect(
            Study("endless", [dataclasses.replace(three.stages[0], data=endless)], three.queries),
            edits.leave_out("a", [1]),
        )
