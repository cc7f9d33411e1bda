"""Where a picture's bytes are: a file, or a member of a tar file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from influence.errors import StudyError, printable


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a tar file, found again by its place. Nothing is unpacked, and its name is never a path to open.

    Attributes:
        shard: the tar file.
        name: of the member.
        start, size: of its bytes in the tar file.
    """

    shard: Path
    name: str
    start: int
    size: int

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            StudyError: the tar file has fewer, or cannot be read.
        """
        try:
            with self.shard.open("rb") as file:
                file.seek(self.start)
                found = file.read(self.size)
        except OSError as error:
            raise StudyError(f"{printable(self.shard)} cannot be read: {error.strerror}.") from error
        if len(found) != self.size:
            raise StudyError(f"{called(self)} is cut off: the tar file has become shorter. Put it back.")
        return found


Source = Path | Member


def called(source: Source) -> str:
    """Its name, for messages."""
    if isinstance(source, Member):
        return f"{printable(source.shard)}: {printable(source.name)}"
    return printable(source)


def called_below(source: Source, root: Path) -> str:
    """Its name in tables: below the folder `root`, or in the tar file."""
    if isinstance(source, Member):
        return f"{printable(source.shard.name)}: {printable(source.name)}"
    return printable(source.relative_to(root))


def to_open(source: Source) -> Path | IO[bytes]:
    """What Pillow opens."""
    return io.BytesIO(source.read()) if isinstance(source, Member) else source


def file_of(source: Source) -> Path:
    """The file on the disk that holds it."""
    return source.shard if isinstance(source, Member) else source
