"""Pictures of users: odd files read as they should be, bad ones named, and never too many in memory."""

from __future__ import annotations

import io
import os
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from influence.errors import StudyError
from influence.studies.images import pictures
from influence.studies.images.class_folders import class_folders
from influence.studies.images.networks import head_names, image_model, load_weights
from influence.studies.images.picture_files import read_picture
from influence.studies.images.pictures import MEAN, Pictures
from influence.studies.images.study import Options, from_folders


def saved(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array))
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def colour(red, green, blue, size=(6, 8)):
    return np.full((*size, 3), (red, green, blue), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "YCbCr"])
def test_colours_are_those_of_the_picture(tmp_path, mode):
    path = saved(tmp_path / "a.tif" if mode != "RGB" else tmp_path / "a.png", colour(200, 30, 90), mode)
    image = read_picture(path)
    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 90)).max() <= 4


def test_grey_sixteen_bit_and_palette(tmp_path):
    grey = read_picture(saved(tmp_path / "grey.png", np.full((4, 4), 77, np.uint8)))
    deep = read_picture(saved(tmp_path / "deep.png", np.full((4, 4), 256 * 77 + 77, np.uint16)))
    few = read_picture(saved(tmp_path / "few.gif", colour(255, 0, 0), "P"))
    assert grey.getpixel((0, 0)) == deep.getpixel((0, 0)) == (77, 77, 77)
    assert few.getpixel((0, 0)) == (255, 0, 0)


def test_what_is_transparent_is_white(tmp_path):
    path = saved(tmp_path / "a.png", np.concatenate([colour(0, 0, 0), np.zeros((6, 8, 1), np.uint8)], axis=2))
    assert read_picture(path).getpixel((0, 0)) == (255, 255, 255)


def test_turned_as_the_camera_said(tmp_path):
    pixels = colour(0, 0, 0)
    pixels[:, :4] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    image = read_picture(saved(tmp_path / "a.png", pixels, exif=exif))
    assert image.size == (6, 8)
    assert np.asarray(image)[:4].min() == 255
    assert np.asarray(image)[4:].max() == 0


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    whole = saved(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8))
    whole.write_bytes(whole.read_bytes()[:900])
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    for name, words in (("notes.png", "is no picture"), ("cut.png", "is no picture"), ("link.png", "is not there")):
        with pytest.raises(StudyError, match=f"{name} {words}"):
            read_picture(tmp_path / name)


def huge_png(side):
    """The head of a PNG that says it is large; a few bytes."""
    head = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(len(d).to_bytes(4, "big") + k + d + zlib.crc32(k + d).to_bytes(4, "big") for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, side):
    (tmp_path / "huge.png").write_bytes(huge_png(side))
    with pytest.raises(StudyError, match=r"huge.png has .* pixels; pictures up to 100 million are read"):
        read_picture(tmp_path / "huge.png")


def test_examples_are_the_middle_normalised(tmp_path):
    wide = colour(0, 0, 0, (10, 30))
    wide[:, 10:20] = 255
    data = Pictures([lambda: Image.fromarray(wide)], [3], 10)
    tensor, label = data[0]
    assert (tensor.shape, tensor.dtype, label) == ((3, 10, 10), torch.float32, 3)
    assert float(tensor[0].min()) == pytest.approx((1 - MEAN[0]) / 0.229, rel=1e-5)
    small = Image.open(io.BytesIO(data.thumbnail(0)))
    assert small.size == (30, 10)


def test_decoded_once_where_they_fit_and_each_time_where_not(monkeypatch):
    reads = []

    def source():
        reads.append(1)
        return Image.fromarray(colour(1, 2, 3))

    for kept, expected in ((10**6, 1), (100, 3)):
        monkeypatch.setattr(pictures, "CACHE_BYTES", kept)
        reads.clear()
        data = Pictures([source], [0], 8)
        assert torch.equal(data[0][0], data[0][0])
        data[0]
        assert len(reads) == expected


# Folders


def folders(root, **classes):
    for name, count in classes.items():
        for i in range(count):
            saved(root / name / f"{i}.png", colour(40 * i % 255, len(name) * 20 % 255, 9))
    return root


def test_class_folders_by_name_without_hidden_files_and_through_links(tmp_path):
    root = folders(tmp_path / "a", cat=2, bird=1)
    (root / "cat" / ".DS_Store").touch()
    (root / "cat" / "Thumbs.db").touch()
    (root / ".git").mkdir()
    (root / "readme.txt").touch()
    (root / "dog").symlink_to(root / "cat")
    found = class_folders(root)
    assert list(found) == ["bird", "cat", "dog"]
    assert [path.name for path in found["dog"]] == ["0.png", "1.png"]


