"""Models that went through `torch.compile` or `torch.jit`, or stand in a wrapper: as fast and right as without it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from minima import data, loss
from torch import nn

from influence import Stage, Study, attribute
from influence.derivatives.eager import eager
from influence.study.parameters import groups_of, l2_of

FEATURES, CLASSES = 5, 3


@pytest.fixture
def compiled():
    """`torch.compile` by a backend that counts what it is given, and the count."""
    seen = []

    def backend(graph, _):
        seen.append(graph)
        return graph.forward

    torch._dynamo.reset()
    yield lambda what: torch.compile(what, backend=backend), seen
    torch._dynamo.reset()


class Net(nn.Module):
    def __init__(self, within=lambda module: module, activation=torch.tanh):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = within(nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh())), nn.Linear(4, CLASSES)
        self.activation = activation
        self.double()

    def forward(self, x):
        return self.head(self.activation(self.body(x)))


def in_place(model):
    model.compile(backend="eager")
    return model


def scores(model, method="exact", loss=loss):
    examples = data(9, FEATURES, CLASSES, torch.Generator().manual_seed(0))
    study = Study("one", [Stage("stage", model, loss, examples, l2=0.1)], examples)
    found = attribute(study, method=method, progress=False)
    missed = ("cannot be exchanged", "not registered", "keeps a tensor")
    assert not any(words in warning for warning in found.report["warnings"] for words in missed)
    return found.values


HOW = {
    "the model": lambda compile: (compile(Net()), loss),
    "a part of it": lambda compile: (Net(within=compile), loss),
    "a function that it calls": lambda compile: (Net(activation=compile(torch.tanh)), loss),
    "the loss": lambda compile: (Net(), compile(loss)),
}


@pytest.mark.parametrize(
    ("how", "method"), [*((how, "ekfac") for how in HOW), *(("the model", m) for m in ("exact", "cg", "identity"))]
)
def test_nothing_is_compiled_and_scores_are_the_same(compiled, how, method):
    compile, seen = compiled
    expected = scores(Net(), method)
    model, own = HOW[how](compile)
    model(torch.ones(2, FEATURES).double())  # as its user did
    before = len(seen)
    np.testing.assert_array_equal(scores(model, method, own), expected)
    assert len(seen) == before
    model(torch.ones(2, 3, FEATURES).double())
    assert len(seen) > before or how == "the loss"  # afterwards it is compiled as ever


@pytest.mark.parametrize(
    "wrapped",
    [
        in_place,
        nn.DataParallel,
        torch.jit.script,
        lambda model: torch.jit.trace(model, torch.ones(2, FEATURES).double()),
        lambda model: nn.Sequential(torch.jit.script(model.body), nn.Tanh(), model.head),
    ],
    ids=["compiled in place", "DataParallel", "script", "trace", "a scripted part"],
)
@pytest.mark.filterwarnings("ignore")
def test_other_wrappers(wrapped):
    found, expected = scores(wrapped(Net())), scores(Net())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_the_setting_is_taken_back_when_the_last_thread_leaves(compiled):
    compile, seen = compiled
    double = compile(lambda x: 2 * x)
    entered, leave = threading.Event(), threading.Event()

    def elsewhere():
        with eager():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=elsewhere)
    with eager():
        thread.start()
        entered.wait()
    double(torch.ones(2))
    assert not seen  # the other thread is still inside
    leave.set()
    thread.join()
    double(torch.ones(2))
    assert len(seen) == 1


@pytest.mark.parametrize("frozen", ["body.*", "_orig_mod.body.*"])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_names_are_written_as_before_compiling_or_as_after(compiled, frozen, prefix):
    compile, _ = compiled
    examples = data(9, FEATURES, CLASSES, torch.Generator().manual_seed(0))
    stated = {f"{prefix}body.0.{kind}": f"body.0.{kind}" for kind in ("weight", "bias")}
    for inherits in (None, stated):
        first, last = Net(), compile(Net())
        stages = [
            Stage("old", first, loss, examples, l2=0.1),
            Stage("new", last, loss, examples, l2={f"{prefix}head.*": 0.1}, frozen=[frozen], inherits=inherits),
        ]
        groups = groups_of(stages[1], stages[0])
        assert groups.frozen == ("_orig_mod.body.0.weight", "_orig_mod.body.0.bias")
        assert set(groups.held) == (set() if inherits else {"_orig_mod.head.weight", "_orig_mod.head.bias"})
        assert l2_of(stages[1])["_orig_mod.head.bias"] == 0.1
