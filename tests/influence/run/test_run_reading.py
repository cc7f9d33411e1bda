"""The run on disk, read: what was written comes back, what is damaged is named."""

from __future__ import annotations

import dataclasses
import gc
import os
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from two_stages import NEW, OLD, QUERIES, SETTINGS, VALUES, contents, finish, relisted, write

from influence.errors import RunError
from influence.run.draft import Draft
from influence.run.reading import Run, runs_in

# What is read


def test_what_was_written_is_read_back(folder):
    run = Run.open(folder)
    assert (run.name, run.stages, run.manifest.format) == ("r", ["pretrain", "finetune"], 1)
    assert run.manifest.settings == SETTINGS
    for (stage, method), values in VALUES.items():
        np.testing.assert_array_equal(run.scores(stage, method)[:], values)
    assert list(run.examples("finetune")["id"]) == list(range(NEW))
    assert list(run.queries()["id"]) == list(range(QUERIES))
    assert torch.equal(run.models()["finetune"]["w"], torch.arange(6.0).reshape(2, 3).T)
    assert list(run.models()) == run.stages


def test_default_scores_are_the_first_stages_by_the_default_method(folder):
    run = Run.open(folder)
    np.testing.assert_array_equal(run.scores()[:], VALUES["pretrain", "exact"])
    np.testing.assert_array_equal(run.scores(method="identity")[:], VALUES["pretrain", "identity"])
    assert run.methods("pretrain") == ["exact", "identity"]


def test_rows_and_columns_are_read_without_the_rest(folder):
    """With all other chunks gone, a row and a column of what is left still come out right."""
    scores = Run.open(folder).scores()
    assert scores.chunks == (64, 1024)
    assert scores.dtype == np.float32
    for chunk in (folder / "scores/pretrain-exact.zarr/c").rglob("*"):
        if chunk.is_file() and (chunk.parent.name, chunk.name) != ("0", "0"):
            chunk.write_bytes(b"not a chunk")
    np.testing.assert_array_equal(scores[5, :1024], VALUES["pretrain", "exact"][5, :1024])
    np.testing.assert_array_equal(scores[:64, 7], VALUES["pretrain", "exact"][:64, 7])


def test_scores_cannot_be_written(folder):
    with pytest.raises(ValueError, match=r"read-only"):
        Run.open(folder).scores()[0, 0] = 1.0


def test_unknown_stage_and_method_are_answered_with_the_known_ones(folder):
    run = Run.open(folder)
    with pytest.raises(RunError, match=r"no stage 'pretraining'; it has pretrain, finetune"):
        run.examples("pretraining")
    with pytest.raises(RunError, match=r"no scores of stage 'pretrain' by method 'lissa'; stored: exact, identity"):
        run.scores(method="lissa")
    with pytest.raises(RunError, match=r"no stage 'x'"):
        run.scores("x")


def test_a_score_chunk_that_goes_missing_is_never_read_as_zero(folder):
    run = Run.open(folder)
    scores = run.scores()
    assert np.isfinite(scores[0]).all()
    for chunk in sorted((run.path / "scores").glob("*.zarr/c/**/*")):
        if chunk.is_file():
            chunk.unlink()
    assert np.isnan(scores[0]).all()


def test_tables_are_freed_with_their_run(folder):
    run = Run.open(folder)
    gone = weakref.ref(run)
    run.queries()
    del run
    gc.collect()
    assert gone() is None


# What is wrong


def every_file(root):
    return sorted(Run.open(write(root, "probe").path).manifest.files)


def test_every_file_is_listed_and_its_damage_named(tmp_path, folder):
    files = every_file(tmp_path)
    assert {str(name) for name in contents(folder)} == {*files, "run.json"}
    for name in files:
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(RunError) as error:
            Run.open(folder)
        assert f"{name} has other contents than when it was written" in str(error.value)
        assert "compute it again with `upstream precompute`" in str(error.value)
        (folder / name).write_bytes(before)
    Run.open(folder)


