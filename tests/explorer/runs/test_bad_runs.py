"""Runs that cannot be shown: each gives a callout that says what to do, and no exception."""

import json
import os
import re
import shutil

import pytest
import streamlit as st

from explorer.runs.folder import open_run
from influence.errors import RunError
from influence.run.draft import Draft
from influence.run.reading import Run


@pytest.fixture
def root(small, tmp_path):
    small.write_run(tmp_path, "small")
    return tmp_path


def rewrite_manifest(folder, **changes):
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def callouts(app):
    assert not app.exception
    return " ".join(element.value for element in [*app.error, *app.warning]).replace("\\", "")


def test_no_folder(open_app, tmp_path):
    app = open_app(tmp_path / "nowhere")
    assert not app.exception
    assert app.title[0].value == "No run to show yet"
    assert "upstream demo" in app.code[0].value
    assert str(tmp_path) in app.markdown[0].value.replace("\\", "")


def test_unfinished_run(open_app, tmp_path):
    Draft(tmp_path, "half", {"a": 1}).mark("begun")
    assert "half is not finished" in callouts(open_app(tmp_path))


def test_unfinished_run_beside_a_finished_one(open_app, root):
    Draft(root, "half", {"a": 1}).mark("begun")
    app = open_app(root, run="half")
    assert "half is not finished" in callouts(app)
    assert app.selectbox(key="run").value == "small"


def test_newer_format(open_app, root):
    rewrite_manifest(root / "small", format=99)
    text = callouts(open_app(root))
    assert "format 99" in text
    assert "Update upstream" in text


def test_changed_manifest(open_app, root):
    rewrite_manifest(root / "small", seed=7)
    assert "was changed after it was written" in callouts(open_app(root))


@pytest.mark.parametrize("name", ["queries.parquet", "examples/pretrain.parquet", "scores/pretrain-exact.zarr/c/0/0"])
def test_damaged_file_is_named(open_app, root, name):
    path = root / "small" / name
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    app = open_app(root)
    text = callouts(app)
    assert name in text
    assert "precompute" in text
    assert not [element for element in app.get("bidi_component") if element.proto.component_name == "upstream_cards"]


def test_missing_file_is_named(open_app, root):
    (root / "small" / "queries.parquet").unlink()
    assert "queries.parquet is missing" in callouts(open_app(root))


def test_run_damaged_while_it_is_shown(open_app, root):
    app = open_app(root)
    assert callouts(app) == ""
    path = root / "small" / "scores" / "pretrain-exact.zarr" / "c" / "0" / "0"
    path.write_bytes(b"\0" * path.stat().st_size)
    assert "has other contents" in callouts(app.run())


@pytest.mark.parametrize("page", ["", "item", "suspects", "compare"])
def test_what_a_disk_loses_while_a_run_is_shown_is_named(open_app, root, page):
    """Size and time are as before, so the run is not opened anew: its chunks are compared when they are read."""
    assert callouts(open_app(root)) == ""
    for path in [path for path in (root / "small" / "scores").rglob("c/*/*") if path.is_file()]:
        before, held = path.stat(), bytearray(path.read_bytes())
        held[len(held) // 2] ^= 64
        path.write_bytes(held)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    app = open_app(root, page)
    assert re.search(r"scores/\S+/c/0/0.* cannot be read: it has other contents", callouts(app).replace("\\", ""))
    assert not app.exception


def test_run_replaced_on_disk_is_noticed(open_app, root, small, component):
    app = open_app(root)
    before = component(app, "cards")
    shutil.rmtree(root / "small")
    small.write_run(root, "small", seed=5)
    app.run()
    assert "small was written anew on the disk" in callouts(app)
    assert component(app, "cards") != before
    assert callouts(app.run()) == ""


def test_run_removed_while_it_is_shown(open_app, root):
    app = open_app(root)
    shutil.rmtree(root / "small")
    app.run()
    assert "small, which was shown here, is no longer in" in callouts(app)
    assert app.title[0].value == "No run to show yet"


def test_run_removed_while_it_is_shown_and_others_are_left(open_app, root, small):
    small.write_run(root, "other", seed=3)
    app = open_app(root, run="small")
    shutil.rmtree(root / "small")
    app.run()
    assert "small, which was shown here, is no longer in" in callouts(app)
    assert app.selectbox(key="run").value == "other"
    assert callouts(app.run()) == ""


def test_run_damaged_in_its_manifest_while_others_are_left(open_app, root, small):
    small.write_run(root, "other", seed=3)
    app = open_app(root, run="small")
    rewrite_manifest(root / "small", seed=7)
    app.run()
    assert "was changed after it was written" in callouts(app)
    assert app.selectbox(key="run").value == "other"


def test_chunk_that_vanishes_after_the_run_was_verified(open_app, root, monkeypatch):
    app = open_app(root)
    # As if the chunk vanished between the check and the reading.
    monkeypatch.setattr("explorer.runs.folder.fingerprint", lambda _: 1)
    app.run()
    shutil.rmtree(root / "small" / "scores" / "pretrain-exact.zarr" / "c")
    app.query_params["query"] = "1003"
    app.run()
    assert "not finite" in callouts(app)
    assert "precompute" in callouts(app)


def test_a_run_that_is_added_to_while_it_is_opened_is_no_damaged_one(small_root, tmp_path, monkeypatch):
    folder = shutil.copytree(small_root / "small", tmp_path / "small")
    real, opened = Run.open.__func__, []

    def open_while_written(cls, path):
        opened.append(path)
        if len(opened) == 1:
            (folder / "new").touch()
            raise RunError("Run is damaged")
        return real(cls, path)

    monkeypatch.setattr(Run, "open", classmethod(open_while_written))
    assert open_run(folder).name == "small"
    monkeypatch.setattr(Run, "open", classmethod(lambda cls, path: (_ for _ in ()).throw(RunError("damaged"))))
    st.cache_resource.clear()
    with pytest.raises(RunError, match="damaged"):
        open_run(folder)
