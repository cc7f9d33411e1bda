"""Tables that are kept under all that they depend on."""

from __future__ import annotations

import pandas as pd

from influence.validation.pieces import Pieces

TABLE = pd.DataFrame({"a": [1.5, 2.5]})


def test_what_was_put_is_found_under_its_key_alone(tmp_path):
    pieces = Pieces(tmp_path / "new" / "folder")
    assert pieces.get(["row", 1]) is None
    pieces.put(["row", {"b": 2, "a": 1}], TABLE)
    pd.testing.assert_frame_equal(Pieces(pieces.folder).get(["row", {"a": 1, "b": 2}]), TABLE)
    assert pieces.get(["row", {"a": 1, "b": 3}]) is None
    assert [path.suffix for path in pieces.folder.iterdir()] == [".parquet"]


def test_a_damaged_one_is_not_there(tmp_path):
    pieces = Pieces(tmp_path)
    pieces.put("key", TABLE)
    next(tmp_path.iterdir()).write_bytes(b"PAR1 no table")
    assert pieces.get("key") is None
    pieces.put("key", TABLE)
    pd.testing.assert_frame_equal(pieces.get("key"), TABLE)


def test_a_file_with_other_contents_is_not_there(tmp_path):
    """Wherever a power cut left zeros in it, or what belongs to another."""
    pieces = Pieces(tmp_path)
    pieces.put("one", TABLE)
    (one,) = tmp_path.iterdir()
    whole = one.read_bytes()
    for start in range(0, len(whole), 97):
        one.write_bytes(whole[:start] + bytes(len(whole[start : start + 97])) + whole[start + 97 :])
        if one.read_bytes() != whole:
            assert pieces.get("one") is None
    one.write_bytes(whole)
    pd.testing.assert_frame_equal(pieces.get("one"), TABLE)
    pieces.put("other", 2 * TABLE)
    other = next(path for path in tmp_path.iterdir() if path != one)
    one.write_bytes(other.read_bytes())
    assert pieces.get("one") is None


def test_a_newer_table_takes_the_place_of_the_older(tmp_path):
    pieces = Pieces(tmp_path)
    pieces.put("key", TABLE)
    pieces.put("key", 2 * TABLE)
    assert len(list(tmp_path.iterdir())) == 1
    pd.testing.assert_frame_equal(Pieces(tmp_path).get("key"), 2 * TABLE)
