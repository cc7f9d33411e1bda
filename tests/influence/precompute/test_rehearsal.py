"""What `--dry-run` forecasts: against what runs really take, and by what rules."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from minima import loss
from tiny import two_exhibits
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study
from influence.precompute.forecasts.forecast import Forecast, duration, growth
from influence.precompute.forecasts.rehearsal import rehearse
from influence.precompute.forecasts.sample import sampled
from influence.precompute.runs import precompute
from influence.run.plain import bytes_in
from influence.studies.exhibit import Exhibit


def wide():
    """A network of 69,000 parameters on 4,000 + 400 made-up vectors, long enough to be timed."""
    draw = torch.Generator().manual_seed(0)

    def data(count, classes):
        return TensorDataset(torch.randn(count, 64, generator=draw), torch.randint(classes, (count,), generator=draw))

    def model(classes):
        return nn.Sequential(nn.Linear(64, 192), nn.Tanh(), nn.Linear(192, 256), nn.Tanh(), nn.Linear(256, classes))

    torch.manual_seed(0)
    pretrain = Stage("pretrain", model(8), loss, data(4000, 8), l2=1e-2)
    finetune = Stage("finetune", model(4), loss, data(400, 4), l2=1e-2, proximity=0.1)
    study = Study("wide", [pretrain, finetune], data(80, 4))
    return Exhibit(study, method="ekfac", train=True, epochs=3, variant="updated")


def test_time_memory_and_disk_are_of_the_size_that_a_run_takes(tmp_path, quick_map):
    exhibit = wide()
    forecast = rehearse([exhibit], ["wide"])["wide"]
    began = time.process_time()
    (run,) = precompute([exhibit], ["wide"], tmp_path, progress=False)
    taken = time.process_time() - began
    # In processor time, since other processes may come and go between the two.
    assert taken / 3 < forecast.total / forecast.pace < 3 * taken
    assert run.manifest.peak_memory / 3 < forecast.memory < 3 * run.manifest.peak_memory
    assert bytes_in(run.path) / 2 < forecast.disk < 2 * bytes_in(run.path)
    assert {"training pretrain", "scoring pretrain (ekfac)", "scoring finetune (identity)"} <= set(forecast.seconds)
    slow = {
        step for step, seconds in run.manifest.timings.items() if seconds > 0.2 * sum(run.manifest.timings.values())
    }
    assert slow <= set(sorted(forecast.seconds, key=forecast.seconds.get)[-4:])  # they are the longest here too


def test_a_rehearsal_leaves_models_and_disk_as_they_are_and_counts_shared_work_once(tmp_path, quick_map, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exhibits = two_exhibits()
    models = [stage.model for exhibit in exhibits for stage in exhibit.study.stages]
    before = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models]
    frozen, updated = rehearse(exhibits, ["tiny-frozen", "tiny-updated"]).values()
    for model, values in zip(models, before, strict=True):
        assert all(torch.equal(tensor, values[name]) for name, tensor in model.state_dict().items())
    assert not list(tmp_path.iterdir())
    assert frozen.seconds["training pretrain"] > 10 * updated.seconds["training pretrain"]
    assert updated.seconds["training finetune"] > 0
    runs = precompute(exhibits, ["tiny-frozen", "tiny-updated"], tmp_path, progress=False)
    for run, forecast in zip(runs, (frozen, updated), strict=True):
        assert bytes_in(run.path) / 2 < forecast.disk < 2 * bytes_in(run.path)
    assert frozen.rehearsed == "60 of 60 examples and 6 of 6 queries"


def test_a_sample_is_spread_over_the_data_with_its_tables():
    exhibits = two_exhibits()
    frozen, updated = sampled(exhibits, 0.25, 4, 3)
    assert frozen.study.stages[0] is updated.study.stages[0]
    whole, stage = exhibits[0].study.stages[0], frozen.study.stages[0]
    assert torch.equal(stage.data.tensors[0], whole.data.tensors[0][::4])
    assert [len(s.data) for s in frozen.study.stages] == [10, 5]
    assert list(frozen.examples["pretrain"]["id"]) == list(range(100, 140, 4))
    assert list(frozen.queries["id"]) == [900, 902, 904]
    body = frozen.study.stages[1].model.body.state_dict()
    assert all(torch.equal(value, stage.model.body.state_dict()[name]) for name, value in body.items())


@pytest.mark.parametrize(("fixed", "each"), [(0.0, 2.0), (5.0, 0.0), (3.0, 0.5)])
def test_growth_is_exact_of_what_is_fixed_plus_proportional(fixed, each):
    small, large, whole = (fixed + each * count for count in (10, 40, 900))
    assert large * growth(small, large, (10, 40, 900)) == pytest.approx(whole)


def test_growth_without_two_sizes_is_proportional_and_never_below_one():
    assert growth(2.0, 2.0, (10, 10, 50)) == 5
    assert growth(3.0, 2.0, (10, 40, 400)) == 1  # the noise of a clock
    assert growth(0.0, 0.0, (10, 40, 400)) == 1


def test_the_lines_say_what_takes_longest_and_warn_of_memory(monkeypatch):
    forecast = Forecast(
        {"training a": 30.0, "scoring a (cg)": 400.0}, 1.0, 5 * 10**9, 7, "8 of 90 examples and 2 of 4 queries"
    )
    memory = SimpleNamespace(available=10**12)
    monkeypatch.setattr("influence.precompute.forecasts.forecast.psutil.virtual_memory", lambda: memory)
    need, longest = forecast.lines()
    assert (
        "time about 7 min, memory about 5.0 GB, 7 B of disk when it is finished, by a rehearsal on 8 of 90 examples"
        in need
    )
    assert longest.strip() == "the longest step is scoring a (cg) (7 min), then training a (30 s)"
    memory.available = 0
    assert "of memory free. Take fewer queries" in forecast.lines()[2]


def test_workers_share_pieces_out_and_nothing_else():
    seconds = {"training a": 10.0, "scoring a (ekfac)": 80.0, "pulling queries back (ekfac)": 6.0}
    forecast = Forecast(seconds, 1.0, 10**9, 7, "", {"scoring a (ekfac)": 8, "pulling queries back (ekfac)": 3})
    assert forecast.shared_out(1) == forecast.total == 96
    assert forecast.shared_out(3) == 10 + 80 * 3 / 8 + 6 * 1 / 3
    assert forecast.shared_out(1000) == 10 + 10 + 2
    line = forecast.line_of_workers((1, 8)).strip()
    assert line == (
        "workers: about 96 s with 1, 22 s with 8, each with about 1.0 GB of memory; what they cannot share takes 10 s"
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (9.6, "9.6 s"), (40, "40 s"), (300, "5 min"), (9000, "2.5 h")]
)
def test_duration(seconds, words):
    assert duration(seconds) == words
