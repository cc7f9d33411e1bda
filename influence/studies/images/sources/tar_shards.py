"""Tar files of pictures, as WebDataset lays them out: members of one stem belong together, a picture and its class.

`cat/0001.jpg` is of the class that `cat/0001.cls`, `.json` or `.txt` says. A tar file is read once from end to end, to
note where each picture is; pictures are read from there when they are needed.
"""

from __future__ import annotations

import glob
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from influence.errors import StudyError, listed, printable
from influence.studies.images.picture_files import KINDS
from influence.studies.images.sources.member import Member

LABELS = ("cls", "json", "txt")
"""Suffixes of members that say a picture's class; the first that there is counts."""
KEYS = ("label", "cls", "class")
"""Keys of the class in JSON."""
LONGEST = 2**16
"""Bytes of a member that says a class."""
LONGEST_NAME = 200
"""Characters of a class's name; a longer one is a text about the picture."""
LARGEST = 2**28
"""Bytes of a picture."""
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
BLOCK = 512
"""Bytes of a tar file's blocks; it ends with two of zeros."""


class Found(NamedTuple):
    """`classes`: name -> pictures, in the order of names (numbers: of numbers); `notes` for people."""

    classes: dict[str, list[Member]]
    notes: list[str]


def tar_files(path: Path) -> list[Path]:
    """The tar files that a path is, a folder holds, or a pattern stands for, by name; none: it is of folders.

    Raises:
        StudyError: a pattern matches no tar file, or one is packed.
    """
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file() and is_tar(file))
    elif glob.has_magic(str(path)) and not path.exists():
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
        others = [file for file in found if not is_tar(file)]
        if others or not found:
            what = f"{printable(others[0])}, which is no tar file" if others else "no file"
            raise StudyError(f"{printable(path)} matches {what}. A pattern is in quotes, such as 'shards/*.tar'.")
    else:
        found = [path] if is_tar(path) else []
    packed = [file for file in found if file.name.lower().endswith(PACKED)]
    if packed:
        raise StudyError(
            f"{printable(packed[0])} is packed, so that no picture in it can be reached without those before it. "
            "Unpack it to a .tar."
        )
    return found


def is_tar(path: Path) -> bool:
    """Whether a file's name is one of a tar file, packed or not."""
    return path.name[0] != "." and path.name.lower().endswith((".tar", *PACKED))


def tar_classes(files: list[Path]) -> Found:
    """The pictures of some tar files, by class.

    Raises:
        StudyError: a file is empty, damaged or cut off, or holds no pictures, a link, a picture without class, or one
            whose class is told otherwise than the first one's.
    """
    found: dict[str, list[Member]] = {}
    kind, over = "", list[str]()
    for file in files:
        groups = _groups(file)
        pictures = {stem: each for stem, members in groups.items() if (each := _picture(members)) is not None}
        if not pictures:
            raise StudyError(f"{printable(file)} holds no pictures. Leave it out, or mend it.")
        kind = kind or next((each for each in LABELS if each in groups[next(iter(pictures))]), "")
        for stem, members in groups.items():
            label = members.get(kind)
            if stem in pictures and label is None:
                raise StudyError(_without_class(pictures[stem], kind, files[0]))
            if stem in pictures and label is not None:
                found.setdefault(_class_of(label), []).append(pictures[stem])
            elif label is not None:
                raise StudyError(f"{printable(file)}: {printable(label.name)} says a class, but has no picture.")
            over += [m.name for suffix, m in members.items() if suffix not in LABELS and m is not pictures.get(stem)]
    names = sorted(found, key=lambda name: (int(name), name)) if all(map(is_number, found)) else sorted(found)
    if not over:
        return Found({name: found[name] for name in names}, [])
    told = f"Members passed over, since they are no pictures: {len(over):,}, the first {printable(over[0])}."
    return Found({name: found[name] for name in names}, [told])


