"""What `Stage`, `Study` and `attribute` answer to what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_data, tiny_loss, tiny_net, tiny_stages, tiny_study
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from influence import Stage, Study, attribute
from influence.errors import CurvatureError, LossError, MethodError, StudyError
from influence.study.parameters import groups_of, l2_of
from influence.training.minimum import fit_stage


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])

    def __len__(self):
        return 3


DATA = tiny_data(8, 3)
EMPTY = TensorDataset(torch.empty(0, 4), torch.empty(0))


def stage(**changes):
    arguments = {"name": "pretrain", "model": tiny_net(2), "loss": tiny_loss, "data": tiny_data(8, 2)}
    return Stage(**arguments | changes)


def ask(study, **options):
    return attribute(study, **{"method": "exact", "progress": False, **options})


# Stage


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
        stage(**changes)
    assert message in str(error.value)


def test_numbers_of_numpy_are_numbers():
    assert stage(l2=np.float32(0.5), proximity=np.int64(1)).l2 == 0.5


def test_the_first_pattern_of_l2_that_matches_counts_and_others_have_none():
    tied = tiny_net(2)
    tied.again = tied.head
    groups = {"again.bias": 3, "head.*": 2, "*.weight": 1}
    expected = {"body.0.weight": 1.0, "body.0.bias": 0.0, "head.weight": 2.0, "head.bias": 3.0}
    assert l2_of(stage(model=tied, l2=groups)) == expected
    assert l2_of(stage(l2=0.5)) == dict.fromkeys(expected, 0.5)


# Study


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Study("s", [], EMPTY), "Study 's' has no stages; it needs at least one"),
        (lambda: Study("s", stage(), DATA), "Study 's': stages is a Stage, expected a list of Stage"),
        (lambda: Study("s", [tiny_net(2)], DATA), "Study 's': stages holds a TinyNet, expected only Stage"),
        (lambda: Study("s", [stage(), stage()], DATA), "has 2 stages called 'pretrain'; give each its own name"),
        (lambda: Study("s", [stage()], EMPTY), "Study 's': queries is empty, expected at least one example"),
        (lambda: Study("s", [stage()], Stream()), "Study 's': queries is an IterableDataset"),
        (lambda: Study("s", [stage()], DATA, measure="loss"), "Study 's': measure is 'loss', expected a function"),
        (lambda: Study("s", [stage(model=nn.Tanh())], DATA), "the model has no parameters"),
        (
            lambda: Study("s", [stage(inherits={"head.bias": "head.bias"})], DATA),
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
            [stage(), Stage(**{"name": "finetune", "model": tiny_net(3), "loss": tiny_loss, "data": DATA, **changes})],
            DATA,
        )
    assert message in str(error.value)


# attribute


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stage": "pre"}, StudyError, "Study 'tiny' has no stage 'pre'; its stages are pretrain, finetune"),
        ({"method": "magic"}, MethodError, "magic"),
        ({"curvature": "fisher"}, MethodError, "There is no curvature 'fisher'; choose one of ggn, hessian"),
        ({"toleranse": 1}, MethodError, "Method 'exact' has no option 'toleranse'; it has "),
        ({"method": "cg", "tolerance": 2.0}, MethodError, "tolerance is 2.0, expected a share between 0 and 1"),
        ({"damping": -1.0}, MethodError, "Damping is -1.0, expected a finite number that is not negative"),
        ({"damping": float("nan")}, MethodError, "Damping is nan, expected a finite number"),
        ({"batch_size": 0}, MethodError, "batch_size is 0, expected at least 1"),
        ({"curvature": "hessian"}, CurvatureError, "Use damping="),  # an untrained model
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error) as caught:
        ask(tiny_study(), **options)
    assert message in str(caught.value)


def test_unknown_method_is_answered_with_the_known_ones():
    with pytest.raises(MethodError) as error:
        ask(tiny_study(), method="magic")
    for name in ("exact", "cg", "identity"):
        assert name in str(error.value)


def at_example(number, value, data):
    """A loss that is `value` at one example of `data`."""

    def loss(outputs, batch):
        here = (batch[0] == data.tensors[0][number]).all(-1)
        return torch.where(here, value, tiny_loss(outputs, batch))

    return loss


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda o, b: tiny_loss(o, b).mean(),
            "gave shape (), expected one value per example, shape (20,). Use reduction",
        ),
        (lambda o, b: tiny_loss(o, b)[:, None], "gave shape (20, 1), expected one value per example, shape (20,)"),
        (lambda o, b: tiny_loss(o, b)[1:], "gave shape (19,), expected one value per example, shape (20,)"),
        (lambda o, b: tiny_loss(o, b).tolist(), "gave a list, expected one value per example"),
    ],
)
def test_loss_that_is_not_one_value_per_example(loss, message):
    study = tiny_study()
    study.stages[1].loss = loss
    with pytest.raises(LossError) as error:
        ask(study)
    assert f"Stage 'finetune': the loss of a batch of 20 {message}" in str(error.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("position", "name", "number"), [(0, "pretrain", 33), (1, "finetune", 7)])
def test_loss_that_is_not_finite_names_the_example(value, position, name, number):
    study = tiny_study()
    study.stages[position].loss = at_example(number, float(value), study.stages[position].data)
    with pytest.raises(LossError, match=rf"Stage '{name}': the loss of example {number} is {value}, expected a finite"):
        ask(study, batch_size=6)


def test_measure_is_checked_too():
    study = tiny_study()
    for measure, message in (
        (lambda o, b: o.sum(), r"expected one value per example, shape \(6,\)"),
        (at_example(4, float("nan"), study.queries), "example 4 is nan"),
    ):
        with pytest.raises(LossError, match=message):
            ask(Study("tiny", study.stages, study.queries, measure))


# Warnings


def trained(study: Study) -> Study:
    """The study at the minima of its stages."""
    for previous, stage in study.pairs():
        fit_stage(stage, previous)
    return study


def test_no_warning_where_there_is_nothing_to_warn_of():
    report = ask(trained(tiny_study())).report
    assert (report["warnings"], report["notes"], report["not_covered"]) == ([], [], {})


def test_a_frozen_parameter_with_another_value_than_it_inherited_warns():
    study = trained(tiny_study())
    with torch.no_grad():
        study.stages[0].model.body[0].bias += 0.25
    distance, warning = ask(study).report["warnings"]
    assert "Stage 'pretrain' does not stand at a minimum" in distance
    assert "Stage 'finetune': body.0.bias in `frozen` differ from stage 'pretrain' by up to 0.25" in warning
    assert ask(study, stage="finetune").report["warnings"] == []


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(MethodError, match="Device 'nonsense' cannot be used here"):
        ask(tiny_study(), device="nonsense")


def test_proximity_zero_warns_that_nothing_flows_back():
    study = trained(tiny_study(frozen=False, proximity=0.0))
    scores = ask(study)
    assert len(scores.report["warnings"]) == 1
    assert "Stage 'finetune' trains 2 inherited parameters with proximity 0" in scores.report["warnings"][0]
    assert not scores.values.any()
    assert ask(study, stage="finetune").report["warnings"] == []  # where nothing is to flow back


def test_requires_grad_off_but_not_frozen_warns_and_counts_as_trained():
    study = trained(tiny_study(frozen=False))
    plain = ask(study)
    study.stages[1].model.body.requires_grad_(False)
    scores = ask(study)
    assert len(scores.report["warnings"]) == 1
    assert "Stage 'finetune': body.0.weight, body.0.bias have requires_grad=False" in scores.report["warnings"][0]
    np.testing.assert_allclose(scores.values, plain.values)


def test_frozen_in_the_first_stage_is_reported_as_not_covered():
    stages = tiny_stages()
    first = Stage("pretrain", stages[0].model, tiny_loss, stages[0].data, l2=0.02, frozen=["body.0.bias"])
    report = ask(Study("tiny", [first, stages[1]], tiny_data(4, 3))).report
    assert report["not_covered"] == {"pretrain": ["body.0.bias"]}


# Tied weights and generators


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


# What torch cannot differentiate


def test_parameters_that_are_complex_or_have_no_shape_are_named():
    model = nn.Linear(4, 2)
    model.shift = nn.Parameter(torch.zeros(2, dtype=torch.cfloat))
    with pytest.raises(StudyError, match="Stage 'pretrain': parameter 'shift' is complex.*torch.complex"):
        stage(model=model)
    with pytest.raises(StudyError, match="Stage 'pretrain': parameter 'weight' has no shape yet. Call the model"):
        stage(model=nn.LazyLinear(2))


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "arnoldi", "lissa", "identity"])
def test_a_loss_that_is_linear_in_the_outputs_is_warned_about(method):
    """Of distances; what is left is solved all the same."""
    model = nn.Linear(4, 3).double()

    def loss(outputs, batch):
        return (outputs - 1).abs().sum(1)

    data = tiny_data(12, 3)
    found = ask(Study("far", [Stage("far", model, loss, data, l2=0.1)], data), method=method, damping=0.0)
    assert np.isfinite(found.values).all()
    warned = [warning for warning in found.report["warnings"] if "linear in what the model returns" in warning]
    if method == "identity":
        assert not warned
        return
    gradients = []
    for x, y in data:
        rows = torch.autograd.grad(loss(model(x[None]), [None, y[None]]).sum(), list(model.parameters()))
        gradients.append(torch.cat([row.flatten() for row in rows]))
    exact = torch.stack(gradients) @ torch.stack(gradients).T / 0.1 / len(data)
    np.testing.assert_allclose(found.values, exact.numpy(), rtol=0.02, atol=1e-6)
    assert warned
    assert found.report["unit"] == "order only"


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "arnoldi", "lissa"])
def test_log_probabilities_have_the_scores_of_logits(method):
    model, weights = nn.Linear(4, 3).double(), torch.tensor([1.0, 0.3, 2.0]).double()
    data = tiny_data(12, 3)
    logits = Stage("logits", model, lambda o, b: cross_entropy(o, b[1], weights, reduction="none"), data, l2=0.1)
    logs = Stage(
        "logs",
        nn.Sequential(model, nn.LogSoftmax(1)),
        lambda o, b: nll_loss(o, b[1], weights, reduction="none"),
        data,
        l2=0.1,
    )
    wanted, found = (ask(Study("one", [stage], data), method=method, damping=0.0) for stage in (logits, logs))
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-6, atol=1e-6 * abs(wanted.values).max())
    assert any("log-probabilities" in note for note in found.report["notes"])
    assert not any("linear" in warning for warning in found.report["warnings"])


def test_a_part_of_the_outputs_in_which_the_loss_is_linear_is_named():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.one(x), self.two(x)

    data = tiny_data(12, 3)
    stage = Stage(
        "two", Two().double(), lambda o, b: cross_entropy(o[0], b[1], reduction="none") + o[1].abs().sum(1), data
    )
    found = ask(Study("two", [stage], data), method="exact", damping=0.1)
    assert any("(tensor 1, counted from 0)" in warning for warning in found.report["warnings"])
    assert found.report["unit"] == "nat"
