"""What the pages of a Parquet file hold: counted from their own headers, before any is decoded.

The file's footer may say less, and a page of a few bytes may say one value a thousand million times. A reader makes
room for what the page says, and no library tells it beforehand. Headers are Thrift structs in the compact protocol:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

DATA, DICTIONARY, DATA_2 = 0, 2, 3
"""Types of pages that hold values; others are passed over."""
DETAILS = {DATA: 5, DICTIONARY: 7, DATA_2: 8}
"""Type of a page -> the field of its header that says how many values it holds, and how."""
BY_NUMBER = (2, 8)
"""Encodings that name each value by its place in the dictionary."""
BY_PREFIX = 7
"""The encoding that names how much of a text is that of the one before, so that a page may unpack into any size."""
_TRUE, _FALSE, _BYTE, _SHORT, _INTEGER, _LONG, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 12


@dataclass(frozen=True)
class Page:
    """`count`: of its values; `size`: bytes, unpacked; `encoding`: a number of the format's."""

    type: int
    count: int
    size: int
    encoding: int


def pages(file: BinaryIO, chunk: Any) -> Iterator[Page]:
    """The pages that a reader of this column chunk decodes.

    Args:
        file: open for reading; where it stands is changed.
        chunk: of pyarrow's metadata of the file.

    Raises:
        ValueError: a header is not of the format, or the pages end before the values that the footer counts.
    """
    place = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < place:
        place = chunk.dictionary_page_offset
    end, seen = place + chunk.total_compressed_size, 0
    while seen < chunk.num_values:
        if not 0 <= place < end:
            raise ValueError(f"its column {chunk.path_in_schema!r} holds fewer values than its footer counts")
        file.seek(place)
        header = _struct(file)
        found = _page(header)
        place = file.tell() + _count(header, 3)
        seen += found.count if found.type in (DATA, DATA_2) else 0
        yield found


def _page(header: dict[int, Any]) -> Page:
    kind = _count(header, 1)
    if kind not in DETAILS:
        return Page(kind, 0, _count(header, 2), 0)
    details = header.get(DETAILS[kind])
    if not isinstance(details, dict):
        raise ValueError("the header of a page says nothing of its values")
    return Page(kind, _count(details, 1), _count(header, 2), _count(details, 4 if kind == DATA_2 else 2))


def _count(struct: dict[int, Any], field: int) -> int:
    number = struct.get(field)
    if not isinstance(number, int) or not 0 <= number < 2**31:
        raise ValueError("the header of a page lacks a count")
    return number


def _struct(file: BinaryIO) -> dict[int, Any]:
    """Field -> integer of 32 bits or struct; None for others, which nobody asks for."""
    found: dict[int, Any] = {}
    number = 0
    while head := _byte(file):
        number = number + (head >> 4) if head >> 4 else _signed(file)
        if number in found or len(found) > 16:
            raise ValueError("the header of a page names a field twice")
        found[number] = _value(file, head & 15)
    return found


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRUCT:
        return _struct(file)
    if kind in (_SHORT, _INTEGER, _LONG):
        number = _signed(file)
        return number if kind == _INTEGER else None
    if kind not in (_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY):
        raise ValueError("the header of a page is not of the format")
    width = _unsigned(file) if kind == _BINARY else {_BYTE: 1, _DOUBLE: 8}.get(kind, 0)
    file.seek(width, io.SEEK_CUR)
    return None


def _byte(file: BinaryIO) -> int:
    read = file.read(1)
    if not read:
        raise ValueError("the header of a page is cut off")
    return read[0]


def _unsigned(file: BinaryIO) -> int:
    number = 0
    for shift in range(0, 70, 7):
        part = _byte(file)
        number |= (part & 127) << shift
        if part < 128:
            return number
    raise ValueError("the header of a page holds a number of more than 64 bits")


def _signed(file: BinaryIO) -> int:
    number = _unsigned(file)
    return number >> 1 if number % 2 == 0 else -(number >> 1) - 1
