"""Folders and patterns of files of texts, read as one file."""

from __future__ import annotations

import gzip
import json
import os

import pandas as pd
import pytest

from influence.errors import StudyError
from influence.studies.text_files.columns import corpora
from influence.studies.text_files.opening import open_texts

TABLE = pd.DataFrame({"text": [f"text {i}" for i in range(10)], "label": ["a", "b"] * 5})
WRITE = {
    "csv": lambda table, file: table.to_csv(file, index=False),
    "parquet": lambda table, file: table.to_parquet(file, index=False),
    "jsonl": lambda table, file: table.to_json(file, orient="records", lines=True),
    "txt": lambda table, file: file.write_text("".join(f"{text}\n" for text in table["text"])),
}


def shards(folder, kind, *cuts):
    """The table in files, cut at these rows."""
    folder.mkdir()
    for i, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(TABLE)], strict=True)):
        WRITE[kind](TABLE[start:stop], folder / f"part-{i}.{kind}")
    return folder


@pytest.mark.parametrize("kind", WRITE)
def test_a_folder_or_a_pattern_is_one_file(tmp_path, kind):
    folder = shards(tmp_path / "corpus", kind, 3, 4)
    WRITE[kind](TABLE, tmp_path / f"whole.{kind}")
    columns = [] if kind == "txt" else ["text", "label"]
    whole = list(open_texts(tmp_path / f"whole.{kind}").rows(columns))
    for path in (folder, folder / f"*.{kind}", tmp_path / "**" / f"part*.{kind}"):
        found = open_texts(path)
        assert list(found.rows(columns)) == whole
        assert found.place(3).startswith(str(folder / f"part-1.{kind}"))
        assert found.spot(9).endswith(f" of part-2.{kind}")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_packed_files_are_read_as_unpacked_ones_alone_and_among_others(tmp_path, kind):
    folder = shards(tmp_path / "corpus", kind, 3, 4)
    columns = [] if kind == "txt" else ["text", "label"]
    whole = list(open_texts(folder).rows(columns))
    for file in sorted(folder.iterdir())[1:]:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert list(open_texts(folder).rows(columns)) == whole
    assert list(open_texts(folder / f"part-2.{kind}.gz").rows(columns)) == [(i - 4, said) for i, said in whole[4:]]


@pytest.mark.parametrize(
    "spoil", [lambda content: content[:-9], lambda content: content[:40] + content[60:], bytes.upper]
)
def test_a_packed_file_that_is_damaged_is_named(tmp_path, spoil):
    file = tmp_path / "a.jsonl.gz"
    lines = "".join(json.dumps({"text": f"text {i**9}"}) + "\n" for i in range(2000))
    file.write_bytes(spoil(gzip.compress(lines.encode())))
    with pytest.raises(StudyError, match=r"a.jsonl.gz is no whole gzip file.*damaged or cut off"):
        list(open_texts(file).rows(["text"]))


def test_a_study_of_shards_is_that_of_whole_files(tmp_path):
    parts = [shards(tmp_path / "many", "jsonl", 2, 7), shards(tmp_path / "few", "csv", 5), tmp_path / "test.parquet"]
    TABLE.to_parquet(parts[2])
    for kind in ("jsonl", "csv"):
        WRITE[kind](TABLE, tmp_path / f"whole.{kind}")
    whole, _ = corpora([tmp_path / "whole.jsonl", tmp_path / "whole.csv", parts[2]])
    found, _ = corpora(parts)
    assert found == whole
    (sampled, notes), (again, _) = (
        corpora([each, parts[1], parts[2]], sample=4, seed=1) for each in (parts[0], tmp_path / "whole.jsonl")
    )
    assert sampled["pretrain"] == again["pretrain"]
    assert "4 of the 10 texts of many were taken, drawn by the seed." in notes


def other_columns(folder):
    TABLE.rename(columns={"label": "class"}).to_csv(folder / "part-9.csv", index=False)


def no_texts(folder):
    (folder / "part-9.csv").write_text("text,label\n")


def other_kind(folder):
    (folder / "note.txt").write_text("a line\n")


def damaged(folder):
    (folder / "part-9.csv").write_text("text,label\na,b,c\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_columns, r"part-9\.csv has the columns 'text', 'class', and .*part-0\.csv before it 'text', 'label'"),
        (no_texts, r"part-9\.csv holds no texts\. Leave it out, or mend it\."),
        (
            other_kind,
            r"corpus holds files of several kinds \(part-0\.csv and note\.txt\); .* such as '.*corpus/\*\.csv'",
        ),
        (damaged, r"part-9\.csv, line 2: 3 values where the header has 2 columns"),
    ],
)
def test_what_is_not_in_order_is_named(tmp_path, change, message):
    folder = shards(tmp_path / "corpus", "csv", 5)
    change(folder)
    with pytest.raises(StudyError, match=message):
        list(open_texts(folder).rows(["text", "label"]))


def test_a_pattern_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"nothing\*\.csv matches no file\. A pattern is in quotes"):
        open_texts(tmp_path / "nothing*.csv")


def test_a_key_may_be_in_a_later_file(tmp_path):
    for name, rows in (("a", [{"text": "one"}]), ("b", [{"text": "two", "title": "Two"}])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = open_texts(tmp_path)
    assert found.columns_called("title", everywhere=True) == ["title"]
    assert [values for _, values in found.rows(["text", "title"])] == [["one", None], ["two", "Two"]]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux tells them")
def test_files_are_open_only_while_they_are_read(tmp_path):
    """A folder may hold more files than a process may have open, often 1,024."""
    folder = shards(tmp_path / "corpus", "parquet", *range(1, 10))
    before = len(os.listdir("/proc/self/fd"))
    found = open_texts(folder)
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(list(found.rows(["text"]))) == len(TABLE)
    assert len(os.listdir("/proc/self/fd")) == before


def test_columns_that_change_after_the_first_look(tmp_path):
    file = tmp_path / "a.parquet"
    TABLE.to_parquet(file)
    texts = open_texts(file)
    TABLE.rename(columns={"label": "class"}).to_parquet(file)
    with pytest.raises(StudyError, match="other columns while it was read"):
        list(texts.rows(["text", "label"]))
