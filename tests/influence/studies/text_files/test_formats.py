"""Files of texts: what goes in comes out, in every format; what is not in order is named with its place."""

from __future__ import annotations

import csv
import json
import os
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from influence.errors import StudyError
from influence.studies.text_files import formats
from influence.studies.text_files.opening import open_texts
from influence.studies.text_files.sampling import reservoir

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)  # all that UTF-8 can hold
ODD = [
    "\0",
    "a\u2028b\x85c\x0bd\x1ce",
    "x\ry\r\nz\n",
    '"',
    '""',
    "a,b\tc",
    " s ",
    "<b>*[/red]",
    "../../etc/passwd",
    "NA",
    "𝕏é",
]


def separated(path, texts, delimiter):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("n", "text"), *enumerate(texts)])


def written(path, texts):
    """The texts beside a column of numbers, in the format of the path."""
    if path.suffix == ".parquet":
        pd.DataFrame({"n": range(len(texts)), "text": pd.Series(texts, dtype=object)}).to_parquet(path)
    elif path.suffix == ".jsonl":
        escaped = [json.dumps({"n": n, "text": t}, ensure_ascii=n % 2 == 0) for n, t in enumerate(texts)]
        path.write_text("\n".join(escaped), encoding="utf-8", newline="")
    elif path.suffix == ".txt":
        path.write_text("".join(f"{t}\n" for t in texts), encoding="utf-8-sig", newline="")
    else:
        separated(path, texts, "\t" if path.suffix == ".tsv" else ",")
    return path


def texts_of(path):
    return [values[0] for _, values in open_texts(path).rows(["text"])]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(UNICODE, min_size=1, max_size=6))
def test_any_unicode_comes_back_as_it_was(tmp_path_factory, suffix, texts):
    path = written(tmp_path_factory.mktemp("round") / f"a{suffix}", texts)
    assert list(open_texts(path).rows(["text", "n"])) == [
        (n, [text, str(n) if suffix in (".csv", ".tsv") else n]) for n, text in enumerate(texts)
    ]


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(UNICODE.filter(lambda t: "\n" not in t and not t.endswith("\r")), min_size=1, max_size=6))
def test_any_line_comes_back_as_it_was(tmp_path_factory, texts):
    assert texts_of(written(tmp_path_factory.mktemp("round") / "a.txt", texts)) == texts


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_controls_markup_and_paths_are_data(tmp_path, suffix):
    assert texts_of(written(tmp_path / f"a{suffix}", ODD)) == ODD


def test_a_byte_order_mark_and_either_line_end(tmp_path):
    for name, content in (
        ("a.csv", "text,label\r\na b,1\r\n\r\nc,2\r\n"),
        ("a.jsonl", '{"text": "a b"}\r\n\r\n{"text": "c"}\r\n'),
        ("a.txt", "a b\r\nc\r\n"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8-sig", newline="")
        assert texts_of(tmp_path / name) == ["a b", "c"]


def test_numbers_are_those_of_pandas_and_of_lines(tmp_path):
    (tmp_path / "a.csv").write_text('text,n\n"two\nlines",0\n\nlast,1\n')
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "last"}\n')
    assert [number for number, _ in open_texts(tmp_path / "a.csv").rows(["text"])] == [0, 1]
    assert pd.read_csv(tmp_path / "a.csv")["text"].iloc[1] == "last"
    assert [number for number, _ in open_texts(tmp_path / "a.jsonl").rows(["text"])] == [0, 2]


def test_kinds_of_text_columns_in_parquet(tmp_path):
    words = ["a", None, "b", "a"]
    for number, kind in enumerate([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"my.text": pa.array(words, pa.string()).cast(kind)}), path)
        assert [values[0] for _, values in open_texts(path).rows(["my.text"])] == words
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "n.parquet")
    with pytest.raises(
        StudyError, match=r"n.parquet: column 'text' holds int64, expected texts. It has 'text'; say wh"
    ):
        next(open_texts(tmp_path / "n.parquet").rows(["text"]))


# What is not in order


