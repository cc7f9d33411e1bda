"""Tar files of pictures: read where they lie, by class; bad ones are named."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from influence.errors import StudyError
from influence.studies.images.sources.by_class import pictures_at
from influence.studies.images.sources.member import Member
from influence.studies.images.study import Options, from_folders


def picture(shade=100, kind="PNG"):
    made = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 10, 200)).save(made, kind)
    return made.getvalue()


def shard(path, members, kind="w"):
    """A tar file of name -> bytes, text, or a `TarInfo` as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, kind) as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            content = content.encode() if isinstance(content, str) else content
            head = tarfile.TarInfo(name)
            head.size = len(content)
            tar.addfile(head, io.BytesIO(content))
    return path


def samples(start, stop, suffix="cls", said=lambda i: str(i % 2)):
    found = {}
    for i in range(start, stop):
        found |= {f"{i:04d}.png": picture(10 * i), f"{i:04d}.{suffix}": said(i)}
    return found


@pytest.fixture
def shards(tmp_path):
    shard(tmp_path / "train" / "a-000.tar", samples(0, 4))
    shard(tmp_path / "train" / "a-001.tar", samples(4, 7))
    return tmp_path / "train"


@pytest.mark.parametrize("path", ["", "*.tar", "a-00?.tar"])
def test_pictures_of_several_files_by_class(shards, path):
    found = pictures_at(shards / path)
    assert found.numbered
    assert not found.notes
    assert {name: [member.name for member in members] for name, members in found.classes.items()} == {
        "0": ["0000.png", "0002.png", "0004.png", "0006.png"],
        "1": ["0001.png", "0003.png", "0005.png"],
    }
    last = found.classes["0"][-1]
    assert isinstance(last, Member)
    assert last.shard.name == "a-001.tar"
    assert last.read() == picture(60)


@pytest.mark.parametrize(
    ("suffix", "said", "names"),
    [
        ("json", lambda i: json.dumps({"label": ["cat", "dog"][i % 2], "other": 3}), ["cat", "dog"]),
        ("json", lambda i: json.dumps({"cls": i}), ["8", "9", "10", "11"]),
        ("txt", lambda i: f" {'cat' if i % 2 else 'a dog'}\n", ["a dog", "cat"]),
        ("cls", lambda i: f"0{i % 2}", ["0", "1"]),
    ],
)
def test_how_a_class_is_told(tmp_path, suffix, said, names):
    found = pictures_at(shard(tmp_path / "a.tar", samples(8, 12, suffix, said)))
    assert [*found.classes] == names


def test_long_names_folders_and_further_members(tmp_path):
    deep = "n" * 120 + "/0001.v2"
    folder = tarfile.TarInfo("n")
    folder.type = tarfile.DIRTYPE
    members = {"n": folder, f"{deep}.JPEG": picture(kind="JPEG"), f"{deep}.cls": "cat", f"{deep}.txt": "A cat, asleep."}
    members |= {f"{deep}.pyd": b"\x80\x04never unpickled", "._1.png": b"no picture", "README": "words"}
    found = pictures_at(shard(tmp_path / "a.tar", members))
    assert [member.name for member in found.classes["cat"]] == [f"{deep}.JPEG"]
    assert "passed over, since they are no pictures: 2" in found.notes[0]


def link(name, target, kind=tarfile.SYMTYPE):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


BAD = [
    ({**samples(0, 2), "9.png": picture()}, "9.png has no class"),
    ({**samples(0, 2), "9.cls": "3"}, "9.cls says a class, but has no picture"),
    ({"9.cls": "3"}, "holds no pictures"),
    ({}, "holds no pictures"),
    ({**samples(0, 2), **samples(2, 3, "txt")}, r"0002.png has no class.*before it have theirs in .cls"),
    ({"1.png": picture(), "1.jpg": picture(), "1.cls": "1"}, "two pictures of one stem"),
    ({"1.png": link("1.png", "/etc/passwd"), "1.cls": "1"}, "1.png is a link or a special file"),
    ({"1.png": link("1.png", "2.png", tarfile.LNKTYPE), "1.cls": "1"}, "1.png is a link or a special file"),
    ({"1.png": picture(), "1.cls": ""}, "1.cls says no class"),
    ({"1.png": picture(), "1.txt": "A cat.\nAnd a dog."}, "1.txt says no class"),
    ({"1.png": picture(), "1.txt": "A cat. " * 100}, "1.txt says no class"),
    ({"1.png": picture(), "1.cls": b"\xff\xfe"}, "1.cls cannot be read"),
    ({"1.png": picture(), "1.cls": "x" * 70_000}, "1.cls has 70,000 bytes"),
    ({"1.png": picture(), "1.json": "{"}, "1.json cannot be read"),
    ({"1.png": picture(), "1.json": "[" * 60_000}, "1.json cannot be read"),
    ({"1.png": picture(), "1.json": '{"name": "cat"}'}, "1.json says no class.*at the key label or cls or class"),
]


