"""The numbers of the plane: JavaScript in the browser against the library, and against training by other code."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from explorer.lesson import plane
from influence import Stage, Study, attribute, edit_effect, edits

REPOSITORY = Path(__file__).parents[2]
COMPONENTS = REPOSITORY / "explorer" / "components"
HIDDEN = 2
# The browser's scores, both stages trained, the loss, and what leaving out a few points alone and together measures.
ASK = """([data, left]) => {
  const setting = { ...data, alpha: data.alpha ?? Infinity }, model = trained(setting, START);
  return {
    pretrained: [...model.pretrained], finetuned: [...model.finetuned], scores: scoresOf(setting, model),
    loss: lossAt(model.finetuned, setting.query),
    measured: left.map((places) => measuredWithout(setting, model, new Set(places))),
  };
}"""
LEFT = [[3], [6], [9], [3, 13, 19]]


class Net(nn.Module):
    """The component's model."""

    def __init__(self, classes: int):
        super().__init__()
        self.body = nn.Linear(2, HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)
        self.double()

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


@pytest.fixture(scope="module")
def minima() -> Any:
    """The optimiser that the backend's own tests compare with."""
    spec = importlib.util.spec_from_file_location("minima", REPOSITORY / "tests" / "influence" / "minima.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scripts(context):
    """A blank page with the numbers' script, and where its training starts."""
    page = context.new_page()
    page.add_script_tag(content=(COMPONENTS / "plane" / "two_stages.js").read_text())
    source = (COMPONENTS / "plane" / "plane.js").read_text()
    start = source[source.index("const START = {") :]
    page.add_script_tag(content=start[: start.index("};") + 2])
    yield page
    page.close()


def tensors(points: tuple[plane.Point, ...]) -> TensorDataset:
    return TensorDataset(
        torch.tensor([point.x for point in points], dtype=torch.float64), torch.tensor([point.y for point in points])
    )


def net(theta: list[float], classes: int) -> Net:
    """The model with parameters as the component lays them out: weights and bias by hidden unit, then by class."""
    made, flat = Net(classes), torch.tensor(theta, dtype=torch.float64)
    body, head = flat[: 3 * HIDDEN].view(HIDDEN, 3), flat[3 * HIDDEN :].view(classes, HIDDEN + 1)
    with torch.no_grad():
        for layer, block in ((made.body, body), (made.head, head)):
            layer.weight.copy_(block[:, :-1])
            layer.bias.copy_(block[:, -1])
    return made


def study(shown: plane.Plane, said: dict[str, Any], loss: Any) -> Study:
    frozen = ["body.*"] if shown.alpha is None else []
    first = Stage("pretrain", net(said["pretrained"], 3), loss, tensors(shown.points), l2=plane.L2)
    second = Stage(
        "finetune", net(said["finetuned"], 2), loss, tensors(shown.finetune), l2=plane.L2, frozen=frozen,
        proximity=shown.alpha or 0.0,
    )  # fmt: skip
    return Study("plane", [first, second], tensors((shown.query,)))


def retrained(made: Study, minima: Any, left: list[int]) -> float:
    """Loss of the query after both stages were trained again without some points."""
    first, second = made.stages
    weights = torch.ones(len(first.data), dtype=torch.float64)
    weights[left] = 0
    minima.minimise(first, {}, weights)
    body = {name: p.detach().clone() for name, p in first.model.named_parameters() if name.startswith("body.")}
    if second.frozen:
        second.model.load_state_dict(body, strict=False)
    minima.minimise(second, body)
    x, y = made.queries.tensors
    return nn.functional.cross_entropy(second.model(x), y).item()


CASES = {
    "frozen": plane.FIRST,
    "held": dataclasses.replace(plane.FIRST, alpha=0.1),
    "moved": plane.parse("a=2.5_q=0.3,-0.4,1_4=0.5,-1.2,2_17=-1.5,-1.5,0"),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_and_retraining_are_the_librarys(scripts, minima, name):
    shown = CASES[name]
    said = scripts.evaluate(ASK, [shown.data(), LEFT])
    made = study(shown, said, minima.loss)
    scores = attribute(made, method="exact", curvature="hessian", damping=0.0, progress=False).values[0]
    # The library's scores are kept in float32.
    assert np.abs(scores - said["scores"]).max() < 1e-6 * np.abs(scores).max()
    before = retrained(made, minima, [])
    assert before == pytest.approx(said["loss"], abs=1e-9)
    for left, measured in zip(LEFT, said["measured"], strict=True):
        after = retrained(study(shown, said, minima.loss), minima, left)
        assert after - before == pytest.approx(measured, abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_new_labels_are_the_librarys_edits(scripts, minima, name):
    """Of point 4, from the label that the plane has to that of its neighbours; predicted and trained again."""
    shown, places, labels = CASES[name], [3], [0]
    said = scripts.evaluate(ASK, [shown.data(), []])
    points = list(shown.points)
    for place, label in zip(places, labels, strict=True):
        points[place] = dataclasses.replace(points[place], y=label)
    now, before = dataclasses.replace(shown, points=tuple(points)), [point.y for point in shown.points]
    ask = "([data, before]) => relabelling({ ...data, alpha: data.alpha ?? Infinity }, before, START)"
    predicted, measured = scripts.evaluate(ask, [now.data(), before])
    made, edit = study(shown, said, minima.loss), edits.relabel("pretrain", places, labels)
    options = {"method": "exact", "curvature": "hessian", "damping": 0.0, "progress": False}
    assert predicted == pytest.approx(edit_effect(made, edit, steps=0, **options).first[0], rel=1e-5)
    after = retrained(study(now, said, minima.loss), minima, [])
    assert after - said["loss"] == pytest.approx(measured, abs=1e-8)


def test_a_feathers_weight_changes_the_loss_as_predicted(scripts):
    """Where a point weighs a little less, the loss moves along its score: the derivative, without any solve."""
    found = scripts.evaluate(
        """(data) => {
          const setting = { ...data, alpha: 0.3 }, model = trained(setting, START), step = 1e-4;
          return scoresOf(setting, model).map((score, place) => {
            const weights = even(setting.points).map((weight, i) => (i === place ? weight * (1 - step) : weight));
            const again = trainedOn(setting, model, weights);
            const moved = lossAt(again.finetuned, setting.query) - lossAt(model.finetuned, setting.query);
            return [score, moved / step];
          });
        }""",
        plane.FIRST.data(),
    )
    scores, slopes = np.array(found).T
    assert np.abs(scores - slopes).max() < 2e-3 * np.abs(scores).max()


def test_the_first_plane_has_one_minimum_however_training_starts(scripts):
    """So that what is seen at first is the model's, and not its start's."""
    losses = scripts.evaluate(
        """(data) => [0, 1, 2, 3, 4, 5, 6, 7].map((seed) => {
          const setting = { ...data, alpha: Infinity };
          const start = (size) => Array.from({ length: size }, (_, i) => Math.sin(7.3 * (seed + 1) * (i + 1)));
          return lossAt(trained(setting, { pretrained: start(15), head: start(6) }).finetuned, setting.query);
        })""",
        plane.FIRST.data(),
    )
    assert losses == pytest.approx([losses[0]] * len(losses), abs=1e-8)
