"""Tables that leave the product: no cell is a formula, no row breaks, and nothing else writes CSV."""

from __future__ import annotations

import csv
import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from explorer.export import spreadsheet

EXPLORER = Path(spreadsheet.__file__).parents[1]
SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "﹢", "﹣", "﹦", "﹫", "⁼", "⁺")  # noqa: RUF001
FRONTS = ("", " ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u200b", "\ufeff", " \t\r ")


def read(content: bytes) -> list[list[str]]:
    """The cells of a CSV, as RFC 4180 has them."""
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))


@pytest.mark.parametrize("front", FRONTS)
def test_no_cell_begins_with_a_sign(front):
    texts = [f"{front}{sign}1+1" for sign in SIGNS]
    cells = read(spreadsheet.csv(pd.DataFrame({f"{front}=name": texts})))
    assert [row[0] for row in cells] == [f"'{front}=name", *(f"'{text}" for text in texts)]


@pytest.mark.parametrize("text", ["plain", "a=b", "x - y", "1 + 1", "é", "שלום", "'=1", ""])
def test_other_texts_are_as_they_were(text):
    assert read(spreadsheet.csv(pd.DataFrame({"text": [text], "other": ["x"]})))[1] == [text, "x"]


@pytest.mark.parametrize("text", ["a\r=1+1", "a\n=1+1", "a\r\n=1+1", "a;=1+1", "a\t=1+1", 'a",=1+1', "a,=1+1", "a "])
def test_no_text_leaves_its_cell(text):
    content = spreadsheet.csv(pd.DataFrame({"id": [1, 2], "text": [text, "next"]}))
    assert read(content) == [["id", "text"], ["1", text], ["2", "next"]]
    quoted = '"' + text.replace('"', '""') + '"'
    assert quoted in content.decode(), "also where a semicolon or a tab ends a cell"


def test_what_cannot_be_seen_is_written_as_python_writes_it():
    texts = ["\x1b[31m\x00", "\u202eabc", "half \ud83d", "\udcff"]
    cells = read(spreadsheet.csv(pd.DataFrame({"text": texts}, dtype=object)))
    assert [row[0] for row in cells[1:]] == [r"\x1b[31m\x00", r"\u202eabc", r"half \ud83d", r"\xff"]


def test_numbers_are_those_of_pandas():
    table = pd.DataFrame(
        {
            "small": np.array([0.1, -1e-9, np.nan], dtype="float32"),
            "large": [1 / 3, -np.inf, 1e300],
            "id": np.array([-5, 0, 2**62]),
            "known": [True, False, None],
            "label": ["-", None, "b"],
        }
    )
    content = spreadsheet.csv(table).decode("utf-8-sig")
    assert content.replace("\r\n", "\n") == table.assign(label=["'-", None, "b"]).to_csv(index=False)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(content))[["large", "id"]], table[["large", "id"]])


def test_nothing_else_draws_a_table_or_writes_one():
    others = [path for path in EXPLORER.rglob("*.py") if path.name != "spreadsheet.py"]
    wrong = re.compile(r"to_csv|st\.(dataframe|data_editor|table)\(|text/csv|import csv|csv\.writer")
    assert [path.name for path in others if wrong.search(path.read_text())] == []


def test_streamlits_own_download_and_copies_are_off():
    settings = tomllib.loads((EXPLORER / ".streamlit" / "config.toml").read_text())
    assert settings["client"]["disableDataExport"] is True


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("small", 1007, "lists"), "small-1007-lists"),
        (("../../etc/passwd",), "etc-passwd"),
        (('a"; filename=evil.exe\r\n',), "a-filename-evil.exe"),
        (("-rf",), "rf"),
        (("…",), "table"),
        (("w" * 999,), "w" * spreadsheet.LONGEST_NAME),
    ],
)
def test_names_of_files_hold_plain_letters(parts, name):
    assert spreadsheet.file_name(*parts) == name
