"""What the journal says is on the disk before it says so; what is not as it says is computed again."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from two_stages import SETTINGS, finish, manifest, write

from influence.errors import RunError
from influence.run import draft as drafts
from influence.run import plain
from influence.run.additions import add_tables
from influence.run.draft import Draft
from influence.run.files import checksum
from influence.run.journal import disk
from influence.run.journal.journal import Journal
from influence.run.reading import Run

TABLE = pd.DataFrame({"id": [1, 2]})


@pytest.fixture
def synced(monkeypatch):
    """Files and folders, by their numbers on the disk, that are as they were when they were last put there."""
    found, sync = {}, os.fsync

    def noted(number):
        sync(number)
        told = os.fstat(number)
        found[told.st_ino] = told.st_mtime_ns if stat.S_ISREG(told.st_mode) else sorted(os.listdir(number))

    monkeypatch.setattr(os, "fsync", noted)

    def is_synced(path):
        told = path.stat()
        return found.get(told.st_ino) == (told.st_mtime_ns if path.is_file() else sorted(os.listdir(path)))

    return is_synced


def named(folder, files):
    """What a journal or a manifest that is written into `folder` says is there, with the folders on the way."""
    paths = [folder / file for file in files]
    return {*paths, *(parent for path in paths for parent in path.parents if folder in parent.parents)}


def test_files_are_on_the_disk_before_the_journal_or_the_manifest_names_them(tmp_path, monkeypatch, synced):
    write_json, write_journal, seen = drafts.write_json, Journal.write, []

    def looked_at(folder, name, files):
        names = named(folder, files)
        assert [path for path in names if not synced(path)] == []
        seen.append((name, len(names)))

    def watching(path, content):
        looked_at(path.parent, path.name, content["files"])
        write_json(path, content)

    def journal(self, folder, **options):
        looked_at(folder, "journal.jsonl", self.checksums)
        write_journal(self, folder, **options)

    monkeypatch.setattr(Journal, "write", journal)
    monkeypatch.setattr(drafts, "write_json", watching)
    monkeypatch.setattr("influence.run.additions.write_json", watching)
    draft = Draft(tmp_path, "r", SETTINGS)
    draft.write_table("work/part", TABLE)
    draft.mark("part")
    run = finish(draft)
    add_tables(run, {"noise": pd.DataFrame({"query": [0]})})
    assert [name for name, _ in seen] == ["journal.jsonl", "run.json", "journal.jsonl", "run.json"]
    assert seen[1][1] < seen[3][1]
    for path in (run.path, run.path / "run.json"):
        assert synced(path)


def test_a_replaced_file_has_its_name_on_the_disk(tmp_path, synced):
    with plain.replacement(tmp_path / "x") as new:
        new.write_text("x")
    assert synced(tmp_path)


def begun(root):
    """A draft of three steps, the second of which writes three files."""
    draft = Draft(root, "r", SETTINGS)
    draft.write_table("examples/pretrain", TABLE)
    draft.mark("first", 1)
    draft.write_table("work/self", TABLE)
    file, scores = draft.create_scores("pretrain", "exact", (2, 2))
    draft.write_scores(file, scores, 0, np.ones((2, 2), "float32"))
    draft.mark("second", [2])
    draft.write_table("work/other", TABLE)
    draft.mark("third")
    return draft


FILES = ["work/self.parquet", "scores/pretrain-exact.zarr/zarr.json", "scores/pretrain-exact.zarr/c/0/0"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["zeroed", "longer", "removed", "a folder"])
def test_a_step_whose_file_is_another_is_forgotten_with_all_later_ones(tmp_path, file, damage):
    path = begun(tmp_path).path(file)
    contents = path.read_bytes()
    path.unlink()
    if damage == "zeroed":
        path.write_bytes(bytes(len(contents)))
    elif damage == "longer":
        path.write_bytes(contents + b"0")
    elif damage == "a folder":
        path.mkdir()
    again = Draft(tmp_path, "r", SETTINGS)
    assert again.steps == {"first": 1}
    assert again.lost == (
        f"Run r: {file} is not what was written (a power cut, or a fault of the disk). Step 'second' and the 1 after "
        "it are computed again."
    )
    assert not [path for path in again.path("work").rglob("*") if path.is_file()]


def test_a_whole_draft_loses_nothing_and_is_told_nothing(tmp_path):
    draft = begun(tmp_path)
    half = draft.path("work/training.checkpoint")  # of a step under way
    half.write_bytes(b"half")
    again = Draft(tmp_path, "r", SETTINGS)
    assert (again.steps, again.lost) == ({"first": 1, "second": [2], "third": None}, "")
    assert half.is_file()


def test_a_first_step_that_is_lost_begins_anew(tmp_path):
    begun(tmp_path).path("examples/pretrain.parquet").unlink()
    again = Draft(tmp_path, "r", SETTINGS)
    assert again.steps == {}
    assert list(again.folder.iterdir()) == []


def test_what_is_discarded_is_not_missed(tmp_path):
    draft = begun(tmp_path)
    draft.discard(["third"], "work")
    assert not draft.folder.joinpath("work").exists()
    assert Draft(tmp_path, "r", SETTINGS).lost.count("work/self.parquet") == 1  # of another step
    draft = begun(tmp_path / "again")
    draft.discard(["second"], "work")
    shutil.rmtree(draft.folder / "scores")
    draft.write_table("work/other", TABLE)
    assert Draft(tmp_path / "again", "r", SETTINGS).lost == ""


def test_a_step_that_is_marked_again_keeps_its_files(tmp_path):
    draft = Draft(tmp_path, "r", SETTINGS)
    file, scores = draft.create_scores("pretrain", "exact", (2, 2048))
    for stop in (1024, 2048):
        draft.write_scores(file, scores, stop - 1024, np.ones((2, 1024), "float32"))
        draft.mark("scored", stop)
    written = {name: digest for line in lines_of(draft) for name, digest in line.get("files", {}).items()}
    assert sorted(written) == [f"{file}/c/0/0", f"{file}/c/0/1", f"{file}/zarr.json"]
    for name, (size, sha256) in written.items():
        assert (size, sha256) == (draft.path(name).stat().st_size, checksum(draft.path(name)))


def finished(root):
    """A run that lacks its map; the files of its queries are in the journal."""
    draft = Draft(root, "r", SETTINGS)
    draft.write_table("queries", TABLE)
    draft.mark("first")
    for stage in ("pretrain", "finetune"):
        draft.write_table(f"examples/{stage}", TABLE)
        draft.write_model(stage, {"w": torch.ones(1)})
    return draft.finish(manifest(), ["map"])


def test_checksums_of_the_manifest_are_those_of_the_journal(tmp_path, monkeypatch):
    """A file is read once to be hashed, however often it is named."""
    hashed, original = [], disk._on_disk
    monkeypatch.setattr(disk, "_on_disk", lambda path: (hashed.append(path), original(path))[1])
    run = finished(tmp_path)
    assert len(hashed) == len(set(hashed)) == len(run.manifest.files) == 5
    assert run.problems() == []
    again = Draft(tmp_path, "r", SETTINGS)
    again.write_table("map/pretrain", TABLE)
    added = again.add("map", {})
    assert len(hashed) == 6
    assert added.manifest.files.keys() - run.manifest.files.keys() == {"map/pretrain.parquet"}
    assert added.problems() == []


def test_a_finished_run_with_a_lost_file_is_refused_not_repaired(tmp_path):
    run = finished(tmp_path)
    (run.path / "queries.parquet").unlink()
    assert Draft(tmp_path, "r", SETTINGS).steps == {"first": None}
    with pytest.raises(RunError, match="queries.parquet is missing"):
        Run.open(run.path)


def lines_of(draft):
    return [json.loads(line) for line in draft.path("journal.jsonl").read_text().splitlines()]


def test_an_entry_is_added_without_writing_the_others_again(tmp_path):
    draft = begun(tmp_path)
    for step in ("fourth", "fifth"):
        before = draft.path("journal.jsonl").read_bytes()
        draft.mark(step)
        after = draft.path("journal.jsonl").read_bytes()
        assert after.startswith(before)
        assert len(after) - len(before) < 200
    draft.discard(["third"], "work/none")
    draft.drop(["fourth"], "work/none")
    draft.forget(["first"])
    draft.mark("sixth")
    assert [set(line) & {"step", "released", "forgotten"} for line in lines_of(draft)[-3:]] == [
        {"forgotten"}, {"forgotten"}, {"step"}
    ]  # fmt: skip
    again = Draft(tmp_path, "r", SETTINGS)
    assert again.steps == draft.steps == {"second": [2], "third": None, "fifth": None, "sixth": None}
    assert not again.journal.names_files_of("third")
    again.mark("seventh")
    assert len(lines_of(again)) == 2 + len(again.steps)  # what was forgotten is gone


@pytest.mark.parametrize("left", [0, 1, 40])
def test_a_line_that_a_killed_process_left_without_its_end_is_no_step(tmp_path, left):
    path = begun(tmp_path).path("journal.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:left])
    again = Draft(tmp_path, "r", SETTINGS)
    assert (again.steps, again.lost) == ({"first": 1, "second": [2]}, "")
    again.mark("third")
    assert Draft(tmp_path, "r", SETTINGS).steps == {"first": 1, "second": [2], "third": None}


def test_a_disk_that_is_full_in_the_middle_of_a_line_is_no_harm(tmp_path, monkeypatch):
    draft = begun(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, os.strerror(28))))
        with pytest.raises(RunError, match="Cannot write journal.jsonl .* same command goes on from there"):
            draft.mark("fourth")
    draft.mark("fifth")
    assert list(Draft(tmp_path, "r", SETTINGS).steps) == ["first", "second", "third", "fourth", "fifth"]


CHANGED = "changed after it was written"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[0].update(version=1), "of version 1, expected 3"),
        (lambda lines: lines[0]["settings"].update(seed=4), CHANGED),
        (lambda lines: lines[2].update(record=2), CHANGED),
        (lambda lines: lines[2].update(files={}), CHANGED),
        (lambda lines: lines.pop(3), CHANGED),
        (lambda lines: lines.insert(3, lines.pop()), CHANGED),
        (lambda lines: lines.insert(3, lines[3]), CHANGED),
        (lambda lines: lines.__delitem__(slice(2, None)), "has 1 entries, expected 2 at least"),
    ],
)
def test_a_changed_journal_is_named(tmp_path, change, message):
    draft = begun(tmp_path)
    lines = lines_of(draft)
    change(lines)
    draft.path("journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunError, match=rf"is damaged \(its journal .*{message}"):
        Draft(tmp_path, "r", SETTINGS)


def test_a_finished_run_whose_journal_lost_lines_is_refused(tmp_path):
    run = finished(tmp_path)
    path = run.path / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunError, match="has 1 entries, expected 2 at least"):
        Draft(tmp_path, "r", SETTINGS)


OTHERS = [b"", bytes(100), b"\0\n", b"[" * 100_000 + b"\n", b"\xff\xfe\n", b"null\n", b'{"version": 3}\n', b"5\n5\n"]


@pytest.mark.parametrize("contents", OTHERS)
def test_a_journal_of_other_contents_is_named(tmp_path, contents):
    begun(tmp_path).path("journal.jsonl").write_bytes(contents)
    with pytest.raises(RunError, match="is damaged"):
        Draft(tmp_path, "r", SETTINGS)


def test_a_folder_that_cannot_be_synced_is_no_failure_but_a_disk_is(tmp_path, monkeypatch):
    def failing(number):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", failing)
    error = 22
    plain.sync_folder(Path(tmp_path))
    error = 5
    with pytest.raises(OSError, match="Input/output"):
        plain.sync_folder(Path(tmp_path))


def test_a_disk_that_is_full_when_files_are_put_on_it_is_named(tmp_path, monkeypatch):
    draft = Draft(tmp_path, "r", SETTINGS)
    draft.write_table("queries", TABLE)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, os.strerror(28))))
        with pytest.raises(RunError, match="Cannot write .* same command goes on from there"):
            draft.mark("queries")
    assert Draft(tmp_path, "r", SETTINGS).steps == {}


def test_a_run_that_was_written_is_whole(tmp_path):
    run = write(tmp_path)
    assert run.problems() == []
