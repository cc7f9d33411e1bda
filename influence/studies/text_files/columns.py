"""Read three files of texts into three corpora: choose columns, sample rows, check that the files fit together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from influence.errors import StudyError, printable
from influence.studies.lookalikes import hint, lookalikes
from influence.studies.text_files.formats import Texts, name_list, short_repr
from influence.studies.text_files.labels import NO_CLASS, is_fraction, label_text, plain_text, told
from influence.studies.text_files.opening import open_texts
from influence.studies.text_files.sampling import reservoir
from influence.studies.texts.corpus import Corpus

MAX_TEXTS = 200_000
"""A file with more texts needs --sample."""
MAX_CHARACTERS = 2**28
"""A file with more characters needs --sample."""
MAX_CLASSES = 1000
"""Most classes to finetune on. With more, the column most likely holds something else than labels."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns (JSON: keys) of text, label, title and source; None: the column of that name, if any.

    Studies of checkpoints also read the prompt that a text completes, and the second text of a pair.
    """

    text: str | None = None
    label: str | None = None
    title: str | None = None
    source: str | None = None
    prompt: str | None = None
    pair: str | None = None


def corpora(
    files: Sequence[Path], columns: Columns | None = None, sample: int | None = None, seed: int = 0
) -> tuple[dict[str, Corpus], list[str]]:
    """(corpora `pretrain`, `finetune` and `queries`; sentences about texts that were left out).

    A text's id is the number of its row (in .jsonl and .txt: of its line) in the file, from 0. Empty texts are left
    out.

    Args:
        files: in that order, each .csv, .tsv, .parquet or .jsonl, the first also .txt; or a folder of such files of one
            kind, or a pattern such as `texts/*.csv`, which are read one after another.
        columns: which columns hold what.
        sample: of each file at most so many texts, drawn uniformly; None: all, of which there may be 200,000.
        seed: of the draw.

    Raises:
        StudyError: a file is not in order, too large to be taken whole, or does not fit the others.
    """
    columns = columns or Columns()
    pretrain, finetune, test = (
        _Source(open_texts(path), columns, sample, [seed, i], labelled=i > 0) for i, path in enumerate(files)
    )
    for kind in ("title", "source"):
        named = getattr(columns, kind)
        if named is not None and not any(kind in each.names for each in (pretrain, finetune, test)):
            raise StudyError(f"--{kind}-column: no file has a column {named!r}; {finetune.described}.")
    parts = {"pretrain": pretrain.corpus(2), "finetune": finetune.corpus(2)}
    classes = sorted(set(parts["finetune"].labels))
    if not 2 <= len(classes) <= MAX_CLASSES:
        drawn = "" if sample is None else f" in the {sample:,} texts drawn by --sample"
        few = name_list(classes[:3]) + (" ..." if len(classes) > 3 else "")
        raise StudyError(
            f"{printable(finetune.file.path)}: column {finetune.names['label']!r} has the classes {few}, that is "
            f"{len(classes):,}{drawn}; a classifier takes 2 to {MAX_CLASSES:,}. {finetune.described}; say which with "
            "--label-column NAME."
        )
    parts["queries"] = test.corpus(1, classes)
    notes = [note for each in (pretrain, finetune, test) for note in each.notes]
    before = dict.fromkeys(label for label in parts["pretrain"].labels if label)
    return parts, notes + lookalikes({"to pretrain on": before, "to finetune on": classes})


def corpus_of(path: Path, columns: Columns | None = None, classes: Collection[str] = ()) -> Corpus:
    """The texts of one file, as `corpora` reads them.

    Args:
        path: of the file.
        columns: which columns hold what; there need be no titles and sources.
        classes: of which every text has one as its label; empty: labels are any, or none.

    Raises:
        StudyError: the file is not in order, has not these columns, or a text is of another class.
    """
    source = _Source(
        open_texts(path), columns or Columns(), None, [], bool(classes), "Name the column of the {kind}s so"
    )
    return source.corpus(1, classes)


class Record(NamedTuple):
    """One text; `row` is its number in the file."""

    row: int
    text: str
    label: str
    title: str
    source: str


class _Source:
    """A file of texts, with its columns and its sample.

    Raises:
        StudyError: it lacks a column; `advice` says what to do.
    """

    def __init__(
        self,
        file: Texts,
        columns: Columns,
        sample: int | None,
        seed: list[int],
        labelled: bool,
        advice: str = "Say which holds the {kind}s with --{kind}-column NAME",
    ):
        self.advice = advice
        self.file, self.sample, self.seed, self.labelled = file, sample, seed, labelled
        self.classes: Collection[str] = ()
        self.empty, self.first_empty = 0, ""
        self.notes: list[str] = []
        self.spellings: dict[str, set[str]] = {}
        self.names = {"text": ""} if file.plain else self._named(columns)
        if labelled and file.plain:
            raise StudyError(
                f"{printable(file.path)} is plain lines, which have no labels; they are for pretraining. To finetune "
                "and to test, give a .csv, .tsv, .parquet or .jsonl with a column of labels."
            )

    @property
    def described(self) -> str:
        return f"{printable(self.file.path)} has {name_list(self.file.columns)}"

    def corpus(self, least: int, classes: Collection[str] = ()) -> Corpus:
        """Its texts, or a sample of them.

        Args:
            least: so many at least.
            classes: the labels that there may be; empty: any.
        """
        self.classes = classes
        records, total = self._all() if self.sample is None else reservoir(self._records(), self.sample, self.seed)
        name = printable(self.file.path.name)
        if self.empty:
            self.notes.append(f"Empty texts left out of {name}: {self.empty:,}, the first at {self.first_empty}.")
        if len(records) < least:
            empty = f", beside {self.empty:,} empty ones" if self.empty else ""
            old = self.file.plain and any("\r" in record.text for record in records)
            raise StudyError(
                f"{printable(self.file.path)} holds too few texts: {len(records)}{empty}; expected at least {least}."
                + (" Its lines end by CR alone, which ends no line here; save it with LF." if old else "")
            )
        if len(records) < total:
            self.notes.append(f"{len(records):,} of the {total:,} texts of {name} were taken, drawn by the seed.")
        self.notes += told(name, self.spellings)
        rows, texts, *rest = zip(*records, strict=True)
        labels, titles, sources = (values if any(values) else () for values in rest)
        return Corpus(texts, labels, rows, titles, sources)

    def _all(self) -> tuple[list[Record], int]:
        """All texts. If there are too many, the rest is only counted, for the error message."""
        kept: list[Record] = []
        total = characters = 0
        for total, record in enumerate(self._records(), start=1):
            characters += len(record.text)
            if total <= MAX_TEXTS and characters <= MAX_CHARACTERS:
                kept.append(record)
            else:
                kept.clear()
        if total > len(kept):
            raise StudyError(
                f"{printable(self.file.path)} holds {total:,} texts, {characters:,} characters together; up to "
                f"{MAX_TEXTS:,} and {MAX_CHARACTERS:,} are taken whole. Take some of them: --sample 20000 draws so "
                "many by the seed."
            )
        return kept, total

    def _records(self) -> Iterator[Record]:
        """Every text that is not empty."""
        for row, values in self.file.rows(list(self.names.values())):
            found = dict(zip(self.names, values, strict=True))
            text = found["text"]
            if not text or text.isspace():
                self.first_empty = self.first_empty or self.file.spot(row)
                self.empty += 1
                continue
            label = self._label(row, found.get("label"))
            yield Record(row, text, label, *(self._as_text(row, found.get(kind)) for kind in ("title", "source")))

    def _label(self, row: int, value: Any) -> str:
        text = self._as_text(row, value)
        label = label_text(text)
        if label.casefold() in NO_CLASS:
            if self.labelled:
                raise StudyError(
                    f"{self.file.place(row)}: {self.names['label']!r} is {short_repr(value)}, expected a class. Give "
                    "the text one, or leave it out."
                )
            return ""
        if self.classes and label not in self.classes:
            raise StudyError(
                f"{self.file.place(row)}: the class {short_repr(label)} is none of those that the model is "
                f"finetuned on: {name_list(sorted(self.classes))}. It can only be asked about these."
                + ("" if self.sample is None else " A larger --sample may draw it.")
                + hint(label, self.classes)
            )
        if label not in self.spellings and len(self.spellings) == MAX_CLASSES:  # no classes, so not kept
            return label
        spellings = self.spellings.setdefault(label, set())
        if text in spellings:
            return label
        spellings.add(text)
        if self.labelled and is_fraction(label) and len({each.strip() for each in spellings}) > 1:
            raise StudyError(
                f"{self.file.place(row)}: {' and '.join(map(repr, sorted(spellings)))} are one number, so one class. "
                "If they are two, such as versions, write a letter before them; else write them alike."
            )
        return label

    def _as_text(self, row: int, value: Any) -> str:
        """A label, title or source as text."""
        if isinstance(value, list | dict | bytes):
            raise StudyError(
                f"{self.file.place(row)}: {short_repr(value)} is a {type(value).__name__}, expected a text."
            )
        return plain_text(value)

    def _named(self, columns: Columns) -> dict[str, str]:
        """Kind (text, label, title, source) -> name of its column; blanks around a name in the file do not matter."""
        names = {}
        for kind in ("text", "label", "title", "source"):
            given = getattr(columns, kind)
            wanted = kind if given is None else given
            needed = kind == "text" or (kind == "label" and self.labelled)
            fitting = self.file.columns_called(wanted, everywhere=needed or given is not None)
            if len(fitting) > 1:
                raise StudyError(
                    f"{printable(self.file.path)} has {len(fitting)} columns {wanted!r}; give each its own name."
                )
            if fitting:
                names[kind] = fitting[0]
            elif needed:
                raise StudyError(
                    f"{printable(self.file.path)} has no column {wanted!r}; it has {name_list(self.file.columns)}. "
                    f"{self.advice.format(kind=kind)}.{self.file.hint}"
                )
        return names
