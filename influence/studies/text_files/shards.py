"""Several files of texts of one kind, which are read one after another as one: a folder of them, or a pattern."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from influence.errors import StudyError, listed, printable
from influence.studies.text_files.formats import Row, Texts, name_list
from influence.studies.text_files.packed import suffix_of

SHOWN = 3
"""Names that a message gives."""


class Shards(Texts):
    """Files of texts as one: rows are numbered on from file to file, in the order of the files' names.

    Args:
        path: the folder or the pattern, for messages.
        files: in order; one at least.
        opened: a file -> its texts.

    Raises:
        StudyError: a file is not in order, or has other columns than the first; later, if one holds no texts.
    """

    def __init__(self, path: Path, files: Sequence[Path], opened: Callable[[Path], Texts]):
        super().__init__(path)
        self.shards = [opened(file) for file in files]
        self.starts = [0]
        first = self.shards[0]
        self.columns, self.plain, self.hint = first.columns, first.plain, first.hint
        for shard in self.shards[1:] if first.same_columns else ():
            if set(shard.columns) != set(first.columns):
                raise StudyError(
                    f"{printable(shard.path)} has the columns {name_list(shard.columns)}, and "
                    f"{printable(first.path)} before it {name_list(first.columns)}. Files that are read as one have "
                    "the same columns."
                )

    def rows(self, columns: Sequence[str], texts: bool = True) -> Iterator[Row]:
        self.starts = [0]
        for shard in self.shards:
            start, after = self.starts[-1], -1
            for after, values in shard.rows(columns, texts):
                yield start + after, values
            if after < 0:
                raise StudyError(f"{printable(shard.path)} holds no texts. Leave it out, or mend it.")
            self.starts.append(start + after + 1)

    def columns_called(self, name: str, everywhere: bool) -> list[str]:
        for shard in self.shards if everywhere else self.shards[:1]:
            if found := shard.columns_called(name, everywhere):
                return found
        return []

    def place(self, number: int) -> str:
        shard, own = self._of(number)
        return shard.place(own)

    def spot(self, number: int) -> str:
        shard, own = self._of(number)
        return f"{shard.spot(own)} of {printable(shard.path.name)}"

    def _of(self, number: int) -> tuple[Texts, int]:
        """The file of a row that was read, and the row's number there."""
        place = max(i for i, start in enumerate(self.starts) if start <= number)
        place = min(place, len(self.shards) - 1)
        return self.shards[place], number - self.starts[place]


def shards_at(path: Path, formats: Sequence[str]) -> list[Path] | None:
    """The files that a folder or a pattern stands for, by name; None: it is neither.

    Args:
        path: as it was given; in a pattern, `*`, `?` and `[...]` stand for parts of a name, `**` for folders.
        formats: suffixes of files of texts.

    Raises:
        StudyError: there are none, or of several kinds.
    """
    if path.is_dir():
        every = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
        found = [file for file in every if suffix_of(file) in formats]
        if not found:
            raise StudyError(
                f"{printable(path)} is a folder; expected a file of texts: {', '.join(formats)}, a folder of such "
                "files, or one that `datasets` saved."
            )
    elif glob.has_magic(str(path)) and not path.exists():
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
        if not found:
            raise StudyError(f"{printable(path)} matches no file. A pattern is in quotes, such as 'texts/*.csv'.")
    else:
        return None
    kinds = sorted({suffix_of(file) for file in found})
    if len(kinds) > 1:
        named = [printable(next(f.name for f in found if suffix_of(f) == kind)) for kind in kinds[:SHOWN]]
        raise StudyError(
            f"{printable(path)} holds files of several kinds ({listed(named, ' and ')}); give a pattern for one of "
            f"them, such as '{printable(path if path.is_dir() else path.parent)}/*{kinds[0]}'."
        )
    return found
