"""Plain files and folders only: what lies in a folder may come from a stranger.

Nothing is opened through a link, no pipe or device is read, and a file is replaced by a new one beside it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from influence.errors import RunError

HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{16}\.tmp|.+\.[0-9a-f]{32}\.partial")
"""Name of a file that was not written whole: by us, by zarr."""


def plain_file(path: str | os.PathLike[str], flags: int) -> int:
    """`opener` of `open` for plain files: it follows no link and waits for nobody.

    Raises:
        OSError: the path is a link, a pipe, a device or a folder.
    """
    # O_NONBLOCK: a pipe that nobody writes to is opened at once, and refused.
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.open(path, flags | safe, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _no_plain_file(path) from error
        raise
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) if stat.S_ISDIR(mode) else _no_plain_file(path)
    return file


def _no_plain_file(path: str | os.PathLike[str]) -> OSError:
    return OSError(errno.EINVAL, "it is a link, a pipe or a device, not a plain file", os.fspath(path))


def read_plain(path: Path, largest: int) -> bytes:
    """The contents of a plain file.

    Raises:
        OSError: it is none, or has more than `largest` bytes.
    """
    with open(path, "rb", opener=plain_file) as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise OSError(errno.EFBIG, f"it has more than {largest:,} bytes", str(path))
        return file.read(largest)


def odd_entries(folder: Path) -> list[str]:
    """Relative names of everything in `folder`, at any depth, that is neither a plain file nor a folder."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += [f"{entry.name}/{name}" for name in odd_entries(Path(entry.path))]
            elif not entry.is_file(follow_symlinks=False):
                found.append(entry.name)
    return sorted(found)


def refuse_odd_entries(folder: Path) -> None:
    """Raise RunError if anything in `folder` is neither a plain file nor a folder."""
    odd = odd_entries(folder)
    if odd:
        raise RunError(
            f"{folder} holds {odd[0]!r}, which is a link, a pipe or a device. Runs hold plain files and folders only; "
            "nothing was read or written. Delete it if you know where it comes from."
        )


def own_folder(folder: Path) -> None:
    """Make `folder`, or find it as a plain folder of plain files.

    Raises:
        RunError: it is a link, or holds what is no plain file.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        raise RunError(f"{folder} is a link. A plain folder belongs there; delete the link and try again.")
    refuse_odd_entries(folder)


def is_half_written(file: str) -> bool:
    """Whether a file has a name that we or zarr give to those that are not written whole."""
    return HALF_WRITTEN.fullmatch(file.rpartition("/")[2]) is not None


def sweep(folder: Path) -> None:
    """Delete what killed processes left half written in `folder`, at any depth. Nobody else may be writing there."""
    for path in folder.rglob("*"):
        if is_half_written(path.name):
            path.unlink(missing_ok=True)


REMEDIES = {
    errno.ENOSPC: "the disk is full. Free some space there",
    errno.EDQUOT: "the quota of this user is used up. Free some space there",
    errno.EFBIG: "a file may not be so large there. Allow larger ones",
    errno.EROFS: "it can only be read. Make it writable",
    errno.EACCES: "this user may not write there. Allow it",
    errno.EPERM: "this user may not write there. Allow it",
}
"""Why something cannot be written, and what to do."""


def remedy(error: OSError) -> str:
    """Why something cannot be written, and what to do; without a full stop."""
    return REMEDIES.get(error.errno or 0) or f"{error.strerror or error}. Mend that"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What goes wrong while `path`, a file or an array, is written becomes an error that names it.

    Raises:
        RunError: the disk is full, or may not be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        told = re.search(r"os error (\d+)", str(error))  # safetensors says it in words only
        number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if number is None:
            raise
        why = remedy(OSError(number, os.strerror(number)))
        raise RunError(
            f"Cannot write {path.name} into {path.parent}: {why}, or choose another folder. What was finished is kept: "
            "the same command goes on from there."
        ) from error


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A new empty file beside `path`, to be written; it then takes the place of `path` in one step.

    Its name is not known before, and it is never opened through a link. Its contents are on the disk before it takes
    the place, and that it did is on the disk afterwards. If writing fails it is deleted, and `path` stays as it was.

    Raises:
        RunError: as `writing`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with writing(path):
        open(temporary, "xb").close()
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Put what a folder's entries are called on the disk: a new file is lost with its name.

    Raises:
        OSError: the disk failed. A system that does not do this for folders is no failure.
    """
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)
