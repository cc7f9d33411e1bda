"""The replay against trainings that really happen again, in a plain PyTorch loop that knows nothing of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from loops import ADAM, SGD, loop_chain, stage_named, three_stages, two_stages
from minima import data, loss
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute
from influence.attribution.replay import replay
from influence.errors import MethodError, TrainingError
from influence.training.recipe import Recipe
from influence.training.recording import record, retrain

QUERIES = data(5, 3, 3, torch.Generator().manual_seed(9))


def recorded(stages: list[Stage], recipes) -> tuple[Study, list]:
    """A study whose stages stand where their recordings ended."""
    recordings: list = []
    for stage, recipe in zip(stages, recipes, strict=True):
        recordings.append(record(stage, recordings[-1] if recordings else None, recipe))
    for recording in recordings:
        recording.apply()
    return Study("recorded", stages, QUERIES), recordings


def query_losses(model: nn.Module) -> torch.Tensor:
    x, y = QUERIES.tensors
    return loss(model(x), [x, y]).detach()


def weights_of(stage: Stage, example: int, weight: float) -> dict[str, torch.Tensor]:
    weights = torch.ones(len(stage.data), dtype=torch.float64)
    weights[example] = weight
    return {stage.name: weights}


def finite_difference(stages, recipes, stage: Stage, example: int, step: float = 1e-4) -> np.ndarray:
    """-d(query losses)/d(weight of one example): all stages trained again with the weight moved both ways."""
    up, down = (query_losses(loop_chain(stages, recipes, weights_of(stage, example, 1 + s))) for s in (step, -step))
    return ((down - up) / (2 * step)).numpy()


CASES = {
    "frozen": lambda: two_stages(frozen=["first.*", "second.*"]),
    "updated, held near": lambda: two_stages(proximity=0.3),
    "updated, only begun there": lambda: two_stages(),
    "partly frozen": lambda: two_stages(frozen=["first.*"], proximity=0.2),
    "decay on weights only": lambda: two_stages(proximity=0.3, l2={"*.weight": 0.05}),
    "twice inherited": lambda: two_stages(
        frozen=["first.weight"], inherits={"first.weight": "first.weight", "second.weight": "first.weight"}
    ),
    "three stages": three_stages,
}


@pytest.mark.parametrize("recipes", [[SGD, ADAM, SGD], [ADAM, SGD, ADAM]], ids=["sgd, then adam", "adam, then sgd"])
@pytest.mark.parametrize("case", CASES)
def test_scores_are_the_derivative_of_real_training(case, recipes):
    stages, starts = CASES[case](), CASES[case]()
    recipes = recipes[: len(stages)]
    study, recordings = recorded(stages, recipes)
    found = replay(study, recordings).scores
    assert list(found) == [stage.name for stage in stages]
    for stage in starts:
        for example in (0, 7):
            expected = finite_difference(starts, recipes, stage, example)
            assert np.abs(expected).max() > 1e-5
            np.testing.assert_allclose(found[stage.name][:, example], expected, rtol=1e-5, atol=1e-8)


class Reader(nn.Module):
    """One transformer layer on tokens; `tied` predicts tokens by the embedding itself."""

    def __init__(self, classes: int, tied: bool):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")
        self.head = nn.Linear(4, classes, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        self.double()

    def forward(self, tokens, label):
        return self.head(self.layer(self.embedding(tokens)).mean(1))


def texts(count: int, classes: int, seed: int) -> list[dict]:
    tokens = torch.randint(0, 9, (count, 5), generator=torch.Generator().manual_seed(seed))
    return [{"tokens": each, "label": each.sum() % classes} for each in tokens]


def label_loss(outputs, batch):
    return nn.functional.cross_entropy(outputs, batch["label"], reduction="none")


def test_transformers_tied_weights_and_dict_batches():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = [Reader(9, tied=True), Reader(3, tied=False)]
    recipe = Recipe(steps=15, batch_size=6, learning_rate=0.02, optimiser="adam", eps_root=1e-4)
    first = Stage("pretrain", models[0], label_loss, texts(12, 9, 0))
    last = Stage("finetune", models[1], label_loss, texts(10, 3, 1), frozen=["embedding.*"], proximity=0.1)
    recordings = [record(first, None, recipe)]
    recordings.append(record(last, recordings[0], recipe))
    for recording in recordings:
        recording.apply()
    batch = torch.utils.data.default_collate(texts(4, 3, 2))

    def losses(weight: float) -> torch.Tensor:
        again = retrain(recordings, weights_of(first, 5, weight))[-1].parameters
        return label_loss(torch.func.functional_call(last.model.eval(), again, (), batch), batch).detach()

    found = replay(Study("texts", [first, last], texts(4, 3, 2)), recordings).scores["pretrain"][:, 5]
    torch.testing.assert_close(found, (losses(1 - 1e-4) - losses(1 + 1e-4)) / 2e-4, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_scores_predict_what_leaving_out_really_does(stage):
    """As far as training is smooth: at three times this learning rate of SGD the first correlation is 0.88."""

    def stages() -> list[Stage]:
        finetuning = stage_named("finetune", 40, 3, 2, l2=0.01, proximity=0.1)
        return [stage_named("pretrain", 60, 2, 1, l2=0.01), finetuning]

    recipes = [
        dataclasses.replace(SGD, steps=40, batch_size=15, learning_rate=0.1),
        dataclasses.replace(ADAM, steps=40, batch_size=15, learning_rate=0.03, eps_root=1e-3),
    ]
    study, recordings = recorded(stages(), recipes)
    scores = attribute(study, stage=stage, method="replay", recordings=recordings, progress=False).values
    base, left_out = query_losses(study.stages[-1].model), stages()[study.position(stage)]
    examples = range(0, scores.shape[1], 5)
    measured = np.stack(
        [query_losses(loop_chain(stages(), recipes, weights_of(left_out, z, 0))) - base for z in examples], 1
    )
    predicted = scores[:, list(examples)]
    assert np.corrcoef(predicted.ravel(), measured.ravel())[0, 1] > 0.99
    assert 0.9 < np.polyfit(predicted.ravel(), measured.ravel(), 1)[0] < 1.15


@pytest.fixture(scope="module")
def two():
    return recorded(two_stages(frozen=["first.*"], proximity=0.2), [SGD, ADAM])


def test_queries_together_are_queries_one_by_one(two):
    study, recordings = two
    together = replay(study, recordings).scores["pretrain"]
    for query in (0, 4):
        alone = replay(study, recordings, queries=[query]).scores["pretrain"]
        torch.testing.assert_close(alone[0], together[query])


def test_chunks_of_queries_and_models_that_cannot_be_vectorised_make_no_difference(two, monkeypatch):
    study, recordings = two
    together = replay(study, recordings).scores
    monkeypatch.setattr("influence.training.reverse.BUDGET", 1)
    chunked = replay(study, recordings).scores

    def refuse(*_):
        raise RuntimeError("no batching rule")

    monkeypatch.setattr("influence.training.reverse.vmap", refuse)
    looped = replay(study, recordings)
    assert any("query by query" in note for note in looped.notes)
    for stage, expected in together.items():
        torch.testing.assert_close(chunked[stage], expected)
        torch.testing.assert_close(looped.scores[stage], expected)


def test_a_group_is_the_sum_of_its_queries(two):
    study, recordings = two
    alone = replay(study, recordings).scores["pretrain"]
    groups = replay(study, recordings, queries=[3, [0, 1, 1], np.array([2, 4])]).scores["pretrain"]
    torch.testing.assert_close(groups, torch.stack([alone[3], alone[0] + 2 * alone[1], alone[2] + alone[4]]))


def test_scores_are_linear_in_the_measure(two):
    study, recordings = two

    def margin(outputs, batch):
        return outputs[:, 0] - outputs[:, 1]

    def mixed(outputs, batch):
        return 2 * loss(outputs, batch) - 3 * margin(outputs, batch)

    parts = [
        replay(Study("again", study.stages, QUERIES, measure=measure), recordings).scores["pretrain"]
        for measure in (loss, margin, mixed)
    ]
    torch.testing.assert_close(2 * parts[0] - 3 * parts[1], parts[2])


def test_the_same_replay_gives_the_same_bits_and_changes_nothing(two):
    study, recordings = two
    before = [{n: p.detach().clone() for n, p in stage.model.named_parameters()} for stage in study.stages]
    first, again = (replay(study, recordings).scores for _ in range(2))
    assert all(torch.equal(first[stage], again[stage]) for stage in first)
    for stage, kept in zip(study.stages, before, strict=True):
        assert all(torch.equal(p, kept[n]) for n, p in stage.model.named_parameters())


def test_attribute_reports_what_was_replayed(two):
    study, recordings = two
    scores = attribute(study, method="replay", recordings=recordings, queries=[[0, 1]], progress=False)
    assert scores.values.shape == (1, 20)
    assert scores.values.dtype == np.float32
    assert scores.report["method"] == "replay"
    assert [each["steps"] for each in scores.report["stages"]] == [25, 20]
    assert [each["recipe"]["optimiser"] for each in scores.report["stages"]] == ["sgd", "adam"]
    assert scores.report["peak_memory"] > 0
    later = attribute(study, stage="finetune", method="replay", recordings=recordings[1:], progress=False)
    np.testing.assert_allclose(later.values, replay(study, recordings).scores["finetune"], rtol=1e-6)


def test_single_precision_gives_the_same_scores_to_its_digits():
    def single(stage: Stage) -> Stage:
        x, y = stage.data.tensors
        return dataclasses.replace(stage, model=stage.model.float(), data=TensorDataset(x.float(), y))

    found = []
    for change in (lambda stage: stage, single):
        study, recordings = recorded([change(stage) for stage in two_stages(proximity=0.2)], [SGD, ADAM])
        if change is single:
            study.queries = TensorDataset(QUERIES.tensors[0].float(), QUERIES.tensors[1])
        found.append(replay(study, recordings).scores["pretrain"])
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(found[1].double(), found[0], rtol=1e-3, atol=1e-5)


def test_missing_and_foreign_recordings_are_named(two):
    study, recordings = two
    for missing in (None, [], recordings[:1]):
        with pytest.raises(MethodError, match="no recording of stage '(pretrain|finetune)'.*influence.record"):
            attribute(study, method="replay", recordings=missing, progress=False)
    with pytest.raises(MethodError, match="recordings holds a str"):
        replay(study, ["pretrain"])
    other = record(study.stages[1], study.stages[0], dataclasses.replace(ADAM, seed=8))
    with pytest.raises(MethodError, match=r"'finetune': the parameter '.*' of its model differs from its.*apply\(\)"):
        replay(study, [recordings[0], other])
    elsewhere = record(two_stages()[1], two_stages()[0], ADAM)
    again = dataclasses.replace(recordings[1], start=elsewhere.start)
    with pytest.raises(MethodError, match="'pretrain': the parameter .* recording of stage 'finetune' began"):
        replay(study, [recordings[0], again])


def test_queries_that_do_not_exist_and_options_of_other_methods_are_named(two):
    study, recordings = two
    with pytest.raises(MethodError, match="no query 5; the queries are 0 to 4"):
        replay(study, recordings, queries=[5])
    with pytest.raises(MethodError, match="empty group"):
        replay(study, recordings, queries=[[]])
    for option in ({"damping": 0.1}, {"curvature": "hessian"}):
        with pytest.raises(MethodError, match="'replay' takes no `damping` and no `curvature`"):
            attribute(study, method="replay", recordings=recordings, progress=False, **option)
    with pytest.raises(MethodError, match="'replay' has no option 'iterations'; it has recordings, queries"):
        attribute(study, method="replay", recordings=recordings, iterations=3, progress=False)


def test_a_training_that_does_not_repeat_itself_is_refused():
    study, recordings = recorded(two_stages(proximity=0.2), [SGD, ADAM])
    study.stages[0].data.tensors[0][3] += 1e-3
    with pytest.raises(TrainingError, match="'pretrain': the training does not repeat itself: after steps"):
        replay(study, recordings)


def test_data_of_another_length_is_named():
    study, recordings = recorded(two_stages(proximity=0.2), [SGD, ADAM])
    study.stages[0].data = data(21, 3, 2, torch.Generator().manual_seed(1))
    with pytest.raises(MethodError, match="'pretrain' has 21 examples, but its recording has 20"):
        replay(study, recordings)


def test_a_training_too_unstable_to_be_differentiated_is_named():
    stage = stage_named("alone", 20, 3, 0)
    stage.model = Exploding()
    study, recordings = recorded([stage], [dataclasses.replace(SGD, steps=3, warmup=0)])
    with pytest.raises(TrainingError, match="'alone': the derivative through its training is not finite"):
        replay(study, recordings)


class Exploding(nn.Module):
    """The root of a parameter's square, which is 0: its second derivative is not finite."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 3, dtype=torch.float64))

    def forward(self, x):
        return x @ self.weight + 1e-3 * self.weight.abs().pow(1.5).sum()