def saved(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "a.csv is empty; expected texts"),
        ("a.csv", "\n\n", "a.csv has only blank lines; expected a header"),
        ("a.csv", "text,label\na,1\nhalf\n", r"a.csv, line 3: 1 values where the header has 2 columns \('half'\)"),
        ("a.csv", "text,label\n\n\"x\n\",1\na,b,2\n", r"line 5: 3 values where .* has 2 columns \('a', 'b', '2'\)"),
        ("a.csv", 'text,label\na,1\n"cut off', "line 3: the row that begins here is no CSV: unexpected end of data"),
        ("a.csv", 'text,label\na,"1', "line 2: the row that begins here .* Is a quote not closed"),
        ("a.tsv", 'text\tlabel\n"a"b\t1\n', "line 2: the row that begins here is no TSV"),
        ("a.jsonl", '{"text": "a"}\n{"text": "cut', r"""line 2: '{"text": "cut' is no JSON \(Unterminated string"""),
        ("a.jsonl", '["a"]\n', r"""line 1: '\["a"\]' is no object; expected one a line"""),
        ("a.jsonl", '{"text": "a"}\n{"words": "b"}', "line 2: there is no key 'text', which .*; it has 'words'"),
        ("a.jsonl", '{"text": "a"}\n{"text": 7.5}', "line 2: 'text' is '7.5', expected a text"),
        ("a.jsonl", '{"text": ["a"]}', "line 1: 'text' is"),
        ("a.jsonl", '{"text": "a\\ud800"}', "line 1: .*surrogates not allowed"),
        ("a.jsonl", "[" * 100_000, "line 1: .* is no JSON"),
        ("a.jsonl", '{"text": "a", "n": ' + "9" * 5000 + "}", "line 1: .* is no JSON"),
        ("a.parquet", "text\n" * 9, "a.parquet cannot be read as .parquet: .*Parquet magic bytes not found"),
        ("a.csv", "text\nhell\xe9\n".encode("latin-1"), r"a.csv is no UTF-8: byte 9 \(from 0\) is 0xe9, .*iconv"),
        ("a.csv", "text\nhello\n".encode("utf-16"), r"byte 0 \(from 0\) is 0xff, invalid start byte"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}', r"byte 24 \(from 0\) is 0xff"),
        ("a.txt", "é".encode() * 700_000 + b"\xc3", r"byte 1,400,000 \(from 0\) is 0xc3, unexpected end of data"),
        ("a.txt", b"a" * (2**20 - 1) + b"\xc3(", r"byte 1,048,575 \(from 0\) is 0xc3, invalid continuation byte"),
        ("a.json", "[]", "has the suffix '.json'; files of texts are .csv, .tsv, .parquet, .jsonl, .txt"),
        ("a", "text", "has the suffix ''"),
    ],
)  # fmt: skip
def test_what_is_not_in_order_is_named_with_its_place(tmp_path, name, content, words):
    with pytest.raises(StudyError, match=words):
        list(open_texts(saved(tmp_path / name, content)).rows(["text"]))


def test_a_damaged_parquet_file(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"number {i}" for i in range(5000)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[100:2000] = os.urandom(1900)
    path.write_bytes(content)
    with pytest.raises(StudyError, match=r"a.parquet cannot be read as .parquet"):
        texts_of(path)


def test_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StudyError, match=r"folder.csv is a folder; expected a file of texts: .csv, .tsv"):
        open_texts(tmp_path / "folder.csv")
    with pytest.raises(StudyError, match=r"none.csv does not exist"):
        open_texts(tmp_path / "none.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(StudyError, match=r"pipe.csv is no file"):
        open_texts(tmp_path / "pipe.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path):
    saved(tmp_path / "a.txt", "a").chmod(0)
    with pytest.raises(StudyError, match=r"a.txt cannot be read: Permission denied"):
        texts_of(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "a" * 200, "line 1 has more than 100 characters. Is it .txt?"),
        ("a.jsonl", '{"text": "a"}\n' + "[" * 200, "line 2 has more than 100 characters. Is it .jsonl?"),
        ("a.csv", 'text\na\n"' + "line\n" * 50 + '"\n', "line 3: the row that begins here is no CSV: field larger"),
    ],
)
def test_a_quote_or_line_that_never_ends_is_not_held(tmp_path, monkeypatch, name, content, words):
    before = csv.field_size_limit()
    monkeypatch.setattr(formats, "MAX_LINE", 100)
    try:
        with pytest.raises(StudyError, match=words):
            list(open_texts(saved(tmp_path / name, content)).rows(["text"]))
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt"])
def test_a_large_file_is_never_held(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}", [f"{i} " + "word " * 40 for i in range(40_000)])
    tracemalloc.start()
    try:
        kept, count = reservoir(open_texts(path).rows(["text"]), 10, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(kept), count) == (10, 40_000)
    assert peak < path.stat().st_size / 20


# The sample


@given(total=st.integers(0, 300), count=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_a_sample_is_a_part_in_order_and_the_seeds(total, count, seed):
    kept, seen = reservoir(range(total), count, seed)
    assert seen == total
    assert len(kept) == min(total, count)
    assert kept == sorted(set(kept))
    assert set(kept) <= set(range(total))
    assert kept == reservoir(iter(range(total)), count, seed)[0]


def test_every_item_and_every_pair_is_as_likely_as_any_other():
    total, count, times = 12, 4, 6000
    together = np.zeros((total, total))
    for seed in range(times):
        kept, _ = reservoir(range(total), count, seed)
        together[np.ix_(kept, kept)] += 1
    singles, pairs = together.diagonal() / times, together[np.triu_indices(total, 1)] / times
    # Five standard deviations of a frequency.
    for found, expected in ((singles, count / total), (pairs, count * (count - 1) / total / (total - 1))):
        assert np.abs(found - expected).max() < 5 * (expected * (1 - expected) / times) ** 0.5


def test_late_items_of_many_are_drawn_too():
    kept, _ = reservoir(range(200_000), 2000, seed=1)
    assert np.histogram(kept, bins=10, range=(0, 200_000))[0] == pytest.approx(200, abs=70)
