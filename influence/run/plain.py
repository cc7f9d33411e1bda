"""Plain files and folders only: what lies in a folder may come from a stranger.

Nothing is opened through a link, no pipe or device is read, JSON has one meaning and a limited size, and a file is
replaced by a new one beside it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
from safetensors import SafetensorError

from influence.errors import RunError

HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{16}\.tmp|.+\.[0-9a-f]{32}\.partial")
"""Name of a file that was not written whole: by us, by zarr."""
MOST_VALUES, DEEPEST = 2**20, 100
"""Values in a JSON text, and lists and objects within each other: a small text must not become much in memory."""
ODD = "a link, a pipe or a device, or lies too deep"
"""What neither a plain file nor a folder is."""
DEEPEST_FOLDER = 8
"""Folders within each other in a run, which has five."""
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_NESTING = bytes(set(range(256)) - set(b"[]{}"))


def plain_file(path: str | os.PathLike[str], flags: int) -> int:
    """`opener` of `open` for plain files: it follows no link and waits for nobody.

    Raises:
        OSError: the path is a link, a pipe, a device or a folder; or it is to be written and has another name, under
            which it may be anybody's.
    """
    # O_NONBLOCK: a pipe that nobody writes to is opened at once, and refused.
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.open(path, flags | safe, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _no_plain_file(path) from error
        raise
    state = os.fstat(file)
    if stat.S_ISREG(state.st_mode) and (state.st_nlink == 1 or not flags & (os.O_WRONLY | os.O_RDWR)):
        return file
    os.close(file)
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise _no_plain_file(path)


def _no_plain_file(path: str | os.PathLike[str]) -> OSError:
    return OSError(errno.EINVAL, "it is a link, a pipe or a device, not a plain file of one name", os.fspath(path))


def lock_of(path: Path, timeout: float = 0) -> filelock.FileLock:
    """The lock that a plain file at `path` stands for; it is made when the lock is taken.

    Raises:
        OSError: there is something else.
    """
    with contextlib.suppress(FileNotFoundError):
        os.close(plain_file(path, os.O_RDWR))
    return filelock.FileLock(path, timeout=timeout)


def read_plain(path: Path, largest: int) -> bytes:
    """The contents of a plain file.

    Raises:
        OSError: it is none, or has more than `largest` bytes.
    """
    with open(path, "rb", opener=plain_file) as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise OSError(errno.EFBIG, f"it has more than {largest:,} bytes", str(path))
        return file.read(largest)


def parsed_json(content: bytes) -> Any:
    """What a JSON text says, where that is one thing only and can be shown, stored and counted with.

    Raises:
        ValueError: it is no JSON, is too large or nested too deep, names an entry of an object twice, or holds a number
            that is not finite or has more than 64 bits, or half of a character.
    """
    # Counted before anything is made of them, in what is left without the strings.
    bare = _STRING.sub(b"", content)
    if sum(map(bare.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES:,} values")
    brackets = bare.translate(None, _NOT_NESTING)
    if max(itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0) > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    told = json.loads(
        content.decode(), object_pairs_hook=_object, parse_int=_integer, parse_float=_finite, parse_constant=_finite
    )
    if re.search(rb"\\u[dD]", content):
        json.dumps(told, ensure_ascii=False).encode()  # half of a character is no text
    return told


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice[:100]!r} twice")
    return found


def _integer(text: str) -> int:
    number = int(text) if len(text) <= 20 else 2**64
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"{text[:30]} has more than 64 bits")
    return number


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:30]} is no finite number")
    return number


def odd_entries(folder: Path) -> list[str]:
    """Relative names of everything in `folder` that is neither a plain file nor a folder, or lies too deep."""
    return sorted(name for name, entry in _entries(folder) if entry is None or not entry.is_file(follow_symlinks=False))


def _entries(folder: Path) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    """Relative name and entry of all but folders; of folders only those that lie too deep, without an entry."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = inside + entry.name
                if not entry.is_dir(follow_symlinks=False):
                    yield name, entry
                elif name.count("/") < DEEPEST_FOLDER:
                    waiting.append(f"{name}/")
                else:
                    yield name, None


def bytes_in(folder: Path) -> int:
    """Bytes of the plain files in a folder; 0 if there is none, or a link in its place."""
    if folder.is_symlink() or not folder.is_dir():
        return 0
    files = (entry for _, entry in _entries(folder) if entry and entry.is_file(follow_symlinks=False))
    return sum(entry.stat(follow_symlinks=False).st_size for entry in files)


def refuse_odd_entries(folder: Path) -> None:
    """Raise RunError if `folder` is a link, or anything in it is neither a plain file nor a folder."""
    if folder.is_symlink():
        raise RunError(f"{folder} is a link. A plain folder belongs there; delete the link and try again.")
    _refuse(folder, odd_entries(folder), ODD)


def _refuse(folder: Path, odd: list[str], what: str) -> None:
    if odd:
        raise RunError(
            f"{folder} holds {odd[0]!r}, which is {what}. Runs hold plain files and folders only; nothing was written. "
            "Delete it if you know where it comes from."
        )


def own_folder(folder: Path) -> None:
    """Make `folder`, or find it as a plain folder of plain files that have no other name: they are written in place.

    Raises:
        RunError: it is a link, or holds what is no such file.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refuse_odd_entries(folder)
    shared = sorted(
        name for name, entry in _entries(folder) if entry and entry.stat(follow_symlinks=False).st_nlink > 1
    )
    _refuse(folder, shared, "a file that has another name elsewhere (a hard link)")


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
