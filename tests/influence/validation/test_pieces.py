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
