"""Scores of other kinds than an example's under one objective: of tokens, through recorded steps, of a base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import peft
import torch
import transformers
from comparison import Row, Setup
from retraining import Part
from torch import Tensor
from torch.func import functional_call
from torch.utils.data import TensorDataset
from truth import flat

from families import adapters, losses, stages
from families.transformers_models import PLACES, SIZES, TEXT, M, logits, over_classes, padded, texts
from influence import Recipe, Study, attribute, record, token_influence

KIND = "Other scores"


class Scored:
    """What `compare` asks of a row, with the parts that most of these have."""

    tolerance, methods = 1e-3, ("identity", "exact", "cg")

    def prepare(self):
        pass

    def epochs(self):
        return {}


class Tokens(Scored):
    """Scores (Q, m L) of the L next words of each text."""

    def __init__(self):
        self.whole = replace(losses.words(False)(), steps=0)
        self.whole.loss = lambda o, b: self.shares(o, b).sum(1)

    def shares(self, o, b):
        return torch.nn.functional.cross_entropy(o.transpose(1, 2), b[1], reduction="none") / b[1].shape[1]

    def scored(self, method):
        queries, count = range(len(self.whole.queries)), len(self.whole.examples)
        pairs = dict.fromkeys(queries, range(count))
        options = {} if method == "identity" else {"damping": self.whole.l2}
        found = token_influence(self.whole.study(), pairs, self.shares, method=method, **options)
        values = np.stack([np.concatenate([found[q][z] for z in range(count)]) for q in queries])
        return values, {"warnings": [], "notes": [], "without_rule": {}}

    def wanted(self, method):
        one, examples = self.whole.side(), self.whole.examples
        length = len(examples[0][1])
        each = []
        for place in range(length):
            one.loss = lambda o, b, place=place: self.shares(o, b)[:, place]
            each.append(one.gradients(examples))
        truth = replace(
            self.whole.side().truth(examples, self.whole.queries), examples=torch.stack(each, 1).flatten(0, 1)
        )
        return length * (truth.products() if method == "identity" else truth.scores(2 * self.whole.l2)).numpy()


@dataclass
class Replay(Scored):
    """Scores by the derivative through every step of trainings on whole data sets."""

    parts: Sequence[Part]
    recipe: Recipe
    inputs: Tensor
    targets: Tensor
    tolerance: float = 1e-5
    methods: Sequence[str] = ("replay",)

    def scored(self, method):
        made, recordings = [], []
        for i, part in enumerate(self.parts):
            made.append(part.stage(f"stage{i}", dict(part.model.state_dict())))
            recordings.append(record(made[-1], recordings[-1] if recordings else None, self.recipe))
        for recording in recordings:
            recording.apply()
        study = Study("replay", made, TensorDataset(self.inputs, self.targets))
        scores = attribute(study, method=method, recordings=recordings, progress=False)
        return scores.values, {"without_rule": {}, **scores.report}

    def wanted(self, method):
        weights = torch.ones(len(self.parts[0].inputs), dtype=torch.float64, requires_grad=True)
        ended: dict[str, Tensor] = {}
        for part in self.parts:
            ended = self._trained(part, ended, weights if part is self.parts[0] else torch.ones(len(part.inputs)))
        each = self.parts[-1].loss(functional_call(self.parts[-1].model, ended, (self.inputs,)), self.targets)
        return -torch.stack([torch.autograd.grad(q, weights, retain_graph=True)[0] for q in each]).numpy()

    def _trained(self, part, before, weights):
        """The values after the last step, as functions of `weights` and of the values `before`."""
        start = {n: p.detach().clone() for n, p in part.model.named_parameters()}
        start |= {here: before[there] for here, there in part.pairs(before).items()}
        fixed = {n: v for n, v in start.items() if any(n.startswith(p.rstrip("*")) for p in part.frozen)}
        here = {n: v if v.requires_grad else v.requires_grad_() for n, v in start.items() if n not in fixed}
        held = [n for n in part.pairs(before) if n in here]
        kept = {n: [torch.zeros_like(v)] * 2 for n, v in here.items()}
        for step in range(1, self.recipe.steps + 1):
            each = part.loss(functional_call(part.model, fixed | here, (part.inputs,)), part.targets)
            value = (weights * each).mean() + part.l2 / 2 * sum(v.square().sum() for v in here.values())
            value = value + part.proximity * sum((here[n] - start[n]).square().sum() for n in held)
            slopes = torch.autograd.grad(value, list(here.values()), create_graph=True)
            for (name, point), slope in zip(list(here.items()), slopes, strict=True):
                here[name], kept[name] = self._step(step, point, slope, *kept[name])
        return fixed | here

    def _step(self, step, point, slope, first, second):
        rate, (keep, squares) = self.recipe.learning_rate, self.recipe.betas
        if self.recipe.optimiser == "sgd":
            first = self.recipe.momentum * first + slope
            return point - rate * first, [first, second]
        first, second = keep * first + (1 - keep) * slope, squares * second + (1 - squares) * slope.square()
        root = (second / (1 - squares**step) + self.recipe.eps_root).sqrt()
        return point - rate * first / (1 - keep**step) / root, [first, second]


@dataclass
class Pretrained(Scored):
    """Examples of a base model, scored for queries of a model that was finetuned from it and trains few parameters.

    Args:
        before, after: the two stages; `after` freezes what it inherits.
        origin: name in `after` -> name in `before`.
    """

    before: Setup
    after: Setup
    origin: dict[str, str]

    def scored(self, method):
        made = []
        for name, setup in (("pretrain", self.before), ("finetune", self.after)):
            stage = setup.study().stages[0]
            stage.name = name
            made.append(stage)
        study = Study("base", made, self.after.queries)
        scores = attribute(study, method=method, damping=self.before.l2, progress=False)
        return scores.values, scores.report

    def wanted(self, method):
        ridge = 2 * self.before.l2
        trained = self.after.side()
        truth = trained.truth(self.after.examples, self.after.queries)
        solved = truth.queries if method == "identity" else truth._solved(slice(None), ridge)
        pulled = self._pulled(trained, solved)
        before = replace(self._base, queries=pulled)
        return (before.products() if method == "identity" else before.scores(ridge)).numpy()

    @cached_property
    def _base(self):
        return self.before.side().truth(self.before.examples, self.before.queries)

    def _pulled(self, side, solved):
        """q_F - H_FT v, in the places of the base model's parameters."""
        here = dict(side.model.named_parameters())
        base = self.before.side()
        places = {there: here[name].requires_grad_() for name, there in self.origin.items()}
        points = [places.get(name, p) for name, p in zip(base.trained, base.parameters, strict=True)]
        rows = []
        for query, v in zip(self.after.queries, solved, strict=True):
            row = self._slope(side, query, points)
            for example in self.after.examples:
                batch = side.batch(example)
                value = side.loss(side.outputs(batch), batch).sum()
                along = flat_with_graph(torch.autograd.grad(value, side.parameters, create_graph=True)) @ v
                found = torch.autograd.grad(along, points, allow_unused=True)
                row = row - flat(found, points) / len(self.after.examples)
            rows.append(row)
        return torch.stack(rows)

    def _slope(self, side, example, points):
        batch = side.batch(example)
        value = side.loss(side.outputs(batch), batch).sum()
        return flat(torch.autograd.grad(value, points, allow_unused=True), points)