def test_a_name_that_is_no_utf8_is_shown_escaped(tmp_path):
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with open(os.fsencode(tmp_path) + b"/caf\xe9/x\xff.png", "wb") as file:
        Image.fromarray(colour(1, 2, 3)).save(file, "PNG")
    found = class_folders(tmp_path)
    assert list(found) == ["caf\\xe9"]
    assert read_picture(found["caf\\xe9"][0]).size == (8, 6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, r"three/train does not exist; expected a folder with one folder of pictures per class"),
        (lambda root: (root.parent.mkdir(), root.touch()), "train is a file"),
        (lambda root: saved(root / "1.png", colour(1, 1, 1)), "holds no class folders; put the pictures of each class"),
        (lambda root: (folders(root, cat=1), (root / "dog").mkdir()), "class folder 'dog' holds no pictures"),
        (lambda root: folders(root, cat=3), "there is only the class 'cat' to pretrain on"),
    ],
)
def test_folders_that_are_not_as_expected(tmp_path, make, words):
    make(tmp_path / "three" / "train")
    good = folders(tmp_path / "good", cat=1, dog=1)
    with pytest.raises(StudyError, match=words):
        from_folders("images", [tmp_path / "three" / "train", good, good], Options())


def test_test_pictures_of_a_class_that_was_not_finetuned_on(tmp_path):
    good, test = folders(tmp_path / "good", cat=1, dog=1), folders(tmp_path / "test", cat=1, elk=1)
    with pytest.raises(StudyError, match=r"test has the class 'elk', which .*good lacks; it has cat, dog"):
        from_folders("images", [good, good, test], Options())


def test_a_bad_picture_is_found_before_anything_is_trained(tmp_path):
    good = folders(tmp_path / "good", cat=2, dog=2)
    (good / "dog" / "x.jpg").write_text("<script>")
    with pytest.raises(StudyError, match=r"good/dog/x.jpg is no picture"):
        from_folders("images", [good, good, good], Options()).exhibit("frozen")


def test_one_picture_a_class_and_one_query(tmp_path):
    good, test = folders(tmp_path / "good", cat=1, dog=1), folders(tmp_path / "test", dog=1)
    study = from_folders("images", [good, good, test], Options(size=8))
    frozen, updated = (study.exhibit(variant) for variant in study.variants)
    assert frozen.study.stages[0] is updated.study.stages[0]
    assert list(frozen.queries["label"]) == ["dog"]
    assert frozen.study.queries[0][1] == 1  # of cat and dog, though the tests show one class only
    assert list(frozen.examples["pretrain"]["source"]) == ["cat/0.png", "dog/0.png"]
    body = {name for name, _ in frozen.study.stages[1].model.named_parameters() if "head" not in name}
    assert set(frozen.study.stages[1].frozen) == body


def test_at_most_so_many_queries_drawn_by_the_seed(tmp_path):
    good = folders(tmp_path / "good", cat=9, dog=9)
    drawn = [
        from_folders("i", [good, good, good], Options(size=8, queries=5, seed=seed)).exhibit("frozen").queries["id"]
        for seed in (0, 0, 1)
    ]
    assert list(drawn[0]) == list(drawn[1])
    assert list(drawn[0]) != list(drawn[2])
    assert [len(ids) for ids in drawn] == [5, 5, 5]


# Models


def test_any_classifier_of_torchvision_by_name():
    assert head_names("resnet18") == {"fc.weight", "fc.bias"}
    assert head_names("squeezenet1_1") == {"classifier.1.weight", "classifier.1.bias"}
    assert head_names("cnn") == {"head.weight", "head.bias"}
    with pytest.raises(StudyError, match=r"no model 'resnet19'; use 'cnn' or .* resnet18"):
        image_model("resnet19", 2, 0)


def test_same_seed_same_start_and_the_callers_randomness_is_left_alone():
    before = torch.get_rng_state()
    one, other, third = (image_model("cnn", 2, seed).head.weight for seed in (0, 0, 1))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert torch.equal(before, torch.get_rng_state())


def test_weights_from_a_file_all_but_the_head(tmp_path):
    import safetensors.torch

    origin, model = image_model("cnn", 5, 1), image_model("cnn", 2, 0)
    head = model.head.weight.clone()
    safetensors.torch.save_file(origin.state_dict(), tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors", head_names("cnn"))
    assert torch.equal(model.features[0].weight, origin.features[0].weight)
    assert torch.equal(model.head.weight, head)
    with pytest.raises(StudyError, match=r"do not fit .*: conv1.weight has shape \(64, 3, 7, 7\), the file lacks"):
        load_weights(image_model("resnet18", 2, 0), tmp_path / "w.safetensors", head_names("resnet18"))
    (tmp_path / "bad").write_bytes(b"no")
    with pytest.raises(StudyError, match="bad cannot be read as safetensors"):
        load_weights(model, tmp_path / "bad", set())
