"""Links, pipes and devices in a folder of runs: refused by name, never followed, read or written."""

from __future__ import annotations

import errno
import json
import os

import pandas as pd
import pytest
from safetensors import SafetensorError
from two_stages import SETTINGS, finish, write

from influence.errors import RunError
from influence.run.additions import add_tables
from influence.run.draft import Draft
from influence.run.files import draft_name, is_held, locked
from influence.run.plain import (
    MOST_VALUES,
    lock_of,
    odd_entries,
    own_folder,
    parsed_json,
    plain_file,
    read_plain,
    replacement,
    sweep,
    writing,
)
from influence.run.reading import Run, runs_in
from influence.validation.pieces import Pieces

TABLE = pd.DataFrame({"query": [0, 1], "measured": [0.5, -0.5]})
FILES = ("run.json", "queries.parquet", "stages/pretrain.safetensors", "scores/pretrain-exact.zarr/c/0/0", "other")


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine"
    file.write_text("of the user")
    return file


def odd(kind, path, mine):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else mine)


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
@pytest.mark.parametrize("name", FILES)
def test_a_run_holds_plain_files_only(tmp_path, mine, kind, name):
    folder = write(tmp_path / "runs").path
    odd(kind, folder / name, mine)
    with pytest.raises(RunError, match="a link, a pipe or a device"):
        Run.open(folder)
    ((_, listed),) = runs_in(tmp_path / "runs")
    assert isinstance(listed, RunError) is (name == "run.json")


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("name", ["validation", "validation/noise.tmp", "validation/x.parquet", "run.json.tmp"])
def test_nothing_is_added_to_a_run_that_holds_others(tmp_path, mine, kind, name):
    run = write(tmp_path / "runs")
    odd(kind, run.path / name, mine)
    with pytest.raises(RunError, match="holds '.*', which is a link, a pipe or a device"):
        add_tables(run, {"noise": TABLE})
    assert mine.read_text() == "of the user"


def test_a_folder_elsewhere_is_not_written_through_a_link(tmp_path):
    run, elsewhere = write(tmp_path / "runs"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.path / "validation").symlink_to(elsewhere)
    with pytest.raises(RunError, match="holds 'validation'"):
        add_tables(run, {"noise": TABLE})
    assert not list(elsewhere.iterdir())


def test_a_draft_is_not_resumed_through_links(tmp_path, mine):
    root = tmp_path / "runs"
    Draft(root, "r", SETTINGS).mark("begun")
    odd("link", root / draft_name("r") / "examples" / "pretrain.parquet", mine)
    with pytest.raises(RunError, match="examples/pretrain.parquet"):
        Draft(root, "r", SETTINGS)
    other = tmp_path / "other"
    (root / draft_name("r")).rename(other)
    (other / "examples" / "pretrain.parquet").unlink()
    (root / draft_name("r")).symlink_to(other)
    with pytest.raises(RunError, match="is a link"):
        Draft(root, "r", SETTINGS)


@pytest.mark.parametrize("whole", [True, False])
def test_cached_retrainings_are_not_read_or_written_through_links(tmp_path, mine, whole):
    folder, elsewhere = tmp_path / ".r.retrainings", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if whole:
        folder.symlink_to(elsewhere)
    else:
        odd("link", folder / "0.parquet", mine)
    with pytest.raises(RunError, match="link"):
        Pieces(folder)


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_no_odd_file_is_opened(tmp_path, mine, kind):
    path = tmp_path / "odd"
    odd(kind, path, mine)
    for mode in ("rb", "ab", "wb", "r+b"):
        with pytest.raises(OSError, match="not a plain file"), open(path, mode, opener=plain_file):
            pass
    assert mine.read_text() == "of the user"


def test_a_large_file_is_not_read(mine):
    assert read_plain(mine, 11) == b"of the user"
    with pytest.raises(OSError, match="more than 10 bytes"):
        read_plain(mine, 10)


def test_a_file_is_replaced_and_not_written_through_a_link(tmp_path, mine):
    path = tmp_path / "run.json"
    path.symlink_to(mine)
    with replacement(path) as new:
        new.write_text("new")
    assert mine.read_text() == "of the user"
    assert not path.is_symlink()
    assert path.read_text() == "new"


def test_a_failure_leaves_the_old_file_and_no_other(mine):
    with pytest.raises(KeyboardInterrupt), replacement(mine):
        raise KeyboardInterrupt
    assert [p.name for p in mine.parent.iterdir()] == ["mine"]
    assert mine.read_text() == "of the user"


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "the disk is full. Free some space there, or choose another folder."),
        (errno.EDQUOT, "the quota of this user is used up. Free"),
        (errno.EROFS, "it can only be read. Make it writable"),
        (errno.EACCES, "this user may not write there. Allow it"),
        (errno.EIO, "Input/output error. Mend that"),
    ],
)
@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_what_cannot_be_written_is_named_with_what_to_do(mine, number, why, kind):
    failure = OSError(number, os.strerror(number))
    if kind is SafetensorError:  # it tells numbers in words only
        failure = SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")
    with pytest.raises(RunError) as error, replacement(mine):
        raise failure
    assert str(error.value).startswith(f"Cannot write mine into {mine.parent}: {why}")
    assert str(error.value).endswith("What was finished is kept: the same command goes on from there.")
    assert [path.name for path in mine.parent.iterdir()] == ["mine"]


def test_other_failures_stay_what_they_are(mine):
    for failure in (SafetensorError("no tensor"), ValueError("x"), RunError("said")):
        with pytest.raises(type(failure), match=str(failure)), writing(mine):
            raise failure


