"""An index answers new queries as the training data would."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny import PRETRAIN, tiny_data, tiny_stages, tiny_study
from tiny_texts import text_study
from torch import nn
from torch.utils.data import TensorDataset

from influence import Index, Stage, Study, attribute
from influence.attribution.index import gradients as kept
from influence.attribution.index import packed as form
from influence.attribution.index.packed import from_tensors, packed, tensors_of
from influence.derivatives.first.factors import Dense, Outer
from influence.errors import RunError

QUIET = {"method": "exact", "progress": False}


def expected(study: Study, queries) -> np.ndarray:
    return attribute(Study("new", study.stages, queries), **QUIET).values


@pytest.mark.parametrize("frozen", [True, False])
def test_new_queries_have_the_scores_that_attribute_gives(tmp_path, frozen):
    study, new = tiny_study(frozen), tiny_data(5, 3, seed=9)
    index = Index(study, tmp_path / "index", **QUIET)
    found = index.query(new)
    exact = expected(study, new)
    assert found.values.shape == (5, PRETRAIN)
    error = np.linalg.norm(found.values - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert error.max() < 1e-5
    assert index.error < 1e-5
    assert found.report["index_error"] == index.error
    assert min(spearmanr(a, b).statistic for a, b in zip(found.values, exact, strict=True)) > 0.999


class Everything(nn.Module):
    """Convolution, embedding, a sequence through a linear layer, a norm, an LSTM that no rule covers."""

    def __init__(self):
        super().__init__()
        self.table, self.mix, self.norm = nn.Embedding(50, 6), nn.Linear(6, 6), nn.LayerNorm(6)
        self.cell, self.sweep, self.head = nn.LSTM(6, 4, batch_first=True), nn.Conv1d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        hidden = self.cell(self.norm(torch.tanh(self.mix(self.table(x)))))[0]
        return self.head(torch.tanh(self.sweep(hidden.mT)).mean(2))


@pytest.mark.parametrize("instructions", [True, False])
def test_a_large_index_is_kept_in_bfloat16(tmp_path, monkeypatch, instructions):
    """Whether the processor multiplies it, or it is turned into single precision first."""
    monkeypatch.setattr(form, "halves_pay", lambda device: instructions)
    study, new = tiny_study(), tiny_data(5, 3, seed=9)
    small = Index(study, tmp_path / "small", **QUIET)
    monkeypatch.setattr(kept, "MAX_FLOAT32_BYTES", 0)
    large = Index(study, tmp_path / "large", **QUIET)
    assert large.bytes < 0.7 * small.bytes
    assert small.error < 1e-5 < large.error < 0.05
    error = np.abs(large.query(new).values - expected(study, new)).max() / np.abs(expected(study, new)).max()
    assert error < 0.05


def test_units_that_are_cut_off_in_all_examples_change_nothing(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].bias[[1, 4, 5]] = -100.0
    data = TensorDataset(torch.randn(30, 20), torch.randint(3, (30,)))
    loss = lambda outputs, batch: nn.functional.cross_entropy(outputs, batch[1], reduction="none")  # noqa: E731
    new = TensorDataset(torch.randn(4, 20), torch.randint(3, (4,)))
    study = Study("idle", [Stage("idle", model, loss, data, l2=0.1)], new)
    found = Index(study, tmp_path / "index", **QUIET).query(new).values
    np.testing.assert_allclose(found, expected(study, new), rtol=1e-4, atol=1e-7)


def test_formed_gradients_keep_only_the_places_in_which_any_example_has_something():
    gradients = torch.randn(2, 3, 6)
    gradients[:, :, 4] = 0
    gradients[1, :, 2] = 0  # the second batch's only
    batches = [{"weight": [packed(Dense(batch), torch.float32)]} for batch in gradients]
    tensors = tensors_of(batches, [0, 3])
    assert tensors["Formed|gradients|0|weight"].shape == (6, 5)
    ((name, found),) = from_tensors(tensors, {})
    scores, vectors = torch.zeros(6, 2), torch.randn(2, 6)
    found.add_dots(scores, vectors)
    assert name == "weight"
    torch.testing.assert_close(scores, gradients.flatten(0, 1) @ vectors.T)


@pytest.mark.parametrize("groups", [1, 2])
def test_pairs_keep_only_the_outputs_and_inputs_in_which_any_example_has_something(groups):
    left, right = torch.randn(2, 3, groups, 2, 40), torch.randn(2, 3, groups, 2, 50)
    left[..., 3:30], right[..., 20:49] = 0, 0
    left[0, 1] = 0  # an example's whole gradient
    factors = [Outer(*sides) for sides in zip(left, right, strict=True)]
    tensors = tensors_of([{"weight": [packed(each, torch.float32)]} for each in factors], [0, 3])
    assert tensors["Pairs|left|0|weight"].shape[1:] == (groups, 16)
    assert tensors["Pairs|right|0|weight"].shape[1:] == (groups, 32)
    ((_, found),) = from_tensors(tensors, {})
    vectors = torch.randn(4, groups * 40 * 50)
    scores = torch.zeros(6, 4)
    found.add_dots(scores, vectors)
    exact = torch.einsum("ngpl,ngpr,qglr->nq", left.flatten(0, 1), right.flatten(0, 1), vectors.view(4, groups, 40, 50))
    torch.testing.assert_close(scores, exact, rtol=1e-4, atol=1e-4)


def test_every_kind_of_factor_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "SHARD_EXAMPLES", 7)
    torch.manual_seed(0)
    data = TensorDataset(torch.randint(50, (20, 5)), torch.randint(3, (20,)))
    new = TensorDataset(torch.randint(50, (4, 5)), torch.randint(3, (4,)))
    loss = lambda outputs, batch: nn.functional.cross_entropy(outputs, batch[1], reduction="none")  # noqa: E731
    study = Study("all", [Stage("all", Everything(), loss, data, l2=0.1)], new)
    index = Index(study, tmp_path / "index", **QUIET)
    exact = expected(study, new)
    error = np.linalg.norm(index.query(new).values - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert error.max() < 1e-4
    assert len(list((tmp_path / "index").glob("*.safetensors"))) == 3


def test_an_interrupted_index_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "SHARD_EXAMPLES", 10)
    folder = tmp_path / "index"
    first = Index(tiny_study(), folder, **QUIET)
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == 4
    before = {file: file.stat().st_mtime_ns for file in files[:3]}
    files[3].unlink()
    (folder / "000000030-000000040.unfinished").write_bytes(b"half")
    again = Index(tiny_study(), folder, **QUIET)
    assert {file: file.stat().st_mtime_ns for file in files[:3]} == before
    new = tiny_data(2, 3, seed=4)
    np.testing.assert_array_equal(again.query(new).values, first.query(new).values)


def test_a_folder_of_something_else_is_refused(tmp_path):
    folder = tmp_path / "index"
    Index(tiny_study(), folder, **QUIET)
    stages = tiny_stages()
    with torch.no_grad():
        stages[0].model.head.bias.add_(0.1)
    with pytest.raises(RunError, match="of another stage, model or data"):
        Index(Study("other", stages, tiny_data(6, 3)), folder, **QUIET)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="is not empty and holds no index"):
        Index(tiny_study(), tmp_path / "mine", **QUIET)


def test_a_damaged_file_is_named(tmp_path):
    folder = tmp_path / "index"
    Index(tiny_study(), folder, **QUIET)
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match=f"{file.name} is damaged"):
        Index(tiny_study(), folder, **QUIET)


@pytest.mark.parametrize("damage", ["zeroed", "a letter", "of other examples"])
def test_a_file_with_other_contents_is_named_and_made_again_once_it_is_deleted(tmp_path, monkeypatch, damage):
    """Of the same size: the numbers could be read, and would be wrong."""
    monkeypatch.setattr(kept, "SHARD_EXAMPLES", 20)
    folder, new = tmp_path / "index", tiny_data(2, 3, seed=4)
    whole = Index(tiny_study(), folder, **QUIET).query(new).values
    file, other = sorted(folder.glob("*.safetensors"))
    contents = file.read_bytes()
    damaged = {"zeroed": contents[:-64] + bytes(64), "a letter": contents[:-1] + bytes([contents[-1] ^ 1])}
    file.write_bytes(damaged.get(damage, other.read_bytes()))
    with pytest.raises(RunError, match=f"{file.name} is damaged .*other contents than when it was written.*Delete it"):
        Index(tiny_study(), folder, **QUIET)
    file.unlink()
    np.testing.assert_array_equal(Index(tiny_study(), folder, **QUIET).query(new).values, whole)


def test_a_file_that_a_killed_process_did_not_note_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "SHARD_EXAMPLES", 20)
    folder, new = tmp_path / "index", tiny_data(2, 3, seed=4)
    whole = Index(tiny_study(), folder, **QUIET).query(new).values
    note = folder / "index.json"
    told = json.loads(note.read_text())
    name = sorted(told["files"])[-1]
    del told["files"][name]
    note.write_text(json.dumps(told))
    (folder / name).write_bytes(b"half")
    np.testing.assert_array_equal(Index(tiny_study(), folder, **QUIET).query(new).values, whole)


def test_texts_of_any_length_are_kept_without_their_padding(tmp_path, monkeypatch):
    study = text_study(seed=1)
    whole = Index(study, tmp_path / "whole", **QUIET)
    monkeypatch.setattr(kept, "SHARD_EXAMPLES", 10)  # batches of several lengths in a file, and files that part
    index = Index(study, tmp_path / "index", **QUIET)
    exact = expected(study, study.queries)
    for each in (whole, index):
        found = each.query(study.queries).values
        assert (np.linalg.norm(found - exact, axis=1) <= 1e-5 * np.linalg.norm(exact, axis=1)).all()
        assert each.error < 1e-5


@pytest.mark.parametrize(("coordinates", "bound"), [(1, 1.0), (40, 0.03)])
def test_wide_outputs_keep_their_largest_entries_and_main_directions(tmp_path, monkeypatch, coordinates, bound):
    study = text_study(seed=1)
    monkeypatch.setattr(kept, "MAX_FLOAT32_BYTES", 0)
    monkeypatch.setattr(form, "WIDE_OUTPUT", 10)  # of a vocabulary of twenty words and signs
    monkeypatch.setattr(form, "LARGEST_ENTRIES", 2)
    monkeypatch.setattr(form, "MAIN_DIRECTIONS", coordinates)
    index = Index(study, tmp_path / "index", **QUIET)
    assert (tmp_path / "index" / "directions.safetensors").is_file()
    exact = expected(study, study.queries)
    error = np.linalg.norm(index.query(study.queries).values - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert 1e-5 < error.max() < bound
    assert error.max() == pytest.approx(index.error, rel=0.2)  # which is measured on examples, not assumed
