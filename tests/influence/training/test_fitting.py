"""Training as precompute does it: a last layer to its minimum, all else by mini-batches that can be interrupted."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_stages, tiny_study

from influence.attribution.chain import Chain
from influence.curvature import method_named
from influence.errors import TrainingError
from influence.study.stage import Stage
from influence.study.study import Study
from influence.training.fitting import fit, standing
from influence.training.minimum import fit_stage
from influence.training.recipe import usual_recipe

CPU = torch.device("cpu")


def fitted(stages, path, report=lambda share: None, epochs=3):
    records = []
    for previous, stage in zip((None, *stages), stages, strict=False):
        records.append(
            fit(
                stage,
                previous,
                usual_recipe(len(stage.data), epochs, 0),
                CPU,
                path / f"{stage.name}.safetensors",
                report,
            )
        )
    return records


def values(stage):
    return torch.cat([p.detach().flatten() for p in stage.model.parameters()])


@pytest.mark.parametrize("l2", [0.02, {"*.bias": 0.5, "head.*": 0.05}])
def test_a_last_layer_alone_goes_to_its_minimum(tmp_path, l2):
    stages = tiny_stages(frozen=True, l2=l2)
    first, second = fitted(stages, tmp_path)
    assert (first["iterations"], first["converged"], first["by_steps"]) == (3, False, True)  # 3 epochs of one batch
    assert (second["converged"], second["by_steps"]) == (True, False)
    assert second["gradient_norm"] <= 1e-8
    found, other = values(stages[1]), tiny_stages(frozen=True, l2=l2)
    other[0].model.load_state_dict(stages[0].model.state_dict())
    fit_stage(other[1], other[0])
    torch.testing.assert_close(found, values(other[1]), rtol=0, atol=1e-6)


def test_a_layer_whose_output_is_not_the_models_is_trained_with_the_rest_of_it(tmp_path):
    stages = tiny_stages(frozen=True, forward=lambda model, batch: 2 * model(batch[0]))
    _, second = fitted(stages, tmp_path)
    assert (second["iterations"], second["converged"], second["by_steps"]) == (3, False, True)
    assert torch.equal(stages[1].model.body[0].weight, stages[0].model.body[0].weight)


def test_minibatches_lower_the_objective_and_say_how_far_it_is_from_a_minimum(tmp_path):
    stages = tiny_stages(frozen=False)
    before = standing(stages[0], None, CPU)
    first, second = fitted(stages, tmp_path, epochs=200)
    assert first["objective"] < 0.9 * before["objective"]
    study = Study("s", stages, tiny_study().queries)
    norms = Chain(study, 0, lambda o: method_named("identity")(o)).gradient_norms()
    assert [first["gradient_norm"], second["gradient_norm"]] == pytest.approx(norms)


def test_interrupted_training_goes_on_where_it_was_with_equal_bits(tmp_path):
    whole, cut = tiny_stages(frozen=False), tiny_stages(frozen=False)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    fitted(whole, tmp_path / "whole", epochs=40)
    steps = []

    def interrupting(share):
        steps.append(share)
        if len(steps) == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(cut, tmp_path / "cut", interrupting, epochs=40)
    again = []
    fitted(cut[:1], tmp_path / "cut", again.append, epochs=40)
    assert len(again) == 16  # 24 of the 40 steps were kept
    fitted(cut, tmp_path / "cut", epochs=40)
    for one, other in zip(whole, cut, strict=True):
        assert torch.equal(values(one), values(other))


@pytest.mark.parametrize("damage", ["cut short", "zeroed", "empty", "of another stage"])
def test_a_checkpoint_that_is_not_as_it_was_written_is_none(tmp_path, damage):
    """The training begins anew, and ends where it would have."""
    whole, cut, steps = tiny_stages(frozen=False)[0], tiny_stages(frozen=False)[0], []
    if damage == "of another stage":
        cut.name = "other"

    def interrupting(share):
        steps.append(share)
        if len(steps) == 25:
            raise KeyboardInterrupt

    kept = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        fit(cut, None, usual_recipe(len(cut.data), 40, 0), CPU, kept, interrupting)
    contents = kept.read_bytes()
    damaged = {"cut short": contents[:-9], "zeroed": contents[:99] + bytes(len(contents) - 99), "empty": b""}
    kept.write_bytes(damaged.get(damage, contents))
    again, stage, seen = tmp_path / "again", tiny_stages(frozen=False)[0], []
    again.write_bytes(kept.read_bytes())
    fit(stage, None, usual_recipe(len(stage.data), 40, 0), CPU, again, seen.append)
    assert len(seen) == 40
    fit(whole, None, usual_recipe(len(whole.data), 40, 0), CPU, tmp_path / "whole", seen.append)
    assert torch.equal(values(stage), values(whole))


def test_a_training_that_does_not_stay_finite_is_named(tmp_path):
    stage = tiny_stages()[0]
    bad = Stage("bad", stage.model, lambda o, b: o.sum(1) * torch.inf, stage.data)
    with pytest.raises(TrainingError, match="Stage 'bad': the training was not finite any more after 1 steps"):
        fit(bad, None, usual_recipe(len(bad.data), 1, 0), CPU, tmp_path / "x", lambda share: None)
