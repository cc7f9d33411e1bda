"""Pictures of 16 bits or floats: one value is white for a whole data set, it is told, or a file is named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from influence.errors import StudyError
from influence.studies.images.picture_files import open_picture, read_picture
from influence.studies.images.pictures import DEVIATION, MEAN
from influence.studies.images.study import Options, from_folders

SIZE = 8
RAMP = np.linspace(0, 1, SIZE * SIZE).reshape(SIZE, SIZE)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def three(root, make, suffix):
    """Folders to pretrain on, to finetune on and to test with, of pictures `make(n)`."""
    for i, part in enumerate(("pretrain", "finetune", "test")):
        for j, name in enumerate(("cat", "dog")):
            save(root / part / name / f"0.{suffix}", make(2 * i + j))
    return [root / part for part in ("pretrain", "finetune", "test")]


def exhibit(folders):
    return from_folders("images", folders, Options(size=SIZE)).exhibit("frozen")


def bytes_of(example):
    """The 8-bit values, (SIZE, SIZE), of the first colour of an example."""
    return (example[0][0] * DEVIATION[0] + MEAN[0]).numpy() * 255


@pytest.mark.parametrize(
    ("kind", "suffix", "white"),
    [
        (np.float32, "tiff", 1),
        (np.float32, "tif", 255),
        (np.uint16, "png", 255),
        (np.uint16, "tiff", 1023),
        (np.uint16, "png", 4095),
        (np.int32, "tiff", 16383),
        (np.uint16, "png", 65535),
    ],
)
def test_one_white_for_all_three_parts(tmp_path, kind, suffix, white):
    """The brightest picture is in one part only; the others keep their share of its range."""
    shares = [0.95, 0.3, 0.5, 0.4, 0.2, 0.6]
    folders = three(tmp_path, lambda n: (RAMP * shares[n] * white).astype(kind), suffix)
    made = exhibit(folders)
    parts = [made.study.stages[0].data, made.study.stages[1].data, made.study.queries]
    for n, share in enumerate(shares):
        stored = (RAMP * share * white).astype(kind).astype(float)
        np.testing.assert_allclose(bytes_of(parts[n // 2][n % 2]), stored / white * 255, atol=0.51)
    assert made.all_settings["white"] == white
    told = next(note for note in made.notes if "for white" in note)
    assert f"{white:,} for white" in told
    assert "pretrain/cat/0" in told


def test_floats_that_are_all_dark_go_to_1(tmp_path):
    made = exhibit(three(tmp_path, lambda n: (RAMP * 0.15 / (n + 1)).astype(np.float32), "tiff"))
    assert made.all_settings["white"] == 1
    assert "5 of them are dark: no value above a tenth" in made.notes[1]
    np.testing.assert_allclose(bytes_of(made.study.stages[0].data[0]), RAMP * 0.15 * 255, atol=0.51)


def test_a_new_question_becomes_the_tensor_of_the_same_picture(tmp_path):
    folders = three(tmp_path, lambda n: (RAMP * (4000, 60, 900)[n % 3]).astype(np.uint16), "png")
    made = exhibit(folders)
    for n, path in enumerate(sorted((tmp_path / "test").rglob("*.png"))):
        asked = made.encode(open_picture(Path("upload.png"), io.BytesIO(path.read_bytes())))
        assert torch.equal(asked.item[0], made.study.queries[n][0])
    save(tmp_path / "bright.png", (RAMP * 5000).astype(np.uint16))
    with pytest.raises(
        StudyError, match=r"has the value 5,000; expected 0 \(black\) to 4,095 \(white, by the pictures"
    ):
        made.encode(open_picture(tmp_path / "bright.png"))


def test_a_question_of_16_bits_about_pictures_of_8(tmp_path):
    made = exhibit(three(tmp_path, lambda n: (RAMP * 255).astype(np.uint8), "png"))
    assert made.notes == []
    assert "white" not in made.all_settings
    save(tmp_path / "deep.png", (RAMP * 4000).astype(np.uint16))
    with pytest.raises(StudyError, match="it is not known which value is white. Save it with 8 bits"):
        made.encode(open_picture(tmp_path / "deep.png"))


def test_masks_of_8_bits_are_told(tmp_path):
    made = exhibit(three(tmp_path, lambda n: (RAMP > 0.5).astype(np.uint8), "png"))
    assert made.notes == [
        "All pictures are nearly black: no value is above 1 of 255 (masks of class numbers?). The model sees next to "
        "nothing of them; scale them to 0 to 255."
    ]


def with_one(value, place=0):
    values = RAMP.astype(np.float32).copy()
    values.flat[place] = value
    return values


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (with_one(np.nan), r"dog/0.tiff holds values that are NaN or infinite"),
        (with_one(np.inf), r"dog/0.tiff holds values that are NaN or infinite"),
        (with_one(-0.5), r"dog/0.tiff has the value -0.5; expected 0 \(black\) to 1"),
        (RAMP.astype(np.float32) * 1.01, r"dog/0.tiff has values up to 1.01, the largest of all; expected up to 1, or"),
        (RAMP.astype(np.float32) * 20, r"dog/0.tiff has values up to 20, the largest of all"),
        (RAMP.astype(np.float32) * 1e6, r"dog/0.tiff has values up to 1,000,000, the largest of all"),
        (RAMP.astype(np.float32) * 250, r"cat/0.tiff has values up to 1, where 255 is white \(by .*dog/0.tiff\)"),
        ((RAMP * 60000).astype(np.int32), r"cat/0.tiff has values up to 1, where 65,535 is white"),
    ],
)
def test_what_one_white_does_not_fit_is_named(tmp_path, bad, words):
    folders = three(tmp_path, lambda n: bad if n == 3 else RAMP.astype(np.float32), "tiff")
    with pytest.raises(StudyError, match=words):
        exhibit(folders)


@pytest.mark.parametrize(("largest", "fits"), [(250, False), (300, False), (4095, True)])
def test_few_values_of_16_bits_beside_pictures_that_use_them_all(tmp_path, largest, fits):
    """Nearly black is told, black is refused."""
    folders = three(tmp_path, lambda n: (RAMP * (largest if n == 5 else 65535)).astype(np.uint16), "png")
    if fits:
        assert "1 of them are dark" in exhibit(folders).notes[-1]
    else:
        with pytest.raises(StudyError, match=rf"test/dog/0.png has values up to {largest}, where 65,535 is white"):
            exhibit(folders)


def png16(values):
    """A PNG of 16 bits a colour, which Pillow reads and does not write."""
    height, width, colours = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {2: 4, 3: 2, 4: 6}[colours]
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("colours", [2, 3, 4])
def test_colours_of_16_bits(tmp_path, colours):
    values = np.full((4, 4, colours), 65535, np.uint16)
    values[..., : colours - (colours != 3)] = 77 * 257
    (tmp_path / "a.png").write_bytes(png16(values))
    assert read_picture(tmp_path / "a.png").getpixel((0, 0)) == (77, 77, 77)
    values[..., : colours - (colours != 3)] = 4000
    (tmp_path / "b.png").write_bytes(png16(values))
    with pytest.raises(StudyError, match=r"b.png has 16 bits a colour, but no value above 4,095 of 65,535"):
        open_picture(tmp_path / "b.png")


def test_colours_of_14_bits_in_all_files(tmp_path):
    folders = three(tmp_path, lambda n: (RAMP * 255).astype(np.uint8), "png")
    wide = folders[1] / "dog" / "1.png"
    wide.write_bytes(png16(np.repeat((RAMP[..., None] * 16383).astype(np.uint16), 3, axis=2)))
    with pytest.raises(StudyError, match=r"dog/1.png has 16 bits a colour, but no value above 16,383 of 65,535"):
        exhibit(folders)
    bright = folders[2] / "dog" / "1.png"
    bright.write_bytes(png16(np.repeat((RAMP[..., None] * 65535).astype(np.uint16), 3, axis=2)))
    np.testing.assert_allclose(bytes_of(exhibit(folders).study.queries[2]), RAMP * 255, atol=1)


@pytest.mark.parametrize("suffix", ["gif", "tiff"])
def test_of_several_pages_the_first_is_taken_and_told(tmp_path, suffix):
    folders = three(tmp_path, lambda n: (RAMP * 255).astype(np.uint8), "png")
    first, second = (Image.new("L", (SIZE, SIZE), value) for value in (200, 10))
    first.save(folders[1] / "cat" / f"1.{suffix}", save_all=True, append_images=[second])
    made = exhibit(folders)
    np.testing.assert_allclose(bytes_of(made.study.stages[1].data[1]), 200, atol=0.5)
    assert made.notes[0].startswith("Pictures with several frames or pages, of which the first was taken: 1, the first")
    assert f"cat/1.{suffix}" in made.notes[0]
    asked = made.encode(open_picture(folders[1] / "cat" / f"1.{suffix}"))
    assert asked.notes == ("The picture has 2 frames or pages; the first was taken.",)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("L", "png"), ("LA", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "tiff"), ("YCbCr", "tiff")],
)
def test_pictures_of_8_bits_keep_their_values_whatever_lies_beside_them(tmp_path, mode, suffix):
    folders = three(tmp_path, lambda n: (RAMP * 255).astype(np.uint8), "png")
    save(folders[0] / "cat" / "1.png", (RAMP * 4000).astype(np.uint16))
    grey = Image.fromarray(np.where(RAMP > 0.5, 255, 0).astype(np.uint8))
    grey.convert(mode).save(folders[2] / "cat" / f"1.{suffix}")
    made = exhibit(folders)
    np.testing.assert_allclose(bytes_of(made.study.queries[1]), np.asarray(grey), atol=1.5)


def test_lab():
    from PIL import ImageCms

    profiles = [ImageCms.createProfile(space) for space in ("sRGB", "LAB")]
    lab = ImageCms.applyTransform(
        Image.new("RGB", (4, 4), (200, 30, 90)), ImageCms.buildTransform(*profiles, "RGB", "LAB")
    )
    file = io.BytesIO()
    lab.save(file, "TIFF")
    found = read_picture(Path("lab.tiff"), file)
    assert np.abs(np.subtract(found.getpixel((0, 0)), (200, 30, 90))).max() <= 4
