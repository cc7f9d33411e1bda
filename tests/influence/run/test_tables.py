"""Tables of a run: columns, kinds, row numbers and sizes are checked before anybody uses them."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from two_stages import NEW, OLD, QUERIES, relisted, write

from influence.errors import RunError
from influence.run.additions import add_tables
from influence.run.parquet import tables
from influence.run.parquet.forms import FORMS
from influence.run.parquet.pages import DICTIONARY, pages
from influence.run.parquet.tables import read_table

GOOD = {
    "leave-one-out": {
        "stage": "pretrain", "start": "solution", "example": 3, "kind": "random", "chosen_for": -1, "query": 2,
        "predicted": 0.1, "measured": 0.2,
    },
    "left-out": {
        "stage": "finetune", "start": "solution", "examples": [0, NEW - 1], "predicted": [0.0] * QUERIES,
        "measured": [0.0] * QUERIES, "class_before": [0] * QUERIES, "class_after": [-1] * QUERIES,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write(tmp_path_factory.mktemp("runs"))


def read(path, form):
    with path.open("rb") as file:
        return read_table(file, FORMS[form], {})


def rewritten(run, name, table):
    table.to_parquet(run.path / name, index=False)
    return relisted(run.path)


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("id", ["a"] * QUERIES, "'id' holds large_string, expected integers"),
        ("id", [0] * QUERIES, "'id' holds a value twice"),
        ("id", [None, *range(1, QUERIES)], "'id' holds double, expected integers"),
        ("label", list(range(QUERIES)), "'label' holds int64, expected text"),
        ("loss", ["high"] * QUERIES, "'loss' holds large_string, expected numbers"),
        ("text", [["a"]] * QUERIES, "'text' holds list"),
        ("image", ["a"] * QUERIES, "'image' holds large_string, expected bytes"),
        ("probabilities", [0.5] * QUERIES, "'probabilities' holds double, expected lists of numbers"),
        ("probabilities", [["a"]] * QUERIES, "'probabilities' holds list"),
        ("label", ..., "lacks the column 'label'"),
    ],
)
def test_columns_of_other_kinds_are_refused_by_name(tmp_path, column, values, why):
    run = write(tmp_path)
    table = run.queries().drop(columns=[column], errors="ignore")
    table = table if values is ... else table.assign(**{column: values})
    with pytest.raises(RunError, match=f"queries.parquet of run r cannot be read: .*{why}"):
        rewritten(run, "queries.parquet", table).queries()


def test_columns_that_the_contract_does_not_know_are_not_read(tmp_path):
    run = write(tmp_path)
    table = run.queries().assign(later=[{"a": 1}] * QUERIES, title=[None, *["t"] * (QUERIES - 1)])
    found = rewritten(run, "queries.parquet", table).queries()
    assert list(found) == ["id", "label", "title"]
    assert found["title"][0] == ""


@pytest.mark.parametrize(
    ("check", "changes", "why"),
    [
        ("leave-one-out", {"query": QUERIES}, f"'query' holds {QUERIES}, expected 0 to {QUERIES - 1}"),
        ("leave-one-out", {"query": -1}, "'query' holds -1"),
        ("leave-one-out", {"chosen_for": -2}, "'chosen_for' holds -2, expected -1"),
        ("leave-one-out", {"example": OLD}, f"'example' holds {OLD}"),
        ("leave-one-out", {"stage": "finetune", "example": NEW}, f"'example' holds {NEW}, expected 0 to {NEW - 1}"),
        ("leave-one-out", {"stage": "../x"}, "'stage' holds '../x', expected one of"),
        ("leave-one-out", {"measured": "much"}, "'measured' holds"),
        ("leave-one-out", {"start": ...}, "lacks the column 'start'"),
        ("left-out", {"examples": [0, NEW]}, f"'examples' holds {NEW}"),
        ("left-out", {"measured": [0.0]}, f"'measured' has lists of 1 values, expected {QUERIES}"),
        ("left-out", {"class_after": [0] * (QUERIES + 1)}, "'class_after' has lists of"),
    ],
)
def test_rows_that_a_check_names_are_there(run, check, changes, why):
    row = {name: value for name, value in (GOOD[check] | changes).items() if value is not ...}
    found = add_tables(run, {check: pd.DataFrame([row])})
    with pytest.raises(RunError, match=f"validation/{check}-.* cannot be read: .*{why}"):
        found.validation(check)


@pytest.mark.parametrize("check", GOOD)
def test_what_a_check_writes_is_read(run, check):
    table = pd.DataFrame([GOOD[check]])
    found = add_tables(run, {check: table}).validation(check)
    assert list(found) == list(table)
    assert found["stage"][0] == GOOD[check]["stage"]
    assert len(add_tables(run, {check: table[:0][[]]}).validation(check)) == 0


def test_lists_of_one_row_have_one_length(tmp_path):
    pd.DataFrame({"starts": [[0, 2]], "ends": [[1]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="starts and ends have lists of other lengths"):
        read(tmp_path / "t.parquet", "tokens")


def test_a_small_file_that_would_fill_memory_is_refused(tmp_path, monkeypatch):
    """One text in every row, told once by a dictionary; and zeros, packed well."""
    monkeypatch.setattr(tables, "LARGEST", 2**22)
    same = pa.table({"id": range(2000), "label": ["x" * 10_000] * 2000})
    noise = hashlib.shake_256(b"").hexdigest(2**20)
    other = pa.table({"id": [0, 1, 2], "label": [noise + "0" * 2**22, noise + "1" * 2**22, "3"]})
    for table, options in ((same, {}), (other, {"use_dictionary": False, "compression": "zstd"})):
        pq.write_table(table, tmp_path / "t.parquet", **options)
        with pytest.raises(ValueError, match="of memory, expected at most"):
            read(tmp_path / "t.parquet", "queries")
    small = same.slice(0, 100)  # many rows times a dictionary may be more than it is
    pq.write_table(small, tmp_path / "t.parquet")
    assert len(read(tmp_path / "t.parquet", "queries")) == 100


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_files_that_are_no_tables(tmp_path, damage):
    (tmp_path / "t.parquet").write_bytes(damage)
    with pytest.raises((OSError, ValueError)):
        read(tmp_path / "t.parquet", "queries")


# Files that hold more than they say


def packed(rows, text):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))


def one_list(length):
    return pa.ListArray.from_arrays(pa.array([0, length], pa.int32()), pa.array(np.zeros(length, np.float32)))


def sizes(path):
    columns = pq.read_metadata(path).row_group(0)
    return [columns.column(n).total_uncompressed_size for n in range(columns.num_columns)]


def footer_that_lies(path):
    """Say of no column that it unpacks into more than 100 bytes."""
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    pages, footer = content[:start], content[start:]
    for told in [varint(2 * size) for size in sizes(path) if size > 100]:
        footer = footer.replace(told, varint(18, len(told)))
    path.write_bytes(pages + footer)
    assert max(sizes(path)) <= 100


def varint(number, width=0):
    """A number as Thrift's compact protocol writes it, in at least `width` bytes."""
    parts = [number >> 7 * n & 127 for n in range(max(-(-number.bit_length() // 7), width))]
    return bytes([*(part | 128 for part in parts[:-1]), parts[-1]])


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"label": packed(100_000, "x" * 1000)}, {}),
        ({"label": packed(1, "a"), "probabilities": one_list(10**7)}, {}),
        ({"label": ["\0" * 2**25]}, {"compression": "zstd", "use_dictionary": False}),
    ],
)
def test_what_is_counted_is_what_the_pages_hold(tmp_path, monkeypatch, columns, options, lies):
    monkeypatch.setattr(tables, "SMALL", 2**24)
    rows = len(columns["label"])
    pq.write_table(pa.table({"id": np.arange(rows) // 2**20, **columns}), tmp_path / "t.parquet", **options)
    assert (tmp_path / "t.parquet").stat().st_size < 10**5
    if lies:
        footer_that_lies(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="of memory, expected at most 0.0"):
        read(tmp_path / "t.parquet", "queries")


def test_texts_that_are_told_by_those_before_them_are_not_read(tmp_path):
    table = pa.table({"id": [0, 1], "label": ["ab", "abc"]})
    options = {"use_dictionary": False, "column_encoding": {"label": "DELTA_BYTE_ARRAY", "id": "PLAIN"}}
    pq.write_table(table, tmp_path / "t.parquet", **options)
    with pytest.raises(ValueError, match="packed by prefixes"):
        read(tmp_path / "t.parquet", "queries")


@pytest.mark.parametrize("options", [{}, {"data_page_version": "2.0"}, {"data_page_size": 100}, {"row_group_size": 7}])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
def test_all_values_are_counted_however_they_are_packed(tmp_path, options, compression):
    table = pa.table(
        {"id": range(500), "label": [f"label {n}" for n in range(500)], "probabilities": [[0.5] * 3] * 500}
    )
    pq.write_table(table, tmp_path / "t.parquet", compression=compression, write_batch_size=10, **options)
    with (tmp_path / "t.parquet").open("rb") as file:
        metadata = pq.ParquetFile(file).metadata
        chunks = [metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(3)]
        found = [[page for page in pages(file, chunk) if page.type != DICTIONARY] for chunk in chunks]
    assert [sum(page.count for page in each) for each in found] == [chunk.num_values for chunk in chunks]
    assert len(read(tmp_path / "t.parquet", "queries")) == 500


def test_a_header_that_is_none(tmp_path):
    pq.write_table(pa.table({"id": range(9), "label": ["a"] * 9}), tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    for odd in (b"\xff" * 20, b"\0" * 20, b"\x15\x00" * 10):
        (tmp_path / "t.parquet").write_bytes(content[:4] + odd + content[24:])
        with pytest.raises(ValueError, match="header of a page|fewer values"):
            read(tmp_path / "t.parquet", "queries")


# Numbers and texts that are none


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ({"confidence": pa.array([0.5, 1.5])}, "'confidence' holds 1.5, expected numbers from 0 to 1"),
        (
            {"probabilities": pa.array([[0.5, -1.0], [0.5]])},
            "'probabilities' holds -1, expected lists of numbers from 0",
        ),
        ({"probabilities": pa.array([None, [0.5]])}, "'probabilities' has empty entries"),
        ({"id": pa.array([2**64 - 1, 5], pa.uint64())}, "2\\*\\*64|out of bounds|not in range"),
        ({"label": pa.array([b"\xed\xa0\x80", b"a"]).view(pa.string())}, "UTF8|UTF-8"),
    ],
)
def test_values_that_no_reader_could_use(tmp_path, column, why):
    table = {"id": pa.array([0, 1]), "label": pa.array(["a", "b"])} | column
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=why):
        read(tmp_path / "t.parquet", "queries")


def test_numbers_are_of_one_kind_and_of_nothing_that_the_file_says_of_pandas(tmp_path):
    table = pa.table({"id": pa.array([0, 1], pa.int8()), "label": ["a", "b"], "loss": pa.array([1, 2], pa.int64())})
    odd = {b"pandas": b'{"index_columns": ["label"], "columns": 5}'}
    pq.write_table(table.replace_schema_metadata(odd), tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet", "queries")
    assert list(found) == ["id", "label", "loss"]
    assert (found["id"].dtype, found["loss"].dtype) == (np.int64, np.float64)
