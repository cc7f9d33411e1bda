"""A run of another tool's scores, on every page: lists and texts as ever, and a callout where models are needed."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from small_run import PRETRAIN

from influence.foreign import Request, import_scores

QUERIES = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    scores = np.random.default_rng(0).normal(size=(QUERIES, PRETRAIN))
    np.save(folder / "s.npy", scores)
    texts = [f"example {i} <b>of</b> words" for i in range(PRETRAIN)]
    labels = [["", "a", "b"][i % 3] for i in range(PRETRAIN)]
    pd.DataFrame({"text": texts, "label": labels, "source": labels}).to_csv(folder / "e.csv", index=False)
    pd.DataFrame({"id": range(7, 7 + QUERIES), "text": texts[:QUERIES]}).to_csv(folder / "q.csv", index=False)
    for name, stage in (("imported", "training"), ("other", "training")):
        import_scores(Request(folder / "s.npy", folder / "e.csv", folder / "q.csv", stage), folder / "runs", name)
    return folder / "runs"


def said(app):
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.get("html"))
    return " ".join(str(getattr(e, "value", None) or e.proto.body) for kind in kinds for e in kind)


@pytest.mark.parametrize("page", ["", "item", "suspects", "compare", "trust", "try-it", "learn", "notes"])
def test_every_page_is_drawn(open_app, root, page):
    app = open_app(root, page, run="imported")
    assert not app.exception
    assert [error.value for error in app.error] == []
    assert not re.search(r"\bnan\b", re.sub(r"<style>.*?</style>|<[^>]*>", " ", said(app), flags=re.DOTALL))


def test_explore_says_whose_scores_they_are_and_what_they_tell(open_app, root):
    app = open_app(root, run="imported", query="9")
    assert "order" in said(app)
    assert "computed by another tool and imported" in said(app)
    assert "example 2 &lt;b&gt;of&lt;/b&gt; words" in said(app)


def test_pages_that_need_models_say_that_there_are_none(open_app, root):
    for page, url in (("try-it", {}), ("trust", {}), ("suspects", {"repair": "Add"}), ("item", {"example": "3"})):
        assert "it has no models" in said(open_app(root, page, run="imported", **url))


def test_two_imported_runs_are_compared(open_app, root):
    app = open_app(root, "compare", run="imported", run_b="other")
    assert not app.exception
    assert not app.error