def flat_with_graph(tensors):
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def bert(classes):
    # Fused attention has no second derivatives.
    config = transformers.BertConfig(**{**TEXT, "num_labels": classes}, **SIZES, **PLACES, attn_implementation="eager")
    return transformers.BertForSequenceClassification(config)


def lora():
    """A pretrained BERT, and a LoRA model of it with a new head for other classes."""
    base, rows, shape = bert(3), texts(), {"forward": logits, "collate": padded}
    before = Setup(base, over_classes, rows[:M], rows[M:], **shape)
    model = bert(2)
    model.bert.load_state_dict(base.bert.state_dict())
    adapter = peft.LoraConfig(task_type="SEQ_CLS", r=1, target_modules=["query"])
    model = adapters.stirred(peft.get_peft_model(model, adapter))
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    halves = [(row, label % 2) for row, label in texts()]
    after = Setup(model, over_classes, halves[:M], halves[M:], frozen=frozen, **shape)
    plain = {name.removeprefix("base_model.model.").replace(".base_layer", ""): name for name in frozen}
    return Pretrained(before, after, {plain[name]: name for name, _ in base.bert.named_parameters(prefix="bert")})


def replayed(optimiser, *parts):
    recipe = Recipe(6, stages.M, 0.05, optimiser=optimiser, eps_root=1e-4)
    x = stages.inputs(stages.Q)
    return Replay(parts, recipe, x, stages.labels(x, 2 if len(parts) > 1 else 3))


def one_stage():
    return replayed("sgd", stages.classified(stages.Net(3), 3))


def two_stages():
    after = stages.classified(stages.Net(2, "top"), 2, frozen=("first*",), proximity=0.2)
    return replayed("adam", stages.classified(stages.Net(3), 3), after)


SCORES = {
    "tokens of texts": Tokens,
    "replay of SGD, one stage": one_stage,
    "replay of Adam, two stages": two_stages,
    "BERT, then LoRA with another head": lora,
}
ROWS = [Row(KIND, name, make, quick=True) for name, make in SCORES.items()]