@pytest.mark.parametrize(("members", "message"), BAD)
def test_members_that_are_not_in_order_are_named(tmp_path, members, message):
    with pytest.raises(StudyError, match=rf"a.tar.*({message})"):
        pictures_at(shard(tmp_path / "a.tar", members))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: b"", "is empty"),
        (lambda content: content[:1400], "damaged or cut off"),  # in the midst of a member
        (lambda content: content[: content.rindex(b"0001.cls") + 1024], "its end mark is missing"),  # after the last
        (lambda content: content.replace(b"0001.png", b"0001.pnG"), "there is no head of a member"),  # its checksum
        (lambda content: b"no tar file at all" * 100, "damaged or cut off"),
    ],
)
def test_a_file_that_is_empty_cut_off_or_damaged_is_named(shards, spoil, message):
    file = shards / "a-001.tar"
    shard(file, samples(0, 2))
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(StudyError, match=rf"a-001.tar.*{message}"):
        pictures_at(shards)


def test_packed_files_and_patterns_without_files_are_refused(tmp_path):
    with pytest.raises(StudyError, match=r"a.tar.gz is packed"):
        pictures_at(shard(tmp_path / "a.tar.gz", samples(0, 2), "w:gz"))
    with pytest.raises(StudyError, match="matches no file"):
        pictures_at(tmp_path / "b*.tar")
    (tmp_path / "b.txt").write_text("words")
    with pytest.raises(StudyError, match=r"b.txt, which is no tar file"):
        pictures_at(tmp_path / "b*")


def test_a_study_of_tar_files_is_that_of_the_same_pictures_in_folders(shards, tmp_path):
    for name, members in pictures_at(shards).classes.items():
        (tmp_path / "folders" / name).mkdir(parents=True)
        for member in members:
            (tmp_path / "folders" / name / member.name).write_bytes(member.read())
    packed, plain = (from_folders("images", [root] * 3, Options(size=8)) for root in (shards, tmp_path / "folders"))
    for one, other in zip(packed.exhibit("frozen").study.stages, plain.exhibit("frozen").study.stages, strict=True):
        assert one.data.labels == other.data.labels
        assert all(bool((one.data[i][0] == other.data[i][0]).all()) for i in range(len(other.data)))
    table = packed.exhibit("frozen").examples["pretrain"]
    assert table["source"][6] == "a-001.tar: 0005.png"
    assert [file.name for file in packed.exhibit("frozen").study.queries.files] == ["a-000.tar", "a-001.tar"]


def test_a_picture_that_is_none_or_gone_is_named(shards):
    shard(shards / "a-001.tar", {**samples(4, 6), "9.png": b"no picture", "9.cls": "1"})
    with pytest.raises(StudyError, match=r"a-001.tar: 9.png is no picture that can be read"):
        from_folders("images", [shards] * 3, Options(size=8)).exhibit("frozen")
    found = pictures_at(shards).classes["1"][-1]
    with (shards / "a-001.tar").open("r+b") as file:
        file.truncate(found.start + 3)
    with pytest.raises(StudyError, match=r"a-001.tar: 9.png is cut off"):
        found.read()


def test_the_index_holds_no_pictures(tmp_path):
    """20 files of 4 MB are indexed within a megabyte, and a picture is read alone."""
    noise = np.random.default_rng(0).bytes(2**20)
    for number in range(20):
        members = {f"{i}.{kind}": noise if kind == "png" else "1" for i in range(4) for kind in ("png", "cls")}
        shard(tmp_path / f"{number:02d}.tar", members)
    tracemalloc.start()
    found = pictures_at(tmp_path).classes["1"]
    indexing = tracemalloc.get_traced_memory()[1]
    assert found[50].read() == noise
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 80
    assert indexing < 2**20
    assert reading < 2**22
