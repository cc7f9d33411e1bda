"""Read picture files with checks of size and format."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps

from influence.errors import StudyError, printable
from influence.studies.images.sources.member import Source, called, to_open
from influence.studies.images.white import alone_rgb

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture that is decoded."""
KINDS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA", "PCX", "SGI", "ICO")
"""Formats that Pillow decodes by itself. For others, EPS say, it starts programs that run what a file says."""
UPLOAD_PIXELS, TABLE_PIXELS = 20_000_000, 4_000_000
"""The same for pictures that visitors upload, and for those in a run's tables."""
THUMBNAIL = 64
MOST_PAGES = 1000
"""Pages of a TIFF that is read; the first is taken."""
PAGES = "pages"
"""Key of a picture's `info`: how many frames or pages its file has."""
BITS_12, BITS_14 = 16, 64
"""In pictures with 16 bits a colour, of which the upper byte is kept: values of 12 and of 14 bits are below this."""


@contextlib.contextmanager
def opened(
    path: Source, file: IO[bytes] | None = None, largest: int = MAX_PIXELS, kinds: tuple[str, ...] = KINDS
) -> Iterator[Image.Image]:
    """The picture in file `path` (or in the open `file` that is called so), not decoded yet.

    Args:
        path: of the file, a member of a tar file, or a name.
        file: its content, if it is neither.
        largest: number of pixels that are decoded at most.
        kinds: Pillow's names of the formats that are read.

    Raises:
        StudyError: it is no picture of these kinds, is damaged (also while it is decoded), or is too large.
    """
    Image.init()  # so that it knows all formats of this installation
    known = tuple(kind for kind in kinds if kind in Image.OPEN)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd but readable files; size is looked at below
            with Image.open(file or to_open(path), formats=known) as image:
                if image.width * image.height > largest:
                    raise StudyError(_too_large(path, f"{image.width} x {image.height} pixels", largest))
                yield image
    except Image.DecompressionBombError as error:
        raise StudyError(_too_large(path, "too many pixels", largest)) from error
    except FileNotFoundError as error:
        raise StudyError(f"{called(path)} is not there (a link to nowhere?). Remove it.") from error
    except PermissionError as error:
        raise StudyError(f"{called(path)} cannot be read: {error.strerror}.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises on files that are not in order
        raise StudyError(
            f"{called(path)} is no picture that can be read ({printable(str(error))}). Remove or replace it."
        ) from error


def open_picture(path: Source, file: IO[bytes] | None = None, largest: int = MAX_PIXELS) -> Image.Image:
    """The picture in file `path` (or in the open `file` that is called so): its first frame, upright, as it is stored.

    Raises:
        StudyError: as `opened`; or it has colours of 16 bits of which at most 12 are used.
    """
    with opened(path, file, largest) as image:
        pages = page_count(image)
        wide, upright = is_wide(image), ImageOps.exif_transpose(image)
    upright.info[PAGES] = pages
    if wide and 0 < brightest_byte(upright) < BITS_12:
        raise StudyError(few_bits(path, brightest_byte(upright)))
    return upright


def read_picture(path: Source, file: IO[bytes] | None = None) -> Image.Image:
    """The picture of `open_picture` in RGB, as if there were no other; what is white is decided from it alone.

    Raises:
        StudyError: as `open_picture`, or it does not say what is white.
    """
    return alone_rgb(open_picture(path, file), called(path))


def page_count(image: Image.Image) -> int:
    """Frames or pages of a picture that is open; 1 for photographs with previews (MPO).

    Raises:
        ValueError: a TIFF has more than `MOST_PAGES`, which are found one by one, each more slowly than the last.
    """
    if image.format == "TIFF":
        with contextlib.suppress(EOFError):
            for page in range(MOST_PAGES + 1):
                image.seek(page)
            raise ValueError(f"it has more than {MOST_PAGES:,} pages")
        image.seek(0)
        return page
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))


def is_wide(image: Image.Image) -> bool:
    """Whether a picture that is open and not decoded has several colours of 16 bits. Pillow keeps the upper eight."""
    return len(image.getbands()) > 1 and any(";16" in str(tile) for tile in getattr(image, "tile", ()))


def brightest_byte(image: Image.Image) -> int:
    """The largest value of any colour, 0 to 255."""
    return max(int(most) for _, most in image.convert("RGB").getextrema())  # type: ignore[misc]


def few_bits(path: Source, brightest: int) -> str:
    """Message about a picture with 16 bits a colour that does not use the upper ones."""
    return (
        f"{called(path)} has 16 bits a colour, but no value above {brightest * 256 + 255:,} of 65,535; it would be "
        "dark. Is it of a camera with fewer bits? Save all such pictures with 8 bits a colour."
    )


def png(image: Image.Image) -> bytes:
    """`image` as a PNG of at most 64 pixels a side."""
    small, buffer = image.copy(), io.BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(buffer, "PNG")
    return buffer.getvalue()


def thumbnail(content: bytes) -> Image.Image:
    """A run's `image`, a PNG, in RGB.

    Raises:
        StudyError: it is none, or has more than `TABLE_PIXELS`.
    """
    with opened(Path("image"), io.BytesIO(content), TABLE_PIXELS, ("PNG",)) as image:
        return image.convert("RGB")


def _too_large(path: Source, size: str, largest: int) -> str:
    return f"{called(path)} has {size}; pictures up to {largest // 10**6} million are read. Make it smaller."
