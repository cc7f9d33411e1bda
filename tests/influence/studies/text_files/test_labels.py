"""Files of texts as they lie on people's disks: one class whatever wrote its label, and columns that are found."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from influence.errors import StudyError
from influence.studies.text_files.columns import Columns, corpora
from influence.studies.text_files.labels import label_text, plain_text

DAY = datetime.datetime(2020, 1, 2)
NOON = DAY.replace(hour=12)


@pytest.fixture
def put(tmp_path):
    """Writes a file and gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def read(put):
    """Reads three files, all good but those that are given."""
    pretrain = put("pre.txt", "a good film\na bad plot\n")
    finetune = put("fine.csv", "text,label\ngood,1\nbad,0\n")

    def reading(finetune=finetune, test=finetune, pretrain=pretrain, **options):
        return corpora([pretrain, finetune, test], **options)

    return reading


def written(folder, suffix, values):
    """Texts with `values` as labels, in the way of pandas or json."""
    table, path = pd.DataFrame({"text": [f"text {i}" for i in range(len(values))]}), folder / f"made.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"text": table["text"], "label": values}), path)
    elif suffix == "jsonl":
        lines = [json.dumps({"text": "t", "label": value}) for value in values]
        path.write_text("\n".join(lines))
    else:
        table.assign(label=values).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([1, 0], pa.int8()), ["1", "0"]),
        (pa.array([1.0, 0.0], pa.float32()), ["1", "0.00"]),
        (pa.array([0.1, 0.7], pa.float32()), ["0.1", "0.7"]),
        (pa.array([np.float16(0.1), np.float16(2)], pa.float16()), ["0.1", "2"]),
        (pa.array([0.1, 1e-7]), ["0.10", "1e-07"]),
        (pa.array([1e22, 3.0]), ["1e+22", "3"]),
        (pa.array([Decimal("1.50"), Decimal("2.00")]), ["1.50", "2.00"]),
        (pa.array([True, False]), ["TRUE", "false"]),
        (pa.array([DAY, DAY - datetime.timedelta(1)]), ["2020-01-02", "2020-01-01 00:00:00"]),
        (pa.array([NOON, DAY], pa.timestamp("ns")), ["2020-01-02T12:00:00", "2020-01-02"]),
        (pa.array([NOON, DAY], pa.timestamp("ms", "UTC")), ["2020-01-02 12:00:00+00:00", "2020-01-02T00:00:00Z"]),
        (pa.array([DAY.date(), NOON.date().replace(day=9)]), ["2020-01-02", "2020-01-09"]),
        (pa.array(["p ", "n"]).dictionary_encode(), ["p", " n"]),
        (pa.array([7, 8], pa.uint64()), ["7.0", "8"]),
    ],
)
def test_parquet_and_csv_say_the_same_class(tmp_path, read, values, texts):
    csv = tmp_path / "texts.csv"
    csv.write_text("text,label\n" + "".join(f"a,{text}\n" for text in texts))
    for one, other in ((written(tmp_path, "parquet", values), csv), (csv, written(tmp_path, "parquet", values))):
        parts, _ = read(one, other)
        assert parts["finetune"].labels == parts["queries"].labels
        assert len(set(parts["finetune"].labels)) == 2


@pytest.mark.parametrize("values", [[1, 0], [1.0, 0.0], [True, False], [0.1, 2.5], ["a", "b"]])
def test_json_parquet_and_csv_of_the_same_values(tmp_path, read, values):
    parts, notes = read(written(tmp_path, "jsonl", values), written(tmp_path, "csv", values))
    assert parts["finetune"].labels == parts["queries"].labels
    assert notes == []
    other, _ = read(written(tmp_path, "jsonl", values), written(tmp_path, "parquet", values))
    assert other["queries"].labels == parts["queries"].labels


@pytest.mark.parametrize(
    "text", ["007", "1e5", "1E+05", "v1.10", "+1", "1.2.3", "yes", "Yes", "2020-1-2", "truest", "1,5", "-"]
)
def test_names_that_are_no_numbers_stay(text):
    assert label_text(text) == text


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), Decimal("nan")])
def test_a_missing_label_has_no_text(missing):
    assert plain_text(missing) == ""


def test_blanks_around_labels_and_spellings_of_one_class(put, read):
    fine = put("f.csv", "text,label\ngood,pos\nbad,neg\nfine,pos \nx,neg\n")
    parts, notes = read(fine, put("t.csv", "text,label\na,  neg\n"))
    assert list(parts["finetune"].labels) == ["pos", "neg", "pos", "neg"]
    assert notes == ["Labels of f.csv that are written in several ways count as one class: 'pos' and 'pos '."]
    with pytest.raises(StudyError, match=r"v.csv, line 4: '1.1' and '1.10' are one number, so one class. If they are"):
        read(put("v.csv", "text,label\na,1.1\nb,1.2\nc,1.10\n"))


def test_classes_that_differ_by_case_are_told(put, read):
    pre = put("p.csv", "text,label\na,Sea\nb,wood\n")
    fine, test = put("f.csv", "text,label\na,sea\nb,wood\n"), put("t.csv", "text,label\na,SEA\n")
    _, notes = read(fine, fine, pre)
    assert len(notes) == 1
    assert "'Sea' (to pretrain on) and 'sea' (to finetune on) differ only by case" in notes[0]
    with pytest.raises(StudyError, match=r"the class 'SEA' is none of .* It differs from 'sea' only by case or blanks"):
        read(fine, test)


