"""Notes beside a run: what is written is read, nothing is lost, and what is no note is told."""

from __future__ import annotations

import json
import threading

import pytest
from small_run import restated

from explorer.export import notes
from explorer.runs import queries
from influence import Run
from influence.errors import RunError


@pytest.fixture
def run(small, tmp_path):
    return small.write_run(tmp_path, "small")


def test_the_last_note_about_an_item_holds(run):
    notes.write(run, notes.Note("pretrain", 3, ("duplicate",), "first"))
    notes.write(run, notes.Note("pretrain", 4, (), "other"))
    notes.write(run, notes.Note("pretrain", 3, ("unclear",), "second"))
    found = notes.read(run)
    assert [(n.id, n.said) for n in found.latest.values()] == [(4, "other"), (3, "unclear: second")]
    assert set(found.of("pretrain")) == {3, 4}
    notes.write(run, notes.Note("pretrain", 3))
    assert set(notes.read(run).of("pretrain")) == {4}
    assert notes.file(run).read_bytes().count(b"first") == 1


def test_notes_are_beside_the_run_and_leave_it_whole(run):
    notes.write(run, notes.Note(queries.QUERIES, 1003, (), "x"))
    assert notes.file(run) == run.path.parent / "small.notes.jsonl"
    assert Run.open(run.path).problems() == []


def test_damaged_lines_cost_only_themselves(run):
    notes.write(run, notes.Note("pretrain", 3, (), "kept"))
    bad = [b"{", b"[]", b'{"table": "pretrain"}', b'{"table": "pretrain", "id": "3"}', b"\xff\xfe", b"[" * 20000]
    with notes.file(run).open("ab") as file:
        file.write(b"\n".join(bad))  # the last of them was cut off
    notes.write(run, notes.Note("pretrain", 4, (), "after"))
    found = notes.read(run)
    assert {n.text for n in found.latest.values()} == {"kept", "after"}
    assert found.damaged == (2, 3, 4, 5, 6, 7)


def test_what_a_file_says_is_data(run):
    line = {"table": "pretrain", "id": 1, "tags": ["unclear", "<b>", "unclear"], "text": "y" * 9000}
    for view in ("javascript:alert(1)", "//elsewhere/?a=b", './x?a="><script>', "./item?run=a%20b&k=5"):
        with notes.file(run).open("a") as file:
            file.write(json.dumps(line | {"view": view, "id": line["id"]}) + "\n")
        line["id"] += 1
    found = list(notes.read(run).latest.values())
    assert [note.view for note in found] == ["", "", "", "./item?run=a%20b&k=5"]
    assert found[0].tags == ("unclear",)
    assert len(found[0].text) == notes.LONGEST_NOTE


def test_two_visitors_at_once_lose_nothing(run):
    def write(who):
        for number in range(20):
            notes.write(run, notes.Note("pretrain", number, (), f"{who} {number}"))

    threads = [threading.Thread(target=write, args=(who,)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = notes.file(run).read_text().splitlines()
    assert sorted(json.loads(line)["text"] for line in lines) == sorted(f"{w} {n}" for w in "abcd" for n in range(20))
    assert notes.read(run).damaged == ()


def test_limits_and_places_that_cannot_be_written_are_said(run, monkeypatch):
    with pytest.raises(RunError, match="at most 2,000 characters"):
        notes.write(run, notes.Note("pretrain", 1, (), "x" * 2001))
    monkeypatch.setattr(notes, "LARGEST_FILE", 400)
    notes.write(run, notes.Note("pretrain", 1, (), "x"))
    with pytest.raises(RunError, match="Move the file away"):
        notes.write(run, notes.Note("pretrain", 1, (), "x" * 300))
    assert notes.read(run).latest["pretrain", 1].text == "x"
    monkeypatch.undo()
    notes.file(run).unlink()
    notes.file(run).mkdir()
    with pytest.raises(RunError, match="cannot be kept"):
        notes.write(run, notes.Note("pretrain", 1, (), "x"))
    with pytest.raises(RunError, match="cannot be read"):
        notes.read(run)


def test_notes_about_an_earlier_run_of_the_name_are_told_apart(run):
    notes.write(run, notes.Note("pretrain", 1, (), "x"))
    note = notes.read(run).latest["pretrain", 1]
    assert notes.current(run, note)
    restated(run, created="2030-01-01T00:00:00Z")
    assert not notes.current(run, note)
    assert notes.rows(run, notes.read(run))["of_this_run"].tolist() == [False]