def test_the_maps_places_stand_for_own_columns_of_their_names(tmp_path):
    draft = Draft(tmp_path, "r", SETTINGS)
    with draft.locked():
        draft.write_table("map/pretrain", pd.DataFrame({"x": np.arange(OLD, dtype="f4"), "y": np.ones(OLD, "f4")}))
        run = finish(draft)
    table = pd.read_parquet(run.path / "examples/pretrain.parquet").assign(x="own")
    table.to_parquet(run.path / "examples/pretrain.parquet", index=False)
    found = relisted(run.path).examples("pretrain")
    assert list(found.columns) == ["id", "label", "x", "y"]
    assert found["x"].tolist() == list(range(OLD))


def test_missing_and_unreadable_files_are_named(folder):
    (folder / "queries.parquet").unlink()
    (folder / "stages/pretrain.safetensors").unlink()
    (folder / "stages/pretrain.safetensors").mkdir()
    with pytest.raises(RunError, match=r"queries.parquet is missing") as error:
        Run.open(folder)
    assert "stages/pretrain.safetensors cannot be read (Is a directory)" in str(error.value)


def test_damage_after_opening_is_named_too(folder):
    run = Run.open(folder)
    for name in ("queries.parquet", "stages/finetune.safetensors", "scores/finetune-exact.zarr/zarr.json"):
        (folder / name).write_bytes(b"garbage")
    with pytest.raises(RunError, match=r"queries.parquet of run r cannot be read"):
        run.queries()
    with pytest.raises(RunError, match=r"stages/finetune.safetensors of run r cannot be read"):
        run.models()
    with pytest.raises(RunError, match=r"scores/finetune-exact.zarr of run r cannot be read"):
        run.scores("finetune")


@pytest.mark.parametrize("name", [b"\xff", b"\xed\xa0\x80"])
def test_a_folder_whose_name_cannot_be_shown_is_listed_with_what_is_wrong(folder, name):
    folder.rename(os.fsdecode(os.path.join(os.fsencode(folder.parent), name)))
    ((_, found),) = runs_in(folder.parent)
    assert isinstance(found, RunError)
    assert "cannot be shown" in str(found).encode().decode()


def test_list_of_runs_tells_good_from_bad(tmp_path):
    write(tmp_path, "b")
    (write(tmp_path, "a").path / "run.json").unlink()
    Draft(tmp_path, "c", SETTINGS)
    (tmp_path / "file").touch()
    (bad_at, bad), (good_at, good) = runs_in(tmp_path)
    assert (bad_at.name, good_at.name) == ("a", "b")
    assert isinstance(bad, RunError)
    assert isinstance(good, Run)
    assert runs_in(tmp_path / "nowhere") == []


# The unit of scores


@pytest.mark.parametrize(
    ("reports", "warnings", "unit", "reasons"),
    [
        ([{}, {}], ["a warning"], "nat", ()),
        ([{"unit": "nat"}, {"unit": "nat"}], ["a warning"], "nat", ()),
        ([{"unit": "order only", "order_only": ["too flat"]}, {"unit": "nat"}], [], "order only", ("too flat",)),
        ([{}, {"unit": "order only"}], ["a warning"], "order only", ("a warning",)),
        ([{}, {"unit": "order only", "order_only": None}], [], "order only", ("The run does not say why.",)),
    ],
)
def test_one_record_without_a_unit_takes_it(tmp_path, reports, warnings, unit, reasons):
    run = write(tmp_path)
    stored = [r for r in run.manifest.scores if r.method == "exact"]
    records = [dataclasses.replace(r, report=report) for r, report in zip(stored, reports, strict=True)]
    found = Run(run.path, dataclasses.replace(run.manifest, scores=tuple(records), warnings=tuple(warnings)))
    assert (found.unit("exact"), found.order_only("exact")) == (unit, reasons)
    lost = {r.stage for r in records if r.report.get("unit") == "order only"}
    assert {r.stage for r in records if found.unit("exact", r.stage) == "order only"} == lost
    assert found.unit("identity") == "order only"
