"""Which scores may be read as amounts: of models at a minimum, against real retraining; and what takes the unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import Net, data, loss, minimise_chain

from influence import Stage, Study
from influence.attribution.chain import Chain
from influence.attribution.edits.amounts import FACTOR, doubts
from influence.attribution.guards import solver_of
from influence.attribution.products.score import score


def study(seed: int = 0, trained: bool = True) -> Study:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stages = [
        Stage("pretrain", Net(3), loss, data(60, 3, 3, g), l2=0.05),
        Stage("finetune", Net(2), loss, data(40, 3, 2, g), l2=0.05, proximity=0.1),
    ]
    return Study("s", minimise_chain(stages) if trained else stages, data(12, 3, 2, g))


def solved(study: Study, damping: float | None = None) -> tuple[Chain, list[np.ndarray], list[float]]:
    """The chain, the scores of every stage, and how far each stands from its minimum."""
    chain = Chain(study, 0, solver_of("exact", damping, "hessian" if damping is None else "ggn", {}))
    found = {o: torch.cat([b for _, b in score(o, v)], 1).numpy() for o, v in chain.pull_back(chain.query_gradients())}
    changes = [each.measured.get("newton_change", 0.0) for each in chain.stationarities]
    return chain, [found[objective] for objective in chain.objectives], changes


@pytest.fixture(scope="module")
def healthy():
    return solved(study())


@pytest.mark.parametrize("position", [0, 1])
def test_scores_at_a_minimum_are_amounts_as_retraining_says(healthy, position):
    chain, scores, changes = healthy
    assert doubts(chain, position, scores[position], changes) == []
    stages, (x, y) = list(chain.study.stages), chain.study.queries.tensors
    leading = int(np.abs(scores[position]).max(0).argmax())
    weights = torch.ones(len(stages[position].data), dtype=torch.float64)
    weights[leading] = 0
    now = loss(stages[-1].model(x), [x, y])
    again = loss(minimise_chain(stages, {stages[position].name: weights})[-1].model(x), [x, y])
    predicted, measured = scores[position][:, leading], (again - now).detach().numpy()
    assert 1 / FACTOR < predicted @ measured / (predicted @ predicted) < FACTOR


@pytest.mark.parametrize("times", [0.1, 8.0])
def test_scores_of_another_size_are_none(healthy, times):
    """The step leads where it did; only what is said of it is another number."""
    chain, scores, changes = healthy
    (told,) = doubts(chain, 0, scores[0] * times, changes)
    assert "Stage 'pretrain': leaving out examples that lead lists (1)" in told
    ratio = float(told.split("have changed ")[1].split(" times")[0])
    assert 1 / FACTOR < ratio * times < FACTOR


def test_no_loss_falls_below_zero(healthy):
    chain, scores, changes = healthy
    told = doubts(chain, 0, scores[0] * 1000, changes)
    assert "are predicted to fall below 0" in told[0]
    assert "12 most harmful" not in told[0]


def test_a_measure_that_may_be_negative_has_no_such_bound():
    one = study()
    other = Study("s", one.stages, one.queries, measure=lambda outputs, batch: loss(outputs, batch) - 10)
    chain, scores, changes = solved(other)
    assert not any("fall below 0" in told for told in doubts(chain, 0, scores[0] * 1000, changes))


def test_damping_that_holds_the_step_takes_the_unit():
    one = study()
    assert any("is damping (10)" in told for told in doubts(*_of(one, 10.0)))
    assert doubts(*_of(one, 1e-4)) == []


def test_far_from_a_minimum_only_the_order_is_left():
    chain, scores, changes = solved(study(trained=False), 1e-3)
    assert min(changes) > 0
    for position in (0, 1):
        told = doubts(chain, position, scores[position], changes)
        assert any("one Newton step to the minimum of stage" in each for each in told)


def test_a_step_to_where_losses_are_no_numbers_is_told(healthy, monkeypatch):
    chain, scores, changes = healthy
    solver = chain.solvers[0]
    monkeypatch.setattr(solver, "solve", lambda sides: sides * torch.inf)
    assert any("beyond every number" in told for told in doubts(chain, 0, scores[0], changes))


def _of(study: Study, damping: float):
    chain, scores, changes = solved(study, damping)
    return chain, 0, scores[0], changes
