"""Models that hold parameters in more places than one: scores are those of autograd on the model itself."""

from __future__ import annotations

import copy
import functools
import re
import weakref
from collections import deque

import numpy as np
import pytest
import torch
from holders import (
    MODELS,
    InALambda,
    KeptAsAnAttribute,
    M,
    Net,
    cross_entropy,
    examples,
)
from torch import nn
from torch.utils.checkpoint import checkpoint

from influence import Stage, Study, attribute
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients, gradient
from influence.derivatives.substitution import Substitution
from influence.study.copies import copied
from influence.study.parameters import groups_of


def by_autograd(model: nn.Module) -> np.ndarray:
    """Scores of `identity`, from the model called as it is."""
    rows = []
    for x, y in examples():
        value = cross_entropy(copy.copy(model).train().eval()(x[None]), (x, y[None]))
        rows.append(torch.cat([row.flatten() for row in torch.autograd.grad(value.sum(), list(model.parameters()))]))
    gradients = torch.stack(rows)
    return (gradients @ gradients.T / M).numpy()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_scores_are_those_of_autograd_on_the_model_itself(kind, warm):
    torch.manual_seed(1)
    model = MODELS[kind]().double().eval()
    if warm and kind != "KeptAsAnAttribute":  # which would keep a constant, for autograd too
        with torch.no_grad():
            model(examples().tensors[0])
    study = Study("one", [Stage("one", model, cross_entropy, examples())], examples())
    found = attribute(study, method="identity", progress=False)
    np.testing.assert_allclose(found.values, by_autograd(model), rtol=2e-5, atol=1e-7)
    assert not found.report["warnings"]


@pytest.mark.parametrize("kind", ["InALambda", "KeptInADictionary", "KeptFromEvalOn", "OneTable"])
def test_solved_scores_are_those_of_the_dense_hessian(kind):
    torch.manual_seed(1)
    model = MODELS[kind]().double().eval()
    study = Study("one", [Stage("one", model, cross_entropy, examples())], examples())
    found = attribute(study, method="exact", curvature="hessian", damping=1.0, progress=False).values
    parameters, (x, y) = list(model.parameters()), examples().tensors
    slopes = torch.autograd.grad(cross_entropy(model.train().eval()(x), (x, y)).mean(), parameters, create_graph=True)
    flat = torch.cat([row.flatten() for row in slopes])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True) for entry in flat]
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    each = [torch.autograd.grad(v, parameters, retain_graph=True) for v in cross_entropy(model(x), (x, y))]
    gradients = torch.stack([torch.cat([part.flatten() for part in row]) for row in each])
    solved = torch.linalg.solve(hessian + torch.eye(len(hessian)), gradients.T).T
    np.testing.assert_allclose(found, (solved @ gradients.T / M).numpy(), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_a_call_at_other_parameters_leaves_nothing_but_their_values(kind):
    torch.manual_seed(1)
    model = copied(MODELS[kind]().double()).train().eval()
    x = examples().tensors[0]
    before = model(x).detach()
    model.train().eval()
    substitution = Substitution(model, dict(model.named_parameters()))
    kept = {id(module): list(vars(module).values()) for module in model.modules()}
    with substitution.at({name: p.detach() + 1 for name, p in model.named_parameters()}):
        other = model(x)
    assert not torch.allclose(other, before)
    for module in model.modules():
        assert all(now is was for now, was in zip(vars(module).values(), kept[id(module)], strict=True))
    model.train().eval()  # what was made where it entered evaluation mode is made anew
    torch.testing.assert_close(model(x), other)


class Checkpointed(Net):
    def forward(self, x):
        return self.head(checkpoint(lambda x: torch.tanh(self.enter(x) * self.gain), x, use_reentrant=False))


def test_checkpoints_are_computed_again_at_the_same_parameters():
    """A checkpoint calls its layers on the way back, after the call; it shows elsewhere than at the model's own."""
    slopes = []
    for kind in (Net, Checkpointed):
        torch.manual_seed(1)
        stage = Stage("one", kind().double(), cross_entropy, examples())
        objective = Objective(stage, groups_of(stage, None))
        objective = objective.at({name: p + 0.3 for name, p in objective.parameters.items()})
        each = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.trained)])
        slopes.append((gradient(objective), each))
    torch.testing.assert_close(slopes[1], slopes[0])


