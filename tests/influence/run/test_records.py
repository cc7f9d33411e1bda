"""run.json as typed records: what has to be there is asked for by name, the rest may be missing, null or more."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from two_stages import write

from influence.errors import RunError
from influence.run import records
from influence.run.files import (
    COMPUTED_FILE,
    LISTED_FILE,
    STAGE_NAME,
    examples_file,
    manifest_checksum,
    model_file,
)
from influence.run.manifest import read_json
from influence.run.reading import Run
from influence.run.records import MapRecord, ParameterNames, ScoreRecord, StageRecord, Training, manifest_of
from influence.study import stage

CONTRACT = (Path(records.__file__).parents[1] / "CONTRACT.md").read_text(encoding="utf-8")


@pytest.fixture
def told(tmp_path):
    return read_json(write(tmp_path).path)


def stated(fields):
    """Without those that are left out."""
    return {name: value for name, value in fields.items() if value is not Ellipsis}


def parsed(told, **changes):
    changed = stated(told | changes)
    return manifest_of(changed | {"checksum": manifest_checksum(changed)}, Path("runs/r"))


def test_what_was_written_is_parsed_field_by_field(told):
    manifest = parsed(told)
    assert manifest.stages == (StageRecord("pretrain", 1500), StageRecord("finetune", 30))
    assert manifest.scores[0] == ScoreRecord("finetune", "exact", "scores/finetune-exact.zarr", {})
    assert (manifest.map, manifest.seed, manifest.warnings) == (MapRecord(), None, ())
    assert dataclasses.asdict(manifest).keys() == told.keys()


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"title": ...}, "title"),
        ({"files": 5, "map": None}, "files, map"),
        ({"default_method": 3}, "default_method"),
        ({"stages": {}}, "stages"),
        ({"stages": []}, "stages"),
        ({"files": {"queries.parquet": 5}}, "files"),
        ({"stages": [{"examples": 1}, 5]}, "stages[0].name, stages[1].name"),
        ({"scores": [{"stage": "pretrain", "file": "x"}]}, "scores[0].method"),
        ({"stages": [{"name": "other"}]}, "examples/other.parquet, stages/other.safetensors"),
    ],
)
def test_what_has_to_be_there_is_asked_for_by_name(told, changes, lacking):
    with pytest.raises(RunError, match=f"run.json in runs/r lacks {re.escape(lacking)}. Delete the folder"):
        parsed(told, **changes)


@pytest.mark.parametrize("nothing", [..., None, "of another kind", []])
def test_other_fields_may_be_missing_or_of_another_kind(told, nothing):
    manifest = parsed(told, seed=nothing, timings=nothing, validation=nothing, peak_memory=nothing)
    assert (manifest.seed, manifest.timings, manifest.validation, manifest.peak_memory) == (None, {}, {}, 0)
    stage = {"name": "pretrain", "training": nothing, "parameters": nothing, "accuracy": nothing}
    assert parsed(told, stages=[stated(stage)]).stages == (StageRecord("pretrain"),)


def test_what_is_stated_by_name_has_values_of_its_kind(told):
    manifest = parsed(told, validation={"noise": ["a.parquet"]}, timings={"training": "long"})
    assert (manifest.validation, manifest.timings) == ({}, {})
    assert Run(Path("runs/r"), manifest).validations == []


def test_numbers_are_told_from_truth_values_and_unknown_keys_are_passed_over(told):
    training = {"gradient_norm": True, "iterations": 3, "converged": 1, "seconds": 2, "epochs": 7}
    stage = {"name": "pretrain", "training": training, "parameters": {"new": ["w"], "kept": ["v"]}, "later": 1}
    (found,) = parsed(told, stages=[stage]).stages
    assert found.training == Training(iterations=3, seconds=2)
    assert found.parameters == ParameterNames(new=("w",))


@pytest.mark.parametrize("l2", [0.5, 1, {"*.bias": 0, "*": 0.01}])
def test_l2_is_a_number_or_one_a_pattern(told, l2):
    (found,) = parsed(told, stages=[{"name": "pretrain", "l2": l2}]).stages
    assert found.l2 == l2


@pytest.mark.parametrize("l2", ["0.5", True, {"*": "strong"}, [1]])
def test_l2_of_another_kind_is_not_known(told, l2):
    (found,) = parsed(told, stages=[{"name": "pretrain", "l2": l2}]).stages
    assert found.l2 is None


SCORES = {"stage": "pretrain", "method": "exact", "file": "scores/pretrain-exact.zarr"}
PATHS = (
    "/etc/passwd",
    "../x",
    "a/../../x",
    "",
    ".",
    "./queries.parquet",
    ".hidden",
    "a//b",
    "a\\b",
    "a\0b",
    "x\n",
    "~",
    "é",
    "a" * 300,
)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        *(({"files": {path: "0" * 64}}, "a file") for path in PATHS),
        ({"files": {"x": "no digest"}}, "the sha256 of x"),
        *(({"validation": {"noise": path}}, "the table of check noise") for path in PATHS),
        ({"validation": {"noise": "queries.parquet"}}, "the table of check noise"),
        ({"validation": {"noise": "validation/other-000000000000.parquet"}}, "the table of check noise"),
        ({"validation": {"noise": "validation/noise-000000000000.parquet"}}, "the table of check noise"),  # not listed
        ({"validation": {"../x": "validation/../x-000000000000.parquet"}}, "a check"),
        *(({"scores": [SCORES | {"file": path}]}, "an array of scores") for path in PATHS),
        ({"scores": [SCORES | {"file": "embedding/queries.zarr"}]}, "an array of scores"),
        ({"scores": [SCORES | {"method": "../x", "file": "scores/pretrain-../x.zarr"}]}, "a method"),
        ({"scores": [SCORES | {"stage": "../x"}]}, "a stage with scores"),
        ({"stages": [{"name": "../x"}]}, "a stage"),
        ({"stages": [{"name": "pretrain"}, {"name": "pretrain"}]}, "a stage"),
        ({"default_method": "../x"}, "the default method"),
        ({"map": {"stage": "../x"}}, "the stage of the map"),
        ({"pending": ["../x"]}, "a pending part"),
        ({"name": "../x"}, "the run's name"),
    ],
)
def test_names_and_paths_of_other_forms_than_the_contracts_are_refused(told, changes, named):
    stages = [record["name"] for record in changes.get("stages", ())]
    needed = [file for name in stages for file in (examples_file(name), model_file(name))]
    needed += [f"{record['file']}/zarr.json" for record in changes.get("scores", ())]
    files = told["files"] | dict.fromkeys(needed, "0" * 64) | changes.get("files", {})
    with pytest.raises(RunError, match=f" as {re.escape(named)}, which CONTRACT.md does not allow"):
        parsed(told, **(changes | {"files": files}))


def test_every_file_of_a_run_is_of_a_form_of_the_contract():
    assert STAGE_NAME.pattern == stage._NAME.pattern
    for file in ("validation/leave-one-out-0123456789ab.parquet", "stages/pretrain.safetensors", "queries.parquet"):
        assert LISTED_FILE.fullmatch(file)
    assert COMPUTED_FILE.fullmatch("scores/pretrain-exact.zarr/c/0/11")
    for file in (
        "scores/pretrain-exact.zarr/c/0/1.3f.partial",
        "work/x.parquet",
        "run.json",
        ".queries.parquet.ab.tmp",
    ):
        assert not COMPUTED_FILE.fullmatch(file)


@pytest.mark.parametrize(
    ("name", "good", "odd"),
    [
        ("curvature", "ggn", ["ggn"]),
        ("unit", "nat", 1),
        ("damping", 0.1, "much"),
        ("residuals", [0.1, 1], [0.1, None]),
        ("score_error", [], "none"),
        ("order_only", ["why"], [["why"]]),
        ("compression", {"error": 0.01}, {"error": []}),
    ],
)
def test_entries_of_a_report_have_their_kind(told, name, good, odd):
    for value, kept in ((good, {name: good, "other": []}), (odd, {"other": []})):
        manifest = parsed(told, scores=[told["scores"][0] | {"report": {name: value, "other": []}}])
        assert manifest.scores[0].report == kept


def test_every_field_of_a_record_is_in_the_contract():
    for record in (records.Manifest, StageRecord, ScoreRecord, ParameterNames, Training):
        for field in dataclasses.fields(record):
            assert f"`{field.name}`" in CONTRACT or f'"{field.name}"' in CONTRACT, (record, field.name)


def test_numbers_out_of_their_range_are_not_known(told):
    training = {"gradient_norm": -1, "iterations": -3, "seconds": -0.5, "objective": -7}
    stage = {"name": "pretrain", "examples": -5, "accuracy": 1.5, "test_accuracy": -0.1, "training": training}
    manifest = parsed(told, stages=[stage], peak_memory=2**63, timings={"map": -1}, seed=-4)
    assert manifest.stages == (StageRecord("pretrain", training=Training(objective=-7)),)
    assert (manifest.peak_memory, manifest.timings, manifest.seed) == (0, {}, -4)
