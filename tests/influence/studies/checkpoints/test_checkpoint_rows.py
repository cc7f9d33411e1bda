from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from influence.errors import StudyError
from influence.studies.checkpoints.texts.rows import rows_of
from influence.studies.text_files.columns import Columns

ROWS = [{"text": "a cat", "label": 1, "prompt": "see "}, {"text": "", "label": 0}, {"text": "a saw", "label": 0}]


def save_dataset(folder, table, parts=2):
    """A folder as `datasets.Dataset.save_to_disk` leaves it."""
    folder.mkdir()
    names = [f"data-{i:05}-of-{parts:05}.arrow" for i in range(parts)]
    for i, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table.slice(i * len(table) // parts, len(table) // parts))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    label = {"names": ["tool", "pet"], "_type": "ClassLabel"}
    info = {"features": {"text": {"dtype": "string", "_type": "Value"}, "label": label}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def test_every_format_has_the_same_rows(tmp_path):
    table = pa.table({"text": ["a cat", "a saw"], "label": [1, 0], "prompt": ["see ", None]})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("text,label,prompt\na cat,1,see \na saw,0,\n")
    paths = [*map(tmp_path.joinpath, ("a.jsonl", "a.parquet", "a.csv")), save_dataset(tmp_path / "saved", table)]
    for path in paths:
        found = rows_of(path, Columns(), ["label"])
        assert [(i.text, int(i.label), i.prompt) for i in found.items] == [("a cat", 1, "see "), ("a saw", 0, "")]
    assert found.classes == ["tool", "pet"]
    assert rows_of(paths[0], Columns()).notes == ["Empty texts left out of a.jsonl: 1, the first at line 2."]


def test_columns_are_the_named_ones_or_the_usual_ones(tmp_path):
    (tmp_path / "a.csv").write_text("sentence,topic\na cat,pet\n")
    (tmp_path / "b.csv").write_text("text,topic\na cat,pet\n")
    columns = Columns(text="sentence", label="topic")
    for name in ("a.csv", "b.csv"):
        (item,) = rows_of(tmp_path / name, columns, ["label"]).items
        assert (item.text, item.label) == ("a cat", "pet")
    with pytest.raises(StudyError, match="has no column 'label'; it has 'text', 'topic'. Say which holds the label"):
        rows_of(tmp_path / "b.csv", Columns(), ["label"])
    (tmp_path / "c.txt").write_text("a cat\na dog\n")
    assert [item.text for item in rows_of(tmp_path / "c.txt", columns).items] == ["a cat", "a dog"]
    with pytest.raises(StudyError, match="plain lines, which have no column for the label"):
        rows_of(tmp_path / "c.txt", columns, ["label"])


def test_a_sample_is_drawn_and_told(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"text {i}" for i in range(50)))
    found = rows_of(tmp_path / "a.txt", Columns(), sample=5)
    assert [item.text for item in found.items] == [f"text {item.row}" for item in found.items]
    assert found.notes == ["5 of the 50 texts of a.txt were taken, drawn by the seed."]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "state.json").write_text('{"_files": []}'), "state.json does not name the files"),
        (lambda folder: (folder / "state.json").write_text("{"), "state.json cannot be read"),
        (lambda folder: (folder / "state.json").unlink(), "state.json cannot be read"),
        (lambda folder: next(folder.glob("*.arrow")).unlink(), "is not there"),
        (lambda folder: next(folder.glob("*.arrow")).write_bytes(b"PAR1"), "cannot be read"),
        (
            lambda folder: (folder / "state.json").write_text('{"_data_files": [{"filename": "../a.arrow"}]}'),
            "does not name",
        ),
    ],
)
def test_a_folder_of_another_version_is_named(tmp_path, damage, message):
    folder = save_dataset(tmp_path / "saved", pa.table({"text": ["a", "b"], "label": [0, 1]}))
    damage(folder)
    with pytest.raises(StudyError, match=message) as raised:
        rows_of(folder, Columns())
    assert "saved by another version" in str(raised.value)


def test_a_folder_of_several_datasets_is_named(tmp_path):
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(StudyError, match=r"holds several datasets, 'train', 'test'; give the folder of one, such as"):
        rows_of(tmp_path, Columns())
