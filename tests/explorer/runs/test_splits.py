"""Tokens and shares of a run: what is stored, and what is said when it does not fit."""

import numpy as np
import pandas as pd
import pytest

from explorer.runs import splits
from influence.run.files import manifest_checksum
from influence.run.manifest import read_json, read_manifest
from influence.run.reading import Run
from influence.run.records import manifest_of


@pytest.fixture
def run(small, tmp_path):
    return small.write_run(tmp_path, "words", text=True)


def reopened(run):
    """The run, unverified: what is wrong with it is found by reading."""
    return Run(run.path, read_manifest(run.path))


def damaged(small, run, name, change):
    path = run.path / name
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    return reopened(small.relisted(run))


def test_shares_add_up_to_the_score_of_the_strongest_only(run, small):
    scores, texts = run.scores("pretrain", "exact")[3], run.examples("pretrain")["text"]
    found = splits.Splits(run, "pretrain", "exact", 3)
    order = np.argsort(scores)
    strongest, middle = int(order[-1]), int(order[len(order) // 2])
    shares = [span.share for span in found.spans(strongest, texts[strongest])]
    assert sum(shares) == pytest.approx(scores[strongest], rel=1e-4)
    assert found.has(strongest)
    assert not found.has(middle)
    assert found.spans(middle, texts[middle]) == []
    assert not found.problems
    assert splits.strongest(run, "pretrain", "exact") == small.SPLIT


def test_text_is_read_up_to_the_models_context(run, small):
    text = run.examples("pretrain")["text"][3]
    assert len(text[: splits.Splits(run, "pretrain").read(3, text)].split()) == small.CONTEXT
    assert splits.Splits(run, "finetune").read(3, "x") is None


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("tokens/pretrain.parquet", lambda t: t.iloc[:7], "7 rows for 60 texts"),
        ("tokens/pretrain.parquet", lambda t: t.drop(columns="ends"), "lacks the column 'ends'"),
        ("tokens/pretrain.parquet", lambda t: t.assign(ends=[e + 10**6 for e in t["ends"]]), "outside its text"),
        ("tokens/pretrain.parquet", lambda t: t.assign(ends=[e[1:] for e in t["ends"]]), "lists of other lengths"),
        ("tokens/pretrain.parquet", lambda t: t.assign(starts=None), "'starts' holds null"),
        ("shares/pretrain-exact.parquet", lambda t: t.assign(shares=[s[1:] for s in t["shares"]]), "does not fit"),
        ("shares/pretrain-exact.parquet", lambda t: t.assign(shares=[s * np.nan for s in t["shares"]]), "does not fit"),
        ("shares/pretrain-exact.parquet", lambda t: t.drop(columns="shares"), "cannot be read"),
        ("shares/pretrain-exact.parquet", lambda t: t.drop(columns="query"), "cannot be read"),
    ],
)
def test_tables_that_do_not_fit_are_named_and_nothing_is_raised(small, run, name, change, said):
    bad = splits.Splits(damaged(small, run, name, change), "pretrain", "exact", 3)
    for row in range(60):
        text = run.examples("pretrain")["text"][row]
        assert bad.spans(row, text) == []
        bad.read(row, text)
        bad.has(row)
    assert bad.problems
    assert all(name in problem for problem in bad.problems)
    assert any(said in problem for problem in bad.problems)
    assert len(set(bad.problems)) == len(bad.problems)


def test_tables_that_are_no_tables_are_named(run):
    for name in ("tokens/pretrain.parquet", "shares/pretrain-exact.parquet"):
        (run.path / name).write_bytes(b"no table")
    bad = splits.Splits(reopened(run), "pretrain", "exact", 3)
    assert bad.spans(0, "x") == []
    assert not bad.has(0)
    assert ["tokens/" in problem for problem in bad.problems] == [True, False]


def test_manifest_may_leave_out_how_many_are_stored(run):
    told = read_json(run.path)
    for value in (None, [], {"pretrain-exact": "many"}):
        changed = told | {"shares": value}
        manifest = manifest_of(changed | {"checksum": manifest_checksum(changed)}, run.path)
        assert splits.strongest(Run(run.path, manifest), "pretrain", "exact") is None
