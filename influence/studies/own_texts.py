"""A text study of one's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from influence.studies.exhibit import Exhibit
from influence.studies.text_files.columns import Columns, corpora
from influence.studies.texts.corpus import Corpus
from influence.studies.texts.options import TextOptions
from influence.studies.texts.study import TextStudy


class OwnTexts(TextStudy):
    """A `TextStudy` whose notes also say what was left out of the files.

    Args:
        notes: sentences, for people.
    """

    def __init__(self, name: str, parts: Mapping[str, Corpus], options: TextOptions, notes: Sequence[str]):
        super().__init__(name, "Texts", parts, options)
        self.notes = tuple(notes)

    def exhibit(self, variant: str) -> Exhibit:
        """The run `frozen` or `updated`."""
        exhibit = super().exhibit(variant)
        exhibit.notes = [*self.notes, *exhibit.notes]
        return exhibit


def from_files(
    name: str, files: Sequence[Path], options: TextOptions, columns: Columns | None = None, sample: int | None = None
) -> OwnTexts:
    """The study called `name` of three files of texts, as `corpora` reads them; the options' seed draws the samples.

    Raises:
        StudyError: a file is not in order, too large to be taken whole, or does not fit the others.
    """
    parts, notes = corpora(files, columns, sample, options.seed)
    return OwnTexts(name, parts, options, notes)
