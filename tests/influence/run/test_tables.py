"""Tables of a run: columns, kinds, row numbers and sizes are checked before anybody uses them."""

from __future__ import annotations

import hashlib

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_run import NEW, OLD, QUERIES, relisted, write

from influence.errors import RunError
from influence.run import tables
from influence.run.additions import add_tables
from influence.run.forms import FORMS
from influence.run.tables import read_table

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
        read_table(tmp_path / "t.parquet", FORMS["tokens"], {})


def test_a_small_file_that_would_fill_memory_is_refused(tmp_path, monkeypatch):
    """One text in every row, told once by a dictionary; and zeros, packed well."""
    monkeypatch.setattr(tables, "LARGEST", 2**22)
    same = pa.table({"id": range(2000), "label": ["x" * 10_000] * 2000})
    noise = hashlib.shake_256(b"").hexdigest(2**20)
    other = pa.table({"id": [0, 1, 2], "label": [noise + "0" * 2**22, noise + "1" * 2**22, "3"]})
    for table, options in ((same, {}), (other, {"use_dictionary": False, "compression": "zstd"})):
        pq.write_table(table, tmp_path / "t.parquet", **options)
        with pytest.raises(ValueError, match="of memory, expected at most"):
            read_table(tmp_path / "t.parquet", FORMS["queries"], {})
    small = same.slice(0, 100)  # many rows times a dictionary may be more than it is
    pq.write_table(small, tmp_path / "t.parquet")
    assert len(read_table(tmp_path / "t.parquet", FORMS["queries"], {})) == 100


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_files_that_are_no_tables(tmp_path, damage):
    (tmp_path / "t.parquet").write_bytes(damage)
    with pytest.raises((OSError, ValueError)):
        read_table(tmp_path / "t.parquet", FORMS["queries"], {})
