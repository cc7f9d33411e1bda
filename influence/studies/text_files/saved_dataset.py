"""A folder that `datasets.Dataset.save_to_disk` wrote: Arrow streams, and JSON that names them.

`datasets` itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from influence.errors import StudyError, printable
from influence.studies.text_files.formats import Row, Texts, name_list, of_texts, values_of

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
"""What the library writes beside the data; the last in a folder of several."""


def is_saved(folder: Path) -> bool:
    """Whether a folder looks like one of `datasets`."""
    return any((folder / name).exists() for name in (STATE, INFO, SPLITS)) or any(folder.glob("*.arrow"))


class SavedDataset(Texts):
    """A saved dataset, read a record batch at a time.

    Attributes:
        classes: column -> names of its classes, where the dataset tells them.

    Raises:
        StudyError: it holds several splits, or is not as `save_to_disk` leaves it.
    """

    first, unit = 0, "row"

    def __init__(self, path: Path):
        super().__init__(path)
        self.files = self._files()
        self.columns = self._schema().names
        self.classes = self._classes()

    def rows(self, columns: Sequence[str], texts: bool = True) -> Iterator[Row]:
        kind = self._schema().field(columns[0]).type
        if texts and not of_texts(kind):
            raise StudyError(
                f"{printable(self.path)}: column {columns[0]!r} holds {kind}, expected texts. It has "
                f"{name_list(self.columns)}; say which with --text-column."
            )
        number = 0
        for file in self.files:
            try:
                with pa.memory_map(str(file)) as source:
                    for batch in pa.ipc.open_stream(source):
                        for values in zip(*(values_of(batch.column(name)) for name in columns), strict=True):
                            yield number, list(values)
                            number += 1
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise self._other(f"{file.name} cannot be read: {error}") from error

    def _files(self) -> list[Path]:
        if (self.path / SPLITS).exists():
            splits = self._json(SPLITS).get("splits")
            names = splits if isinstance(splits, list) else []
            raise StudyError(
                f"{printable(self.path)} holds several datasets, {name_list(names)}; give the folder of one, such as "
                f"{printable(self.path / str(names[0] if names else 'train'))}."
            )
        listed = self._json(STATE).get("_data_files")
        names = [each.get("filename") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise self._other(f"{STATE} does not name the files of its rows")
        missing = [name for name in names if not (self.path / name).is_file()]
        if missing:
            raise self._other(f"its file {printable(missing[0])} is not there")
        return [self.path / name for name in names]

    def _schema(self) -> pa.Schema:
        try:
            with pa.memory_map(str(self.files[0])) as source:
                return pa.ipc.open_stream(source).schema
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._other(f"{self.files[0].name} cannot be read: {error}") from error

    def _classes(self) -> dict[str, list[str]]:
        features = self._json(INFO).get("features") if (self.path / INFO).is_file() else None
        found = {}
        for name, feature in features.items() if isinstance(features, dict) else ():
            inner = feature.get("feature", feature) if isinstance(feature, dict) else {}  # of a list of classes
            names = inner.get("names") if isinstance(inner, dict) else None
            if isinstance(names, list):
                found[name] = [str(each) for each in names]
        return found

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise self._other(f"{name} cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise self._other(f"{name} holds no object")
        return found

    def _other(self, why: str) -> StudyError:
        return StudyError(
            f"{printable(self.path)} is no dataset as save_to_disk of `datasets` leaves it: {printable(why)}. Was it "
            "saved by another version? Save it again with the one that can load it, or write it as Parquet "
            "(dataset.to_parquet)."
        )
