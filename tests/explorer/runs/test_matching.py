"""Which runs list the same things."""

import numpy as np
import pandas as pd
import pytest

from explorer.runs import matching


def table(ids, texts):
    return pd.DataFrame({"id": ids, "text": texts, "label": "x"})


def test_rows_go_together_by_id_in_whatever_order():
    found = matching.matched(table([5, 6, 7], ["a", "b", "c"]), table([7, 5, 6], ["c", "a", "b"]))
    assert found.rows.tolist() == [1, 2, 0]
    assert found.complete
    assert found.row(0) == 1


def test_an_id_that_shows_something_else_is_not_the_same():
    found = matching.matched(table([5, 6], ["a", "b"]), table([5, 6], ["a", "other"]))
    assert found.same.tolist() == [True, False]
    assert not found.complete
    assert found.row(1) is None


@pytest.mark.parametrize(("ids", "others"), [([5], 0), ([5, 6, 7], 1), ([8, 9], 2)])
def test_tables_that_lack_or_add_rows_are_not_complete(ids, others):
    found = matching.matched(table([5, 6], ["a", "b"]), table(ids, ["a", "b", "c"][: len(ids)]))
    assert not found.complete
    assert found.others == others


def test_a_picture_is_not_a_text():
    pictures = pd.DataFrame({"id": [5], "image": [b"png"], "label": "x"})
    assert not matching.matched(pictures, table([5], ["a"])).same.any()
    assert matching.matched(pictures, pictures.copy()).complete


def test_refusals_say_what_is_wrong(small, tmp_path):
    a = small.write_run(tmp_path, "a")
    assert matching.refusal(a, small.write_run(tmp_path, "b", scored=1), "pretrain") is None
    assert "60 of 60 shared ids" in matching.refusal(a, small.write_run(tmp_path, "c", seed=1), "pretrain")
    assert "no scores of extra examples" in matching.refusal(a, a, "extra")
    fewer = small.write_run(tmp_path, "fewer")
    fewer._parts._tables["examples/pretrain.parquet"] = a.examples("pretrain").head(50)
    small.restated(fewer, summary="fewer")
    assert "of A's 60 pretraining examples 50 are among B's 50" in matching.refusal(a, fewer, "pretrain").replace(
        "\\", ""
    )
    apart = small.write_run(tmp_path, "apart")
    apart._parts._tables["examples/pretrain.parquet"] = a.examples("pretrain").assign(id=np.arange(900, 960))
    small.restated(apart, summary="apart")
    assert "no id in common" in matching.refusal(a, apart, "pretrain")


def test_siblings_are_models_of_one_study(small, tmp_path):
    a, b = (small.write_run(tmp_path, name) for name in "ab")
    small.restated(b, study="another")
    c = small.write_run(tmp_path, "c", scored=1)
    assert matching.siblings([a, b, c], a) == [a, c]