def test_what_a_kill_left_half_written_is_deleted_when_it_is_met(tmp_path):
    run = write(tmp_path)
    for name in (
        f".run.json.{'0a' * 8}.tmp",
        f"validation/.noise-0.parquet.{'0b' * 8}.tmp",
        f"scores/pretrain-exact.zarr/c/0/9.{'ab' * 16}.partial",
    ):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("half")
    add_tables(run, {"noise": TABLE})
    assert not [p for p in run.path.rglob("*") if p.suffix in (".tmp", ".partial")]
    for mine in ("letter.tmp", "validation/film.partial", ".cache.tmp"):  # not of our forms
        (run.path / mine).write_text("of the user")
    add_tables(run, {"noise": TABLE[:1]})
    assert all((run.path / mine).read_text() == "of the user" for mine in ("letter.tmp", ".cache.tmp"))
    assert (run.path / "validation/film.partial").is_file()
    sweep(own(tmp_path / "empty"))


def test_tables_and_work_that_a_kill_left_are_deleted_when_they_are_met(tmp_path):
    run = add_tables(write(tmp_path), {"noise": TABLE})
    (kept,) = run.manifest.validation.values()
    left = ("validation/noise-0123456789ab.parquet", "work/queries-exact/0.float32", "journal.jsonl")
    mine = ("validation/mine.parquet", "validation/noise-0123456789ab.parquet.old", "notes.txt", "works/x")
    for name in (*left, *mine):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("x")
    assert set(run.unlisted()) == {*left, *mine}
    (tmp_path / ".r.lock").touch()
    found = add_tables(run, {"subsets": TABLE})
    assert set(found.unlisted()) == set(mine)
    assert (run.path / kept).is_file()
    assert not (tmp_path / ".r.lock").exists()
    assert not (run.path / "work").exists()


def test_a_journal_stays_while_parts_are_to_come(tmp_path):
    draft = Draft(tmp_path, "r", SETTINGS)
    draft.mark("begun")
    (draft.folder / "work").mkdir()
    run = finish(draft, pending=["map"])
    (run.path / "work").mkdir(exist_ok=True)
    add_tables(run, {"noise": TABLE})
    assert (run.path / "journal.jsonl").is_file()
    assert (run.path / "work").is_dir()


def test_half_a_cached_retraining_is_deleted(tmp_path):
    for name in (f".a.parquet.{'0a' * 8}.tmp", "mine.tmp"):
        (own(tmp_path / "pieces") / name).write_text("half")
    Pieces(tmp_path / "pieces")
    assert [path.name for path in (tmp_path / "pieces").iterdir()] == ["mine.tmp"]


def own(folder):
    own_folder(folder)
    return folder


# Files with two names, links as locks, folders without end


def test_a_file_with_another_name_is_read_and_not_written(tmp_path, mine):
    os.link(mine, tmp_path / "log.txt")
    assert read_plain(tmp_path / "log.txt", 100) == b"of the user"
    with (
        pytest.raises(OSError, match="not a plain file of one name"),
        open(tmp_path / "log.txt", "ab", opener=plain_file),
    ):
        pass
    (tmp_path / "own").mkdir()
    os.link(mine, tmp_path / "own" / "log.txt")
    with pytest.raises(RunError, match="'log.txt', which is a file that has another name elsewhere"):
        own_folder(tmp_path / "own")


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_what_is_no_lock_is_not_locked(tmp_path, mine, kind):
    odd(kind, tmp_path / ".r.lock", mine)
    with pytest.raises(OSError, match="not a plain file"):
        lock_of(tmp_path / ".r.lock")
    with pytest.raises(RunError, match="cannot be locked by"), locked(tmp_path / "r"):
        pass
    assert not is_held(tmp_path / "r")
    assert mine.read_text() == "of the user"


def test_a_run_that_is_a_link_is_read_and_not_written(tmp_path):
    run = write(tmp_path / "elsewhere")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r").symlink_to(run.path)
    linked = Run.open(tmp_path / "runs" / "r")
    with pytest.raises(RunError, match="is a link. A plain folder belongs there"):
        add_tables(linked, {"noise": TABLE})


def test_folders_in_folders_without_end(tmp_path):
    folder = tmp_path.joinpath(*"abcdefghij")
    folder.mkdir(parents=True)
    assert odd_entries(tmp_path) == ["a/b/c/d/e/f/g/h/i"]


# JSON


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "names 'a' twice"),
        ("[NaN]", "no finite number"),
        ("[-Infinity]", "no finite number"),
        ("[1e400]", "no finite number"),
        (f"[{2**64}]", "more than 64 bits"),
        ("1" * 5000, "more than 64 bits"),
        ('["\\ud800"]', "surrogates"),
        ("[" * 101 + "]" * 101, "nested more than 100 deep"),
        ("[" + "[]," * MOST_VALUES + "0]", "more than"),
        ('{"a": }', "Expecting value"),
        ("\ufeff{}", "BOM|Expecting value"),
    ],
)
def test_json_that_means_more_than_one_thing_or_too_much(text, why):
    with pytest.raises(ValueError, match=why):
        parsed_json(text.encode())


@pytest.mark.parametrize("told", [{"a": ["[" * 200, '\\"[{,', 1.5, -(2**63), None, True]}, "\U0001f600", "\\ud800", []])
def test_other_json_is_what_it_says(told):
    assert parsed_json(json.dumps(told).encode()) == told
    assert parsed_json(json.dumps(told, ensure_ascii=False).encode()) == told
