"""Reference mini-batch training, as usual in PyTorch: in-place updates, `backward()`, an optimiser object."""

from __future__ import annotations

import copy

import torch
from minima import Net, data, decay_of, loss
from torch import nn

from influence import Stage
from influence.training.recipe import Recipe

SGD = Recipe(steps=25, batch_size=7, learning_rate=0.3, momentum=0.8, warmup=4, decay=True, seed=1)
ADAM = Recipe(steps=20, batch_size=6, learning_rate=0.05, optimiser="adam", betas=(0.8, 0.95), eps_root=1e-4, seed=2)


class RootAdam(torch.optim.Optimizer):
    """Adam with its eps under the root."""

    def __init__(self, parameters, recipe: Recipe):
        super().__init__(parameters, {"lr": recipe.learning_rate})
        self.recipe, self.steps = recipe, 0
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.param_groups[0]["params"]]

    @torch.no_grad()
    def step(self):
        self.steps += 1
        one, two = self.recipe.betas
        for p, (mean, square) in zip(self.param_groups[0]["params"], self.moments, strict=True):
            mean.lerp_(p.grad, 1 - one)
            square.lerp_(p.grad**2, 1 - two)
            size = (square / (1 - two**self.steps) + self.recipe.eps_root).sqrt()
            p -= self.param_groups[0]["lr"] * mean / (1 - one**self.steps) / size


def loop(stage: Stage, before: nn.Module | None, recipe: Recipe, weights: torch.Tensor | None = None) -> nn.Module:
    """A trained copy of the stage's model, begun at what it inherits from `before`."""
    model, (x, y) = copy.deepcopy(stage.model), stage.data.tensors
    weights = torch.ones(len(x), dtype=torch.float64) if weights is None else weights
    origin = {n: p.detach().clone() for n, p in before.named_parameters()} if before else {}
    pairs = stage.inherits or {n: n for n, p in model.named_parameters() if n in origin and origin[n].shape == p.shape}
    inherited = {here: origin[there] for here, there in pairs.items()} if before else {}
    model.load_state_dict(inherited, strict=False)
    trained = {n: p for n, p in model.named_parameters() if not any(n.startswith(f.rstrip("*")) for f in stage.frozen)}
    optimiser = (
        torch.optim.SGD(trained.values(), lr=1.0, momentum=recipe.momentum)
        if recipe.optimiser == "sgd"
        else RootAdam(trained.values(), recipe)
    )
    for step, positions in enumerate(recipe.order(len(x))):
        optimiser.param_groups[0]["lr"] = rate(recipe, step)
        optimiser.zero_grad()
        value = (weights[positions] * loss(model(x[positions]), [x[positions], y[positions]])).mean()
        for name, p in trained.items():
            value = value + decay_of(stage, name) / 2 * (p**2).sum()
            if name in inherited:
                value = value + stage.proximity * ((p - inherited[name]) ** 2).sum()
        value.backward()
        optimiser.step()
    return model


def rate(recipe: Recipe, step: int) -> float:
    rising = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    falling = min(1.0, (recipe.steps - step) / (recipe.steps - recipe.warmup)) if recipe.decay else 1.0
    return recipe.learning_rate * rising * falling


def loop_chain(stages: list[Stage], recipes: list[Recipe], weights: dict[str, torch.Tensor] | None = None) -> nn.Module:
    """The last stage's model after training all stages; `weights` by stage name."""
    model = None
    for stage, recipe in zip(stages, recipes, strict=True):
        model = loop(stage, model, recipe, (weights or {}).get(stage.name))
    assert model is not None
    return model


def stage_named(name: str, count: int, classes: int, seed: int, **settings) -> Stage:
    """A small stage of its own seed, the same whenever it is made."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Net(classes)
    return Stage(name, model, loss, data(count, 3, classes, torch.Generator().manual_seed(seed)), **settings)


def two_stages(**finetuning) -> list[Stage]:
    return [
        stage_named("pretrain", 20, 2, 1, l2=0.01),
        stage_named("finetune", 15, 3, 2, **{"l2": 0.02, **finetuning}),
    ]


def three_stages() -> list[Stage]:
    middle = stage_named("middle", 16, 4, 3, l2=0.01, frozen=["first.*"], proximity=0.2)
    first, last = two_stages(frozen=["second.*"], proximity=0.1)
    return [first, middle, last]
