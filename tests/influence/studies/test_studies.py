"""The built-in studies that need data: their files' formats, read from small ones made here."""

from __future__ import annotations

import gzip
import pickle
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from influence.errors import StudyError
from influence.studies.images import cifar10, fashion
from influence.studies.images.cifar10 import Cifar10, read_batch
from influence.studies.images.fashion import Fashion, read_idx
from influence.studies.images.study import Options

OPTIONS = Options(size=8, epochs=1)


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072)).astype(np.uint8)


def as_python_2_wrote_it(data, labels):
    """The instructions of CIFAR-10's own files: protocol 2, byte strings, the array by numpy's reconstruct."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR(K\x01"
        + number(len(data)) + number(3072) + b"\x86cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tRb\x89"
        + b"T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    )  # fmt: skip
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + text(b"a.png") * len(labels) + b"e"
    return (
        b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed
        + text(b"batch_label") + text(b"batch 1 of 5") + text(b"filenames") + names + b"u."
    )  # fmt: skip


@pytest.mark.parametrize("protocol", [0, "python 2", 2, 4, 5])
def test_cifar10s_own_files_are_read_without_unpickling(tmp_path, protocol, monkeypatch):
    monkeypatch.setattr(pickle, "load", lambda *_: pytest.fail("unpickled"))
    data, labels = pixels(12), [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    content = {"data": data, "labels": labels, "batch_label": "b", "filenames": ["x.png"] * 12}
    raw = as_python_2_wrote_it(data, labels) if protocol == "python 2" else pickle.dumps(content, protocol or 2)
    (tmp_path / "batch").write_bytes(raw)
    found, numbers = read_batch(tmp_path / "batch")
    np.testing.assert_array_equal(found, data)
    assert numbers == labels


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code from a data file was run",))


def test_a_hostile_file_runs_nothing(tmp_path):
    (tmp_path / "batch").write_bytes(pickle.dumps({"labels": [1], "data": pixels(1), "x": Evil()}))
    assert read_batch(tmp_path / "batch")[1] == [1]
    for raw in (b"", b"nonsense", pickle.dumps({"labels": [1, 2], "data": pixels(1)}), pickle.dumps([1])):
        (tmp_path / "batch").write_bytes(raw)
        with pytest.raises(StudyError, match=r"batch (cannot be read|holds \d+ labels)"):
            read_batch(tmp_path / "batch")


def downloaded(root, count=40):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        raw = as_python_2_wrote_it(pixels(count, i), [k % 10 for k in range(count)])
        (folder / name).write_bytes(raw)
    return root


def pictured(root, per_class=2):
    for part in ("train", "test"):
        for k, name in enumerate(cifar10.CLASSES):
            (root / part / name).mkdir(parents=True)
            for i in range(per_class):
                Image.fromarray(np.full((32, 32, 3), 20 * k, np.uint8)).save(root / part / name / f"{i}.png")
    return root


def zipped(root):
    pictured(root / "cifar10-images")
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        for path in sorted((root / "cifar10-images").rglob("*.png")):
            archive.write(path, path.relative_to(root))
    return root / "c.zip"


@pytest.mark.parametrize(("make", "each"), [(downloaded, 20), (pictured, 2), (zipped, 2)])
def test_cifar10_in_its_three_forms(tmp_path, make, each):
    study = Cifar10(OPTIONS, make(tmp_path))
    exhibit = study.exhibit("frozen")
    pretrain, finetune = exhibit.study.stages
    assert exhibit.classes["pretrain"] == ["bird", "frog"]
    assert len(exhibit.classes["finetune"]) == 8
    assert (len(pretrain.data), len(finetune.data)) == (2 * each, 8 * each)
    assert list(exhibit.examples["pretrain"]["label"].unique()) == ["bird", "frog"]
    assert exhibit.examples["pretrain"]["image"][0].startswith(b"\x89PNG")
    if make is not downloaded:  # colours were by class
        cat = list(exhibit.examples["finetune"]["label"]).index("cat")
        assert study._data["finetune"].picture(cat).getpixel((0, 0)) == (60, 60, 60)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (None, r"needs CIFAR-10.*--data DIR says where.*CIFAR10\('DIR', download=True\)"),
        ("nowhere", "nowhere does not exist"),
        ("empty", r"holds no CIFAR-10: expected cifar-10-batches-py/data_batch_1 as torchvision downloads it"),
        ("some.zip", "cannot be read as a zip file"),
        ("few", "holds no pictures of the class 'automobile'"),
    ],
)
def test_cifar10_that_is_not_there(tmp_path, place, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "some.zip").write_text("no")
    for part in ("train", "test"):
        (tmp_path / "few" / part / "airplane").mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "few" / part / "airplane" / "1.png")
    with pytest.raises(StudyError, match=words):
        Cifar10(OPTIONS, place and tmp_path / place)


# Fashion-MNIST


def idx(path, array, pack):
    raw = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + (".gz" if pack else "")).write_bytes(gzip.compress(raw) if pack else raw)


def clothes(folder, pack=True):
    for (images, labels), count in zip(fashion.FILES.values(), (40, 20), strict=True):
        idx(folder / images, np.random.default_rng(0).integers(0, 255, (count, 28, 28)).astype(np.uint8), pack)
        idx(folder / labels, (np.arange(count) % 10).astype(np.uint8), pack)


@pytest.mark.parametrize(("below", "pack"), [(".", True), ("FashionMNIST/raw", True), ("raw", False)])
def test_fashion_packed_or_not_and_where_torchvision_puts_it(tmp_path, below, pack):
    clothes(tmp_path / below, pack)
    exhibit = Fashion(OPTIONS, tmp_path).exhibit("updated")
    assert [len(stage.data) for stage in exhibit.study.stages] == [20, 20]
    assert exhibit.classes["pretrain"] == ["T-shirt", "pullover", "dress", "coat", "shirt"]
    assert list(exhibit.queries["label"][:2]) == ["trouser", "sandal"]
    assert exhibit.study.stages[1].proximity > 0


def test_fashion_that_is_not_there_or_damaged(tmp_path):
    for place, words in ((None, r"FashionMNIST\('DIR', download=True\)"), (tmp_path / "no", "no is no folder"),
                         (tmp_path, r"holds no train-images-idx3-ubyte \(or")):  # fmt: skip
        with pytest.raises(StudyError, match=words):
            Fashion(OPTIONS, place)
    path, short = tmp_path / "x.gz", gzip.compress(b"\0\0\x08\x01\0\0\0\x09abc")
    for raw, words in ((b"no", "cannot be read"), (gzip.compress(b"GIF8"), "is no idx file"),
                       (short, r"holds 3 bytes, its shape is \(9,\)")):  # fmt: skip
        path.write_bytes(raw)
        with pytest.raises(StudyError, match=words):
            read_idx(path)