def is_number(name: str) -> bool:
    """Whether a class's name is a number from 0, as of a model's output."""
    return name.isascii() and name.isdigit()


def _groups(file: Path) -> dict[str, dict[str, Member]]:
    """Stem -> suffix -> member, of every file in a tar file."""
    found: dict[str, dict[str, Member]] = {}
    for member in _members(file):
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.rpartition(".")
        if not name.startswith("."):
            others = found.setdefault(f"{folder}/{stem}", {})
            if suffix.lower() in others:
                raise StudyError(f"{printable(file)} holds {printable(member.name)} twice.")
            others[suffix.lower()] = member
    return found


def _members(file: Path) -> Iterator[Member]:
    try:
        with file.open("rb") as source, tarfile.open(fileobj=source, mode="r:") as tar:
            for each in tar:
                tar.members = []  # type: ignore[attr-defined]  # which would hold all of them
                if each.isdir():
                    continue
                if not each.isreg() or each.issparse():
                    raise StudyError(
                        f"{printable(file)}: {printable(each.name)} is a link or a special file, which is not followed."
                        " Pack the file itself."
                    )
                yield Member(file, each.name, each.offset_data, each.size)
            source.seek(tar.offset)
            end = source.read(BLOCK)
    except tarfile.TarError as error:
        raise StudyError(_damaged(file, str(error))) from error
    except OSError as error:
        raise StudyError(f"{printable(file)} cannot be read: {error.strerror}.") from error
    if end.strip(b"\0") or len(end) < BLOCK:  # `tarfile` ends at what is no head without a word
        what = f"at byte {tar.offset:,} there is no head of a member" if end else "its end mark is missing"
        raise StudyError(_damaged(file, what))


def _damaged(file: Path, why: str) -> str:
    if file.stat().st_size == 0:
        return f"{printable(file)} is empty. Leave it out, or mend it."
    return f"{printable(file)} is no whole tar file ({why}); it is damaged or cut off. Fetch or make it again."


def _picture(members: dict[str, Member]) -> Member | None:
    """The picture of a stem."""
    suffixes = {suffix[1:] for suffix, kind in Image.registered_extensions().items() if kind in KINDS}
    found = [member for suffix, member in members.items() if suffix in suffixes]
    if len(found) > 1:
        names = listed([printable(each.name) for each in found], " and ")
        raise StudyError(f"{printable(found[0].shard)} holds {names}: two pictures of one stem. Which is meant?")
    if found and found[0].size > LARGEST:
        raise StudyError(f"{printable(found[0].shard)}: {printable(found[0].name)} has more than {LARGEST:,} bytes.")
    return found[0] if found else None


def _without_class(picture: Member, kind: str, first: Path) -> str:
    known = f"The pictures before it have theirs in .{kind} ({printable(first)}); all must be alike." if kind else ""
    return (
        f"{printable(picture.shard)}: {printable(picture.name)} has no class. Put a file of the same stem beside it: "
        f".cls, .txt (a class), or .json (an object with the key {' or '.join(KEYS)}). {known}".rstrip()
    )


def _class_of(label: Member) -> str:
    where = f"{printable(label.shard)}: {printable(label.name)}"
    if label.size > LONGEST:
        raise StudyError(f"{where} has {label.size:,} bytes; expected a class.")
    try:
        text = label.read().decode("utf-8-sig")
        value = _of_json(json.loads(text)) if label.name.lower().endswith(".json") else text
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{where} cannot be read: {printable(str(error))}.") from error
    name = printable(str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not name or len(name) > LONGEST_NAME or "\n" in str(value).strip():
        raise StudyError(
            f"{where} says no class: expected a name of at most {LONGEST_NAME} characters, or a number"
            + (f", at the key {' or '.join(KEYS)}." if label.name.lower().endswith(".json") else ".")
        )
    return str(int(name)) if is_number(name) else name


def _of_json(found: object) -> object:
    return next((found[key] for key in KEYS if key in found), None) if isinstance(found, dict) else None
