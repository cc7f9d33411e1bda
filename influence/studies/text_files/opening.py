"""Open a file of texts, in the format that its suffix says, a folder or pattern of such, or what `datasets` saved."""

from __future__ import annotations

from pathlib import Path

from influence.errors import StudyError, printable
from influence.studies.text_files.encoding import looks_wide
from influence.studies.text_files.formats import Delimited, JsonLines, Lines, Parquet, Texts
from influence.studies.text_files.packed import DAMAGED, PACKED, damaged, suffix_of
from influence.studies.text_files.saved_dataset import SavedDataset, is_saved
from influence.studies.text_files.shards import Shards, shards_at

FORMATS: dict[str, type[Texts]] = {
    ".csv": Delimited,
    ".tsv": Delimited,
    ".parquet": Parquet,
    ".jsonl": JsonLines,
    ".txt": Lines,
}


def open_texts(path: Path) -> Texts:
    """The file at `path`, in the format that its suffix says; of a folder or a pattern all files, as one.

    Raises:
        StudyError: it is not there, no file, empty, of no known format, or not in order; or a folder or pattern has no
            files of texts, or files of several kinds.
    """
    if path.is_dir() and is_saved(path):
        return SavedDataset(path)
    if (files := shards_at(path, list(FORMATS))) is not None:
        return Shards(path, files, open_texts)
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise StudyError(
            f"{printable(path)} {what}; expected a file of texts: {', '.join(FORMATS)}, a folder of such files, or one "
            "that `datasets` saved."
        )
    suffix = suffix_of(path)
    if suffix not in FORMATS or (suffix == ".parquet" and path.suffix.lower() == PACKED):
        packed = path.suffix.lower() in (PACKED, ".zst", ".bz2", ".xz", ".zip")
        raise StudyError(
            f"{printable(path)} has the suffix {path.suffix!r}; files of texts are {', '.join(FORMATS)}. "
            + ("Unpack it first." if packed else "Give it the one that says what it holds.")
        )
    try:
        if path.stat().st_size == 0:
            raise StudyError(f"{printable(path)} is empty; expected texts.")
        if looks_wide(path):
            raise StudyError(f"{printable(path)} looks like UTF-16. Convert it: iconv -f UTF-16LE -t UTF-8 FILE > NEW.")
        made = FORMATS[suffix](path)
    except DAMAGED as error:
        raise StudyError(damaged(path, error)) from error
    except OSError as error:
        raise StudyError(f"{printable(path)} cannot be read: {error.strerror}.") from error
    return made
