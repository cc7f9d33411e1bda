"""Pictures and texts of a large table stay in its file till they are looked at."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from two_stages import OLD, relisted, write

from influence.errors import RunError
from influence.run import writer
from influence.run.parquet import tables

FILE, ROWS = "examples/pretrain.parquet", 100
TEXTS = [f"text {row} " + "x" * (row % 7) for row in range(OLD)]


@pytest.fixture(scope="module")
def by_groups(tmp_path_factory):
    """A run whose first stage has texts, in 15 groups of rows; and one with the same table in a single group."""
    table = pd.DataFrame({"id": np.arange(OLD), "text": TEXTS, "label": "a", "loss": np.linspace(0, 1, OLD)})
    found = []
    for rows in (ROWS, OLD):
        run = write(tmp_path_factory.mktemp("runs"))
        table.to_parquet(run.path / FILE, index=False, row_group_size=rows)
        found.append(relisted(run.path))
    return found


@pytest.fixture
def read(monkeypatch):
    """Groups of rows that are read, in their order."""
    seen, whole = [], tables.Groups.read
    monkeypatch.setattr(tables.Groups, "read", lambda self, *asked: seen.append(asked[-1]) or whole(self, *asked))
    return seen


def test_a_row_reads_its_group_alone(by_groups, read):
    examples = relisted(by_groups[0].path).examples("pretrain")
    assert list(examples.columns) == ["id", "text", "label", "loss"]
    assert "text" in examples
    chosen = examples.iloc[[1234, 7, 5, 1201]]
    assert not read
    assert chosen["text"].tolist() == [TEXTS[row] for row in (1234, 7, 5, 1201)]
    assert examples.iloc[1299]["text"] == TEXTS[1299]
    assert examples["text"].iloc[-1] == TEXTS[-1]
    assert sorted(read) == [0, 12, 14]


@pytest.mark.parametrize(
    "chosen",
    [
        lambda table: table,
        lambda table: table[table["loss"] > 0.9],
        lambda table: table.iloc[150:260:3],
        lambda table: table.sort_values("loss", ascending=False).head(5),
        lambda table: table.assign(more=1).drop(columns="label").iloc[:0],
    ],
)
def test_chosen_rows_are_those_of_a_table_that_is_read_whole(by_groups, chosen):
    one, other = (chosen(run.examples("pretrain")) for run in by_groups)
    pd.testing.assert_frame_equal(one.astype({"text": object}), other.astype({"text": object}))
    assert one["text"].fillna("").tolist() == other["text"].tolist()
    assert list(one["text"].astype(str)) == list(other["text"])
    assert one.to_dict("records") == other.to_dict("records")


def test_rows_that_are_not_there_are_refused(by_groups):
    column = by_groups[0].examples("pretrain")["text"]
    with pytest.raises(IndexError):
        column.iloc[OLD]
    with pytest.raises(ValueError, match="not in the file"):
        column.array.take([0, -1], allow_fill=True)


def test_a_group_that_cannot_be_read_is_told_by_the_files_name(by_groups, tmp_path):
    run = write(tmp_path)
    content = bytearray((by_groups[0].path / FILE).read_bytes())
    chunk = pq.ParquetFile(by_groups[0].path / FILE).metadata.row_group(3).column(1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    (run.path / FILE).write_bytes(content)
    texts = relisted(run.path).examples("pretrain")["text"]
    assert texts.iloc[299] == TEXTS[299]
    with pytest.raises(RunError, match=f"{FILE} of run r cannot be read"):
        texts.iloc[300]


def test_a_group_that_would_fill_memory_is_refused(by_groups, monkeypatch):
    texts = relisted(by_groups[0].path).examples("pretrain")["text"]
    monkeypatch.setattr(tables, "SMALL", 100)
    monkeypatch.setattr(tables, "LOOSEST", 0)
    with pytest.raises(RunError, match="would take"):
        texts.iloc[0]


def test_large_tables_are_written_in_groups(monkeypatch):
    table = pd.DataFrame({"id": np.arange(OLD), "text": TEXTS})
    assert writer.rows_together(table[["id"]]) is None
    assert writer.rows_together(table) > OLD, "a small table is one group"
    monkeypatch.setattr(writer, "GROUP_BYTES", 2000)
    characters = sum(map(len, TEXTS))
    assert writer.rows_together(table) == OLD * 2000 // characters
    monkeypatch.setattr(writer, "MOST_GROUPS", 5)
    assert writer.rows_together(table) == OLD // 5