def test_functions_of_a_copy_use_the_copy():
    model = InALambda()
    again = copied(model)
    assert again.used() is again.gain
    assert model.used() is model.gain


# What cannot be exchanged is named


elsewhere = nn.Parameter(torch.full((5,), 0.7, dtype=torch.float64))


class Global(Net):
    def used(self):
        return self.gain * elsewhere


class Unregistered(Net):
    def begin(self):
        self.more = [nn.Linear(5, 5)]

    def used(self):
        return self.gain + self.more[0](self.gain)

    def double(self):
        self.more[0].double()
        return super().double()


class Weak(Net):
    def begin(self):
        self.there = weakref.ref(self.gain)

    def used(self):
        return self.there()


class InAFrozenSet(Net):
    def begin(self):
        self.all = frozenset({self.gain})

    def used(self):
        return sum(self.all)


class InACachedFunction(Net):
    """`deepcopy` leaves the function, with all that it holds, to the model's own."""

    def begin(self):
        self.used = functools.lru_cache(maxsize=None)(lambda: self.gain * 2.0)


def warnings_of(model: nn.Module, forward=None) -> list[str]:
    stage = Stage("one", model.eval(), cross_entropy, examples(), forward=forward)
    return attribute(Study("one", [stage], examples()), method="identity", progress=False).report["warnings"]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Global, r"\(5,\)"),
        (Unregistered, r"\(5, 5\)"),
        (Weak, "is given: gain"),
        (InAFrozenSet, "keeps values of gain where they cannot be exchanged"),
        (InACachedFunction, "is given: gain"),
    ],
)
def test_parameters_that_the_scores_miss_are_named(model, named):
    torch.manual_seed(1)
    (warning,) = warnings_of(model().double())
    assert re.search(named, warning)


def test_a_tensor_kept_from_a_call_before_is_named():
    model = KeptAsAnAttribute().double().eval()
    with torch.no_grad():
        model(examples().tensors[0])
    (warning,) = warnings_of(model)
    assert "depends on gain" in warning


def test_a_forward_that_uses_the_model_it_closes_over():
    model = Net().double()

    def forward(given, batch):
        return given.head(torch.tanh(model.enter(batch[0]) * given.gain))

    (warning,) = warnings_of(model, forward)
    assert "enter.weight" in warning


def test_a_teacher_that_is_not_trained_is_no_fault():
    model, teacher = Net().double(), copy.deepcopy(Net()).double().requires_grad_(False)
    assert not warnings_of(model, lambda given, batch: given(batch[0]) - teacher(batch[0]))


# What a model keeps besides tensors


class Counting(Net):
    """Everything that it counts by changes its outputs."""

    def begin(self):
        self.calls, self.seen, self.kinds, self.queue = 0, [], set(), deque(maxlen=4)
        self.nested, logged = {"shapes": [[]]}, []
        self.head.register_forward_hook(lambda module, given, found: logged.append(found) or found / len(logged))
        self.logged = lambda: logged

    def forward(self, x):
        found = super().forward(x) * (1 + self.calls + len(self.seen) + len(self.kinds) + len(self.queue))
        self.calls += 1
        self.seen.append(x.mean())
        self.kinds.add(float(x.sum()))
        self.queue.append(x)
        self.nested["shapes"][0].append(x.shape)
        return found * len(self.nested["shapes"][0])


@pytest.mark.parametrize("method", ["identity", "cg", "ekfac"])
def test_counters_and_lists_of_a_model_are_as_before_at_every_call(method):
    torch.manual_seed(1)
    counting, plain = Counting().double(), Net().double()
    plain.load_state_dict(counting.state_dict())
    scores = [
        attribute(
            Study("one", [Stage("one", model, cross_entropy, examples(), l2=0.1)], examples()),
            method=method, progress=False, batch_size=5,
        ).values
        for model in (counting, plain)
    ]  # fmt: skip
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-7)
    assert (counting.calls, counting.seen, counting.kinds, list(counting.queue)) == (0, [], set(), [])
    assert (counting.nested, counting.logged()) == ({"shapes": [[]]}, [])
