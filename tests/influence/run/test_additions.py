"""A table more in a finished run: all or nothing, whatever interrupts it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from two_stages import contents, write

from influence.errors import RunError
from influence.run.additions import add_tables
from influence.run.files import locked, manifest_checksum, retrainings_locked, write_json
from influence.run.manifest import read_json
from influence.run.reading import Run
from influence.run.records import manifest_of

TABLE = pd.DataFrame({"changed": "seed", "start": "scratch", "seed": [0, 0], "query": [0, 1], "measured": [0.5, -0.5]})
OTHER = pd.DataFrame({"scores": "shuffled labels", "against": "subsets", "query": [0], "rank_correlation": [0.5]})


def times(factor):
    return TABLE.assign(measured=factor * TABLE["measured"])


@pytest.fixture
def run(tmp_path):
    return write(tmp_path)


def test_what_was_added_is_read_back_and_the_rest_is_as_it_was(run):
    before = contents(run.path)
    assert (run.validations, run.validation("noise")) == ([], None)
    found = add_tables(run, {"noise": TABLE})
    pd.testing.assert_frame_equal(found.validation("noise"), TABLE)
    again = Run.open(run.path)
    assert again.validations == ["noise"]
    after = contents(run.path)
    assert {p for p in before if before[p] != after[p]} == {next(p for p in before if p.name == "run.json")}
    assert {p.parts[0] for p in after.keys() - before.keys()} == {"validation"}
    assert not (run.path.parent / ".r.lock").exists()


def test_a_newer_table_takes_the_place_of_the_older(run):
    add_tables(run, {"noise": TABLE, "sanity": OTHER})
    add_tables(run, {"noise": times(2)})  # `run` itself still has the manifest of before
    again = Run.open(run.path)
    pd.testing.assert_frame_equal(again.validation("noise"), times(2))
    pd.testing.assert_frame_equal(again.validation("sanity"), OTHER)
    assert len(list((run.path / "validation").iterdir())) == 2
    add_tables(run, {"noise": times(2)})  # the same once more
    assert Run.open(run.path).validations == ["noise", "sanity"]


@pytest.mark.parametrize("moves", [0, 1])
def test_an_interruption_leaves_the_run_as_it_was(run, monkeypatch, moves):
    """Killed before the table, or before run.json, is in its place."""
    add_tables(run, {"noise": TABLE})
    move, done = Path.replace, []

    def killed(temporary, path):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(path)
        return move(temporary, path)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        add_tables(run, {"noise": times(2)})
    pd.testing.assert_frame_equal(Run.open(run.path).validation("noise"), TABLE)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(add_tables(run, {"noise": times(3)}).validation("noise"), times(3))
    Run.open(run.path)


def test_a_second_writer_is_refused(run):
    with locked(run.path), pytest.raises(RunError, match="Another process is computing run"):
        add_tables(run, {"noise": TABLE})
    assert Run.open(run.path).validations == []
    held = pytest.raises(RunError, match=f"Another process trains run {run.name} again. Wait for it.$")
    with retrainings_locked(run.path), held, retrainings_locked(run.path):
        pass


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x"])
def test_names_that_are_no_file_names(run, name):
    with pytest.raises(RunError, match="cannot be a check's name"):
        add_tables(run, {name: TABLE})


@pytest.mark.parametrize("found", [[], 5])
def test_validation_of_another_kind_is_none(run, found):
    told = read_json(run.path) | {"validation": found}
    opened = Run(run.path, manifest_of(told | {"checksum": manifest_checksum(told)}, run.path))
    assert opened.validation("noise") is None


@pytest.mark.parametrize("file", ["examples/../../x", "gone.parquet", "{mine}"])
def test_a_manifest_that_names_other_than_its_tables(run, tmp_path, file):
    """What is no file of the run is no table, so that nothing outside is ever read, or deleted as an old table."""
    mine = tmp_path / "mine"
    mine.write_text("of the user")
    told = read_json(run.path) | {"validation": {"noise": file.format(mine=mine)}}
    write_json(run.path / "run.json", told | {"checksum": manifest_checksum(told)})
    with pytest.raises(RunError, match="as the table of check noise"):
        Run.open(run.path)
    with pytest.raises(RunError, match="as the table of check noise"):
        add_tables(run, {"noise": TABLE})
    assert mine.read_text() == "of the user"
