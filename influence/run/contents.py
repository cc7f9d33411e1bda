"""The files of a run, read as they were written: each is compared with its sha256 when it is first read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from influence.errors import RunError
from influence.run.plain import plain_file

UNLISTED = "run.json does not list it"


class Contents:
    """The files that run.json lists. No other file of the folder is ever opened.

    A file that has its sha256 is not compared again in this process, unless it was touched since: a disk may lose what
    `Run.open` found whole.

    Args:
        folder: of the run.
        digests: relative path -> sha256, as run.json says.
    """

    def __init__(self, folder: Path, digests: Mapping[str, str]):
        self.folder, self.digests = folder, digests
        self._known: dict[str, tuple[int, ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.digests

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """A file, at its beginning.

        Raises:
            OSError: run.json does not list it, it is missing, or it is no plain file.
            ValueError: it has other contents than when it was written.
        """
        if name not in self.digests:
            raise FileNotFoundError(errno.ENOENT, UNLISTED, name)
        with open(self.folder / name, "rb", opener=plain_file) as file:
            state = os.fstat(file.fileno())
            stamp = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            if self._known.get(name) != stamp:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.digests[name]:
                    raise ValueError(
                        "it has other contents than when it was written. Delete the folder and compute it again with "
                        "`upstream precompute`."
                    )
                self._known[name] = stamp
                file.seek(0)
            yield file

    def path(self, name: str) -> Path:
        """Where a file lies, for readers that open it themselves. Raises as `opened`."""
        with self.opened(name):
            return self.folder / name

    def unreadable(self, name: str, why: object) -> RunError:
        """The error that names a file that cannot be read."""
        return RunError(f"{name} of run {self.folder.name} cannot be read: {why}")