def test_labels_that_may_be_missing_and_truth_beside_numbers_are_told(put, read):
    _, notes = read(put("a.csv", "text,label\ng,1\nb,0\nx,NA\n"))
    assert notes[0] == "a.csv has the classes 'NA'. Where they stand for a missing label, leave these texts out."
    _, notes = read(put("a.jsonl", '{"text":"g","label":true}\n{"text":"b","label":0}\n{"text":"c","label":1}\n'))
    assert notes[0] == "a.jsonl has the labels True and 1, which count as different classes."


# Columns


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text, label\ngood, 1\nbad, 0\n"),
        ("a.csv", ' text ,label\n"good",1\n"bad", 0\n'),
        ("a.csv", 'text, label\n"good", "1"\n"bad", "0"\n'),
        ("a.csv", "text;label\ngood;1\nbad;0\n"),
        ("a.csv", '"text";"label"\n"good";"1"\n"bad";"0"\n'),
        ("a.csv", "sep=;\r\ntext;label\r\ngood;1\r\nbad;0\r\n"),
        ("a.csv", "text\tlabel\ngood\t1\nbad\t0\n"),
        ("a.csv", "label|text\n1|good\n0|bad\n"),
        ("a.tsv", "text,label\ngood,1\nbad,0\n"),
        ("a.csv", "\ufefftext;label\r\ngood;1\r\nbad;0\r\n"),
        ("a.csv", "text,label\rgood,1\rbad,0\r"),
        ("a.csv", "text,label\ngood,1\nbad,0\n\n\n  \n"),
        ("a.jsonl", '{"text":"good"," label":1}\n{"text":"bad"," label":0}\n'),
    ],
)
def test_columns_are_found_whatever_stands_around_and_between_them(put, read, name, content):
    parts, notes = read(put(name, content))
    assert (list(parts["finetune"].texts), list(parts["finetune"].labels)) == (["good", "bad"], ["1", "0"])
    assert list(parts["finetune"].ids) == [0, 1]
    assert notes == []


def test_texts_with_semicolons_in_a_file_of_commas(put, read):
    parts, _ = read(
        put("a.csv", 'text,label\na;b;c,1\n"d,e",0\n'), pretrain=put("p.csv", "text\na;b\nc,d;e".replace(",", " "))
    )
    assert list(parts["finetune"].texts) == ["a;b;c", "d,e"]
    assert list(parts["pretrain"].texts) == ["a;b", "c d;e"]


def test_lines_are_right_below_a_line_that_names_the_separator(put, read):
    with pytest.raises(StudyError, match=r"a.csv, line 4: 3 values where the header has 2 columns"):
        read(put("a.csv", "sep=;\ntext;label\ngood;1\nbad;0;9\n"))


def test_a_missing_header(put, read):
    with pytest.raises(
        StudyError, match=r"has no column 'text'; it has 'good', '1'. .* The first row must hold the na"
    ):
        read(put("a.csv", "good,1\nbad,0\n"))


def test_keys_that_the_first_line_lacks(put, read):
    lines = ['{"text":"good","label":1}', '{"text":"bad","label":0,"title":"B","source":"s"}']
    parts, _ = read(put("a.jsonl", "\n".join(lines)))
    assert (list(parts["finetune"].titles), list(parts["finetune"].sources)) == (["", "B"], ["", "s"])
    pre = put("p.jsonl", '{"n": 1}\n{"text":"a","label":"x"}\n{"text":"b"}')
    with pytest.raises(StudyError, match=r"p.jsonl, line 1: there is no key 'text', which holds the text in other"):
        read(pretrain=pre)
    with pytest.raises(StudyError, match=r"b.jsonl, line 1: 'label' is 'None', expected a class"):
        read(put("b.jsonl", '{"text":"good"}\n{"text":"bad","label":0}'))
    parts, _ = read(put("c.jsonl", "\n".join(lines)), columns=Columns(title="title"))
    assert list(parts["finetune"].titles) == ["", "B"]
    with pytest.raises(StudyError, match="--title-column: no file has a column 'name'"):
        read(put("c.jsonl", "\n".join(lines)), columns=Columns(title="name"))
    parts, _ = read(pretrain=put("q.jsonl", '{"text":"a"}\n{"text":"b","label":"x"}'))
    assert list(parts["pretrain"].labels) == ["", "x"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "text,label\nna\u00efve,1\n".encode("cp1252"), "0xef, .* in line 2. It most likely is CP1252"),
        ("a.csv", "text,label\ngood,1\n".encode("utf-16"), r"It most likely is UTF-16 .* iconv -f UTF-16 -t UTF-8"),
        ("a.csv", "text,label\ngood,1\n".encode("utf-16-le"), r"a.csv looks like UTF-16. Convert it"),
        ("a.csv", "text,label\ngood,1\n".encode("utf-16-be"), r"a.csv looks like UTF-16. Convert it"),
        ("a.csv.gz", b"\x1f\x8b\x08", "is no whole gzip file"),
        ("a.csv.zst", b"\x28\xb5", r"has the suffix '.zst'; .* Unpack it first"),
        ("a.parquet.gz", b"\x1f\x8b\x08", r"has the suffix '.gz'; .* Unpack it first"),
    ],
)  # fmt: skip
def test_files_that_are_no_plain_utf8(put, read, name, content, words):
    with pytest.raises(StudyError, match=words):
        read(put(name, content))


def test_old_line_ends_of_plain_lines(put, read):
    with pytest.raises(StudyError, match="holds too few texts: 1; expected at least 2. Its lines end by CR alone"):
        read(pretrain=put("p.txt", "a\rb\rc"))
