"""The run on disk: what is written is read back, what is damaged is named, what is unfinished resumes."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import subprocess
import sys
import weakref

import numpy as np
import pandas as pd
import pytest
import torch

from influence.errors import RunError
from influence.run import reading
from influence.run.additions import add_tables
from influence.run.draft import Draft
from influence.run.reading import Run, read_json, read_manifest, runs_in
from influence.run.records import Manifest, MapRecord, ScoreRecord, StageRecord

SETTINGS = {"seed": 3, "grid": [1, 2]}
QUERIES, OLD, NEW = 70, 1500, 30  # more than a chunk of each
rng = np.random.default_rng(0)
VALUES = {
    ("pretrain", "exact"): rng.normal(size=(QUERIES, OLD)).astype("float32"),
    ("pretrain", "identity"): rng.normal(size=(QUERIES, OLD)).astype("float32"),
    ("finetune", "exact"): rng.normal(size=(QUERIES, NEW)).astype("float32"),
}


def write(root, name="r", settings=SETTINGS):
    draft = Draft(root, name, settings)
    with draft.locked():
        return finish(draft)


def finish(draft, pending=()):
    for stage, count in (("pretrain", OLD), ("finetune", NEW)):
        draft.write_table(f"examples/{stage}", pd.DataFrame({"id": np.arange(count), "label": "a"}))
        draft.write_model(stage, {"w": torch.arange(6.0).reshape(2, 3).T})
    draft.write_table("queries", pd.DataFrame({"id": np.arange(QUERIES), "label": "b"}))
    records = []
    for (stage, method), values in VALUES.items():
        file, array = draft.create_scores(stage, method, values.shape)
        array[:] = values
        records.insert(0, ScoreRecord(stage, method, file))
    return draft.finish(manifest(*records), pending)


def manifest(*scores):
    return Manifest(
        study="s", variant="", title="t", created="2026-11-23T18:00:00Z", default_method="exact",
        stages=(StageRecord("pretrain", OLD), StageRecord("finetune", NEW)), scores=scores, map=MapRecord(),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path).path


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rewrite(folder, **changes):
    """run.json with other fields, and the checksum of those."""
    manifest = json.loads((folder / "run.json").read_text()) | changes
    del manifest["checksum"]
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "run.json").write_text(json.dumps(manifest | {"checksum": digest}))


def relisted(folder):
    """The run, with the files as they now are: checksums tell damage, not who wrote them."""
    names = json.loads((folder / "run.json").read_text())["files"]
    rewrite(folder, files={name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names})
    return Run(folder, read_manifest(folder))


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


def test_score_chunks_are_raw_float32(folder):
    """As CONTRACT.md says: a reader in any language can do without a codec."""
    raw = np.frombuffer((folder / "scores/finetune-exact.zarr/c/0/0").read_bytes(), "<f4").reshape(64, NEW)
    np.testing.assert_array_equal(raw, VALUES["finetune", "exact"][:64])


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


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested more than 100 deep"),
        ('{"format": 1, "title": "\\ud800"}', "surrogates not allowed"),
    ],
)
def test_a_strangers_run_json_that_python_cannot_hold_or_print_is_named(folder, text, why):
    (folder / "run.json").write_text(text)
    ((path, found),) = runs_in(folder.parent)
    assert path == folder
    assert isinstance(found, RunError)
    assert why in str(found)


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


def test_missing_run(tmp_path, folder):
    for path in (tmp_path / "nowhere", folder / "run.json", tmp_path / ("x" * 300)):
        with pytest.raises(RunError, match=r"There is no run at .*`upstream runs` lists what is there"):
            Run.open(path)


def test_folder_that_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"is not a run: it holds no run.json"):
        Run.open(tmp_path)


def test_unfinished_run(tmp_path):
    draft = Draft(tmp_path, "half", SETTINGS)
    draft.mark("fit")
    for path in (tmp_path / "half", draft.folder):
        with pytest.raises(RunError, match=r"is not finished. Run the same `upstream precompute` command to resume it"):
            Run.open(path)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (2, "has format 2; this version of upstream reads format 1. Update upstream"),
        (0, "has format 0; this version of upstream reads format 1. Compute the run again"),
        ("1", "names no format version"),
    ],
)
def test_other_formats(folder, found, message):
    rewrite(folder, format=found)
    with pytest.raises(RunError, match=message):
        Run.open(folder)


def test_a_manifest_is_parsed_once_as_long_as_it_is_the_same(folder, monkeypatch):
    read_manifest(folder)
    parsed, real = [], reading.parsed_json
    monkeypatch.setattr(reading, "parsed_json", lambda text: parsed.append(text) or real(text))
    for _ in range(3):
        assert read_manifest(folder).title == "t"
        assert [run.manifest.title for _, run in runs_in(folder.parent)] == ["t"]
    assert parsed == []
    rewrite(folder, title="u")
    assert [read_manifest(folder).title for _ in range(2)] == ["u", "u"]
    (folder / "run.json").write_text("5")
    for _ in range(2):
        with pytest.raises(RunError, match="names no format version"):
            read_manifest(folder)
    assert len(parsed) == 2


@pytest.mark.parametrize("name", [b"\xff", b"\xed\xa0\x80"])
def test_a_folder_whose_name_cannot_be_shown_is_listed_with_what_is_wrong(folder, name):
    folder.rename(os.fsdecode(os.path.join(os.fsencode(folder.parent), name)))
    ((_, found),) = runs_in(folder.parent)
    assert isinstance(found, RunError)
    assert "cannot be shown" in str(found).encode().decode()


def test_changed_manifest(folder):
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"title": "t"', '"title": "u"'))
    with pytest.raises(RunError, match=r"run.json in .* was changed after it was written"):
        Run.open(folder)
    (folder / "run.json").write_text(json.dumps(json.loads(text), indent=7, sort_keys=True))
    Run.open(folder)  # layout is not content


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ("[]", "names no format"), ("\udcff", "cannot be read")]
)
def test_damaged_manifest(folder, text, message):
    (folder / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match=f"run.json in .*{message}"):
        Run.open(folder)


def test_unknown_fields_and_files_are_ignored(folder):
    rewrite(folder, later={"more": 1})
    (folder / "notes.txt").write_text("mine")
    assert Run.open(folder).name == "r"
    assert read_json(add_tables(Run.open(folder), {}).path)["later"] == {"more": 1}


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


# Writing


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "ä", "x" * 101, "a\n"])
def test_names_that_are_no_file_names(tmp_path, name):
    with pytest.raises(RunError, match=r"cannot be a run's name: use letters, digits"):
        Draft(tmp_path, name, {})


def test_nothing_is_seen_before_the_end(tmp_path):
    draft = Draft(tmp_path, "r", SETTINGS)
    draft.mark("fit")
    assert [p.name for p in tmp_path.iterdir()] == [".r.unfinished"]
    finish(draft)
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_draft_resumes_after_its_last_mark(tmp_path):
    draft = Draft(tmp_path, "r", SETTINGS)
    draft.write_table("queries", pd.DataFrame({"id": [1]}))
    draft.mark("queries", {"rows": 1})
    draft.path("half").write_bytes(b"...")
    again = Draft(tmp_path, "r", SETTINGS)
    assert again.steps == {"queries": {"rows": 1}}
    assert again.path("queries.parquet").is_file()


def test_draft_of_other_settings_is_refused_and_kept(tmp_path):
    draft = Draft(tmp_path, "r", {"seed": 3})
    draft.write_model("pretrain", {"w": torch.ones(1)})
    draft.mark("fit")
    with pytest.raises(
        RunError, match="begun with other settings: seed is 3, asked for 4. Finish it with its own command"
    ):
        Draft(tmp_path, "r", {"seed": 4})
    assert Draft(tmp_path, "r", {"seed": 3}).steps == {"fit": None}
    assert draft.path("stages/pretrain.safetensors").is_file()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"settings": {"seed": 3, "grid": [1, 2]}, "steps": 5}'])
def test_damaged_journal(tmp_path, text):
    Draft(tmp_path, "r", SETTINGS).path("journal.json").write_text(text)
    with pytest.raises(RunError, match=r"The unfinished run .*\.r\.unfinished is damaged .*Delete it and start again"):
        Draft(tmp_path, "r", SETTINGS)


def test_killed_while_the_manifest_was_written(tmp_path):
    """What a killed process left half-written is no part of the run."""
    draft = Draft(tmp_path, "r", SETTINGS)
    draft.mark("fit")
    for leftover in ("run.json.tmp", "run.json", "journal.json.tmp"):
        draft.path(leftover).write_text('{"form')
    run = finish(Draft(tmp_path, "r", SETTINGS))
    assert not [name for name in run.manifest.files if "json" in name and "zarr" not in name]
    Run.open(run.path)


def test_work_of_steps_is_not_part_of_the_run(tmp_path):
    draft = Draft(tmp_path, "r", SETTINGS)
    draft.write_table("work/map", pd.DataFrame({"x": [1.0]}))
    draft.mark("map")
    run = finish(draft)
    assert not (run.path / "work").exists()
    assert not (run.path / "journal.json").exists()
    Run.open(run.path)


def test_run_in_the_way(tmp_path, folder):
    before = contents(folder)
    with pytest.raises(RunError, match=r"finished run cannot be moved to .*Directory not empty"):
        finish(Draft(tmp_path, "r", {"seed": 4}))
    assert contents(folder) == before


def test_tied_and_sliced_weights_are_stored_whole(tmp_path):
    draft = Draft(tmp_path, "r", {})
    weight = torch.arange(6.0)
    draft.write_model("s", {"a": weight, "b": weight, "c": weight[2:]})
    written = {(name := "stages/s.safetensors"): hashlib.sha256((draft.folder / name).read_bytes()).hexdigest()}
    run = Run(draft.folder, dataclasses.replace(manifest(), stages=(StageRecord("s"),), files=written))
    assert {n: t.tolist() for n, t in run.models()["s"].items()} == {
        "a": weight.tolist(),
        "b": weight.tolist(),
        "c": weight[2:].tolist(),
    }


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match=r"Cannot write runs to .*(Not a directory|File exists).*--runs"):
            Draft(root, "r", {})


HOLD = """
import sys
from influence.run.additions import add_tables
from influence.run.draft import Draft
with Draft(sys.argv[1], "r", {"seed": 1}).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_writer_is_refused_and_takes_nothing(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        (tmp_path / ".r.unfinished" / "work").touch()  # of a first step, not yet in the journal
        for settings in ({"seed": 1}, {"seed": 2}):
            for _ in range(2):
                with pytest.raises(
                    RunError, match=r"Another process is computing run .*/r. Wait for it, or choose --name"
                ):
                    Draft(tmp_path, "r", settings)
        assert (tmp_path / ".r.unfinished" / "work").exists()
        assert (tmp_path / ".r.lock").exists()
    finally:
        holder.kill()
        holder.communicate()
    with Draft(tmp_path, "r", {"seed": 1}).locked():  # a killed process holds nothing
        assert (tmp_path / ".r.lock").exists()
    assert not (tmp_path / ".r.lock").exists()


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
