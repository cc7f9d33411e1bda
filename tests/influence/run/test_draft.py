"""A run written step by step: what is unfinished resumes, what is in the way is named."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest
import torch
from two_stages import SETTINGS, contents, finish

from influence.errors import RunError
from influence.run.draft import Draft
from influence.run.reading import Run


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
    Draft(tmp_path, "r", SETTINGS).path("journal.jsonl").write_text(text)
    with pytest.raises(RunError, match=r"The unfinished run .*\.r\.unfinished is damaged .*Delete it and start again"):
        Draft(tmp_path, "r", SETTINGS)


def test_killed_while_the_manifest_was_written(tmp_path):
    """What a killed process left half-written is no part of the run."""
    draft = Draft(tmp_path, "r", SETTINGS)
    draft.mark("fit")
    for leftover in ("run.json.tmp", "run.json", "journal.jsonl.tmp"):
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
    assert not (run.path / "journal.jsonl").exists()
    Run.open(run.path)


def test_run_in_the_way(tmp_path, folder):
    before = contents(folder)
    with pytest.raises(RunError, match=r"finished run cannot be moved to .*Directory not empty"):
        finish(Draft(tmp_path, "r", {"seed": 4}))
    assert contents(folder) == before


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
