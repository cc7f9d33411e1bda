"""The matrix of all relabellings, against one gradient an example and class, and against edits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import Net, data
from torch import nn
from torch.func import functional_call, grad
from torch.nn import functional
from torch.utils.data import Subset, TensorDataset

from influence import Stage, Study, attribute, edit_scores, edits, relabel_scores, targets
from influence.attribution.chain import Chain
from influence.attribution.edits.relabel import label_effects
from influence.attribution.guards import solver_of
from influence.errors import StudyError

OPTIONS = {"method": "exact", "progress": False, "damping": 1.0}
WEIGHT = torch.tensor([0.5, 1.0, 2.0]).double()

LOSSES = {
    "cross-entropy": lambda z, y: functional.cross_entropy(z, y, reduction="none"),
    "smooth": lambda z, y: functional.cross_entropy(z, y, reduction="none", label_smoothing=0.1),
    "weighted": lambda z, y: functional.cross_entropy(z, y, reduction="none", weight=WEIGHT),
    "log-probabilities": lambda z, y: functional.nll_loss(z.log_softmax(1), y, reduction="none"),
    "focal": lambda z, y: (1 - z.softmax(1).gather(1, y[:, None])[:, 0]) ** 2 * functional.cross_entropy(
        z, y, reduction="none"
    ),
    "squared hinge": lambda z, y: (1 + z - z.gather(1, y[:, None])).clamp(min=0).square().sum(1),
}  # fmt: skip


def study_of(rule, **stage) -> Study:
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    first = Stage("pretrain", Net(3), lambda z, b: rule(z, b[1]), data(30, 3, 3, g), l2=0.05, **stage)
    second = Stage("finetune", Net(2), lambda z, b: functional.cross_entropy(z, b[1], reduction="none"),
                   data(20, 3, 2, g), l2=0.05, frozen=["first.*", "second.*"])  # fmt: skip
    return Study("random", [first, second], data(5, 3, 2, g))


@pytest.mark.parametrize("name", LOSSES)
def test_every_number_is_the_difference_of_two_gradients(name):
    """The pulled-back and solved queries are read off scores of examples with known gradients."""
    study, rule = study_of(LOSSES[name]), LOSSES[name]
    x, y = study.stages[0].data.tensors
    model = study.stages[0].model
    values = {n: p.detach() for n, p in model.named_parameters()}

    def one(parameters, row, label):
        return rule(functional_call(model, parameters, (x[row : row + 1],)), torch.tensor([label]))[0]

    rows = [torch.cat([s.flatten() for s in grad(one)(values, row, int(y[row])).values()]) for row in range(30)]
    scores = torch.from_numpy(attribute(study, **OPTIONS).values).double()
    found = relabel_scores(study, **OPTIONS)
    assert found.values.shape == (5, 30, 3)
    assert found.stage == "pretrain"
    every = torch.stack(rows)
    for row in (0, 7, 29):
        for label in range(3):
            change = rows[row] - torch.cat([s.flatten() for s in grad(one)(values, row, label).values()])
            # The change of gradient as a mixture of the examples' gradients, whose scores are known.
            mixture = torch.linalg.lstsq(every.T, change[:, None], driver="gelsd").solution[:, 0]
            if (every.T @ mixture - change).norm() < 1e-9 * (1 + change.norm()):
                expected = scores @ mixture
                np.testing.assert_allclose(found.values[:, row, label], expected, rtol=1e-3, atol=1e-5)
    made = [edits.relabel("pretrain", [row], [label]) for row in (0, 7, 29) for label in range(3)]
    alone = edit_scores(study, made, **OPTIONS).values.reshape(5, 3, 3)
    np.testing.assert_allclose(found.values[:, [0, 7, 29]], alone, rtol=1e-5, atol=1e-8)
    assert not found.values[:, np.arange(30), y.numpy()].any()


def test_the_size_of_batches_and_the_form_of_examples_make_no_difference():
    rule = LOSSES["cross-entropy"]
    study = study_of(rule)
    expected = relabel_scores(study, **OPTIONS).values
    np.testing.assert_allclose(relabel_scores(study, batch_size=7, **OPTIONS).values, expected, rtol=1e-5, atol=1e-9)
    x, y = study.stages[0].data.tensors
    listed = [{"inputs": x[i], "labels": int(y[i])} for i in range(30)]

    def padded(examples):
        return {
            "x": torch.stack([e["inputs"] for e in examples]),
            "classes": torch.tensor([e["labels"] for e in examples]),
        }

    forms = {
        "dicts": Stage("pretrain", study.stages[0].model, lambda z, b: rule(z, b["labels"]), listed, l2=0.05,
                       forward=lambda m, b: m(b["inputs"])),
        "a collate of other names": Stage("pretrain", study.stages[0].model, lambda z, b: rule(z, b["classes"]), listed,
                                          l2=0.05, forward=lambda m, b: m(b["x"]), collate=padded),
    }  # fmt: skip
    for stage in forms.values():
        other = Study("other", [stage, study.stages[1]], study.queries)
        np.testing.assert_allclose(relabel_scores(other, **OPTIONS).values, expected, rtol=1e-5, atol=1e-9)


def test_effects_of_some_examples_are_those_of_all():
    study = study_of(LOSSES["cross-entropy"])
    chain = Chain(study, 0, solver_of("exact", 1.0, "ggn", {}))
    *_, (objective, solved) = chain.pull_back(chain.query_gradients())
    some = Subset(study.stages[0].data, [4, 29, 0])
    ((positions, found),) = label_effects(objective, solved, 3, some)
    assert positions == slice(0, 3)
    np.testing.assert_allclose(found, relabel_scores(study, **OPTIONS).values[:, [4, 29, 0]], rtol=1e-5, atol=1e-8)


def test_of_the_last_stage_and_of_targets():
    study = study_of(LOSSES["cross-entropy"])
    last = relabel_scores(study, "finetune", **OPTIONS)
    assert last.values.shape == (5, 20, 2)
    alone = edit_scores(study, [edits.relabel("finetune", [4], [label]) for label in range(2)], **OPTIONS).values
    np.testing.assert_allclose(last.values[:, 4], alone, rtol=1e-5, atol=1e-9)
    whole = relabel_scores(study, targets=[targets.mean(range(5))], **OPTIONS).values
    np.testing.assert_allclose(whole[0], relabel_scores(study, **OPTIONS).values.mean(0), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("wide", [True, False])
def test_one_output_with_yes_or_no_has_two_classes(wide):
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    x = torch.randn(20, 3, generator=g).double()
    y = (x[:, 0] > 0).double()[:, None] if wide else (x[:, 0] > 0).double()
    model = nn.Sequential(nn.Linear(3, 1), *([] if wide else [nn.Flatten(0)])).double()

    def rule(z, batch):
        return functional.binary_cross_entropy_with_logits(z, batch[1], reduction="none").flatten()

    study = Study("yes", [Stage("only", model, rule, TensorDataset(x, y), l2=0.1)], TensorDataset(x[:4], y[:4]))
    found = relabel_scores(study, **OPTIONS).values
    assert found.shape == (4, 20, 2)
    label = [[1 - float(y.flatten()[3])]] if wide else [1 - float(y[3])]
    alone = edit_scores(study, [edits.relabel("only", [3], label)], **OPTIONS).values[:, 0]
    np.testing.assert_allclose(found[:, 3, int(1 - y.flatten()[3])], alone, rtol=1e-5)


def test_a_stage_without_classes_is_named():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=g).double()
    model = nn.Linear(3, 1).double()

    def squares(z, batch):
        return (z[:, 0] - batch[1]).square()

    study = Study("line", [Stage("only", model, squares, TensorDataset(x, x[:, 0]), l2=0.1)], TensorDataset(x, x[:, 0]))
    with pytest.raises(StudyError, match="'only' has no classes"):
        relabel_scores(study, **OPTIONS)
    with pytest.raises(StudyError, match="no stage 'other'"):
        relabel_scores(study, "other", **OPTIONS)
    moved = edit_scores(study, [edits.relabel("only", [2], [0.7])], **OPTIONS).values
    assert moved.any()


def test_a_stage_without_classes_is_refused_before_its_curvature(monkeypatch):
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
    stage = Stage("only", nn.Linear(3, 1).double(), lambda z, b: (z[:, 0] - b[1]).square(), TensorDataset(x, x[:, 0]))
    monkeypatch.setattr("influence.curvature.exact.Exact.fit", lambda _: pytest.fail("curvature was computed"))
    with pytest.raises(StudyError, match="'only' has no classes"):
        relabel_scores(Study("line", [stage], TensorDataset(x, x[:, 0])), **OPTIONS)


def test_an_example_whose_label_is_ignored_may_get_any():
    study = study_of(LOSSES["cross-entropy"])
    y = study.stages[0].data.tensors[1]
    y[[0, 5]] = -100
    found = relabel_scores(study, **OPTIONS).values
    made = [edits.relabel("pretrain", [5], [label]) for label in range(3)]
    alone = edit_scores(study, made, **OPTIONS).values
    np.testing.assert_allclose(found[:, 5], alone, rtol=1e-5, atol=1e-8)
    assert found[:, 5].all()


def test_a_thousand_classes_and_outputs_that_no_loss_depends_on():
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    x, y = torch.randn(12, 3, generator=g).double(), torch.randint(1000, (12,), generator=g)
    model, data = nn.Linear(3, 1000).double(), TensorDataset(x, y)

    def rule(outputs, batch):
        return functional.cross_entropy(outputs["logits"], batch[1], reduction="none")

    def forward(model, batch):
        logits = model(batch[0])
        return {"hidden": logits.tanh(), "loss": logits.sum(), "logits": logits}

    study = Study("wide", [Stage("only", model, rule, data, l2=0.1, forward=forward)], TensorDataset(x[:2], y[:2]))
    found = relabel_scores(study, method="identity", progress=False).values
    made = [edits.relabel("only", [3], [label]) for label in (0, 500, 999)]
    alone = edit_scores(study, made, method="identity", progress=False).values
    np.testing.assert_allclose(found[:, 3, [0, 500, 999]], alone, rtol=1e-5, atol=1e-8)


def test_batches_of_a_tokenizers_class_and_texts_padded_in_python():
    transformers = pytest.importorskip("transformers")
    rng = np.random.default_rng(0)
    data = [{"ids": rng.integers(1, 9, n).tolist(), "labels": int(rng.integers(3))} for n in (2, 5, 3, 3, 7, 4) * 4]

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table, self.head = nn.Embedding(9, 4, padding_idx=0), nn.Linear(4, 3)
            self.double()

        def forward(self, input_ids):
            return self.head(torch.tanh(self.table(input_ids).sum(1)))

    def collate(kind):
        def batch(examples):
            longest = max(len(e["ids"]) for e in examples)
            ids = torch.tensor([e["ids"] + [0] * (longest - len(e["ids"])) for e in examples])
            return kind({"input_ids": ids, "labels": torch.tensor([e["labels"] for e in examples])})

        return batch

    def rule(z, batch):
        return functional.cross_entropy(z, batch["labels"], reduction="none")

    found = []
    for kind in (dict, transformers.BatchEncoding):
        stage = Stage("texts", Bag(), rule, data, l2=0.1, collate=collate(kind), forward=lambda m, b: m(b["input_ids"]))
        study = Study("texts", [stage], data[:3])
        found.append(relabel_scores(study, **OPTIONS).values)
        made = [edits.relabel("texts", [row], [label]) for row in (0, 4) for label in range(3)]
        alone = edit_scores(study, made, **OPTIONS).values.reshape(3, 2, 3)
        np.testing.assert_allclose(found[-1][:, [0, 4]], alone, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-9)
