"""Uploaded files from which examples are added."""

import pytest

from explorer.view import edits, pools
from influence import Run
from influence.live import ADD, NONE, addition


@pytest.fixture(scope="module")
def run(small_root):
    return Run.open(small_root / "small")


def test_a_file_is_kept_under_the_digest_of_what_it_holds():
    digest = pools.keep("more.csv", {"": b"text"})
    assert pools.at(digest).read_bytes() == b"text"
    assert pools.at(digest).name == "more.csv"
    assert pools.keep("again.csv", {"": b"text"}) == digest
    assert pools.keep("more.csv", {"": b"other"}) != digest


def test_a_folder_is_kept_whole():
    path = pools.at(pools.keep("pictures", {"7/0.png": b"a", "8/0.png": b"b"}))
    assert {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*.png")} == {
        "7/0.png": b"a", "8/0.png": b"b",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "/", "<b>\n.csv", ""])
def test_no_name_leads_out_of_the_folder(name):
    digest = pools.keep(name, {"": name.encode()})
    assert pools.at(digest).parent.name == digest
    assert "<" not in pools.at(digest).name


@pytest.mark.parametrize("digest", ["", "..", "../..", "0" * 16, "G" * 16, "/etc/passwd"])
def test_only_what_is_kept_is_found(digest):
    assert pools.at(digest) is None
    assert pools.added("pretrain", digest) is None


def test_an_uploaded_file_is_an_edit_in_the_link(run):
    digest = pools.keep("more.csv", {"": b"text,label"})
    edit = pools.added("finetune", digest)
    assert edit == addition("finetune", pools.at(digest))  # as the command line makes it
    assert (edit.kind, edit.id) == (ADD, NONE)
    text = edits.text_of([edit], run)
    assert text == f"in-finetune,add-file-{digest}"
    assert edits.parse(text, run) == ([edit], [])
    assert edits.words(edit, run) == "more.csv added (finetuning)"
    found, notices = edits.parse("add-file-0123456789abcdef", run)
    assert not found
    assert notices
