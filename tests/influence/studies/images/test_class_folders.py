"""Folders of pictures: what systems leave in them is passed over, pictures at other places are told."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from PIL import Image

from influence.errors import StudyError
from influence.studies.images.class_folders import class_folders
from influence.studies.images.study import Options, from_folders
from influence.studies.lookalikes import lookalikes


def folder(root, *names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), 20 * i, np.uint8)).save(root / name)
    return root


def notes_of(*folders):
    return from_folders("images", folders, Options(size=8)).exhibit("frozen").notes


def test_what_systems_leave_is_no_class_and_no_picture(tmp_path):
    root = folder(tmp_path / "a", "cat/1.png", "dog/1.png", "__MACOSX/cat/x.png", "cat/__MACOSX/x.png")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.png"):
        (root / "cat" / name).write_bytes(b"\0\5\x16\7")
        (root / name).write_bytes(b"\0\5\x16\7")
    assert {name: [f.name for f in files] for name, files in class_folders(root).items()} == {
        "cat": ["1.png"],
        "dog": ["1.png"],
    }
    assert notes_of(root, root, root) == []


def test_pictures_at_other_places_are_counted_and_the_first_is_named(tmp_path):
    good = folder(tmp_path / "good", "cat/1.png", "dog/1.png")
    root = folder(tmp_path / "a", "cat/1.png", "dog/1.png", "dog/old/2.png", "dog/old/er/3.JPG", "z.png")
    (root / "readme.txt").touch()
    (root / "dog" / "old" / "notes.txt").touch()
    [note] = notes_of(good, root, good)
    assert note.startswith(f"Pictures left out of {root}, since they lie beside the class folders or in folders below")
    assert note.endswith(": 3, the first dog/old/2.png.")


def test_a_class_folder_with_only_folders_in_it(tmp_path):
    root = folder(tmp_path / "a", "train/cat/1.png", "test/cat/1.png")
    with pytest.raises(StudyError, match=r"class folder 'test' holds no pictures, only folders \('cat' ...\). Put its"):
        class_folders(root)


@pytest.mark.parametrize("other", ["Dog", "dog ", "d og", "DOG"])
def test_classes_that_differ_by_case_or_blanks(tmp_path, other):
    good = folder(tmp_path / "good", "cat/1.png", "dog/1.png")
    odd = folder(tmp_path / "odd", "cat/1.png", f"{other}/1.png")
    [note] = notes_of(odd, good, good)
    assert f"The classes {other!r} (to pretrain on) and 'dog' (to finetune on) differ only by case or blanks" in note
    with pytest.raises(
        StudyError, match=rf"the class '{other}', which .* It differs from 'dog' only by case or blanks"
    ):
        notes_of(good, good, odd)


def test_letters_in_one_sign_or_two_look_alike():
    names = {unicodedata.normalize(form, "caf\xe9") for form in ("NFC", "NFD")}
    [note] = lookalikes({"here": sorted(names)})
    assert r"'caf\xe9'" in note
    assert r"'cafe\u0301'" in note
    assert len(lookalikes({"here": ["cat"], "there": ["cat\u200b"]})) == 1
    assert lookalikes({"here": ["cat", "dog"], "there": ["cat", "cats"]}) == []
