"""More examples for a stage of a run, from a file of texts or a folder of pictures, and how its study reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.errors import RunError, StudyError, listed, printable
from influence.live.alterations import NONE, Alteration
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit
from influence.studies.images.class_folders import class_folders
from influence.studies.images.picture_files import open_picture
from influence.studies.lookalikes import hint
from influence.studies.question import TEXT
from influence.studies.text_files.columns import Columns, corpus_of
from influence.study import edits
from influence.study.labels import label_of, with_label
from influence.study.revision import by_stage


def pool(run: Run, stage: str, path: Path) -> pd.DataFrame:
    """The examples at `path` for a stage: `label`, and `text` (with title and source) or `file`, a picture's.

    Args:
        run: a finished run.
        stage: whose examples they could be.
        path: of texts, a file as `upstream precompute --texts` reads them, with the run's names of columns; of
            pictures, a folder with one folder for each class, as `--images` reads them.

    Raises:
        StudyError: the file or folder is not in order, lacks a column, or has a class that the stage does not have; or
            the stage's examples are neither texts nor pictures.
    """
    shown, classes = run.examples(stage), [str(name) for name in run.stage(stage).classes]
    if "text" in shown:
        named = run.manifest.asked.get("options") or {}
        columns = Columns(**{kind: named.get(f"{kind}_column") for kind in vars(Columns())})
        found = corpus_of(path, columns, classes)
        parts = {"label": found.labels or [""] * len(found), "text": found.texts}
        parts |= {name: part for name, part in (("title", found.titles), ("source", found.sources)) if part}
        return pd.DataFrame({name: list(part) for name, part in parts.items()})
    if "image" in shown:
        folders = class_folders(path)
        unknown = [name for name in folders if name not in classes]
        if unknown:
            raise StudyError(
                f"Folder {printable(path)} has the class {unknown[0]!r}, which stage {stage!r} does not have; its "
                f"classes are {listed(map(repr, classes))}.{hint(unknown[0], classes)}"
            )
        return pd.DataFrame([{"label": name, "file": each} for name, files in folders.items() for each in files])
    raise StudyError(
        f"Stage {stage!r} has neither texts nor pictures, so no file can add to it. In Python, edits.add takes any "
        "examples."
    )


def held_out(run: Run, exhibit: Exhibit, stage: str) -> pd.DataFrame | None:
    """Examples that a stage could have been trained on, and was not: the queries, if they are of its form; else None.

    The table has the columns of the run's queries.
    """
    study = exhibit.study
    if study.stages[-1].name != stage:
        return None
    try:
        by_stage(study, edits.add(stage, [study.queries[0]]))
    except StudyError:
        return None
    return run.queries()


def added_table(run: Run, addition: Alteration) -> pd.DataFrame:
    """What an alteration of kind "add" adds, as `pool` or `held_out` have it.

    Raises:
        RunError: it names a query or a place that there is not, or adds a query to another stage than the last.
        StudyError: as `pool`.
    """
    if addition.value is None:
        if addition.stage != run.stages[-1]:
            raise RunError(
                f"Query {addition.id} cannot be added to stage {addition.stage!r}, expected {run.stages[-1]!r}: "
                "queries have the classes of the last stage."
            )
        queries = run.queries()
        found = queries[queries["id"] == addition.id]
    else:
        found = pool(run, addition.stage, Path(addition.value[0]))
        found = found if addition.id == NONE else found.iloc[max(addition.id, 0) :][:1]
    if not len(found):
        where = "query with id" if addition.value is None else f"example in {printable(addition.value[0])} at place"
        raise RunError(f"There is no {where} {addition.id} to add to stage {addition.stage!r}.")
    return found


def added_examples(run: Run, exhibit: Exhibit, addition: Alteration) -> list[Any]:
    """The same, as the stage's data set would give them.

    Raises:
        RunError, StudyError: as `added_table`; or the study does not say how it reads new ones.
    """
    table = added_table(run, addition)
    return queries_of(run, exhibit, table) if addition.value is None else examples_of(exhibit, addition.stage, table)


def queries_of(run: Run, exhibit: Exhibit, table: pd.DataFrame) -> list[Any]:
    """The queries with the ids of a table, as they are explained.

    Raises:
        RunError: there is no such query.
    """
    places = pd.Index(run.queries()["id"]).get_indexer(table["id"])
    if (places < 0).any():
        raise RunError(f"There is no query with id {table['id'].iloc[int((places < 0).argmax())]}.")
    return [exhibit.study.queries[int(place)] for place in places]


def examples_of(exhibit: Exhibit, stage: str, table: pd.DataFrame) -> list[Any]:
    """A pool's examples, as the stage's data set would give them.

    Raises:
        StudyError: the study does not say how it reads new ones, or reads them otherwise than the stage's own.
    """
    names = [str(each) for each in exhibit.classes.get(stage, ())]
    numbers = [names.index(label) if names else None for label in table["label"]]
    if "text" in table:
        _refuse_other_reading(exhibit, stage, 0)
        return [_read(exhibit, stage, *each) for each in zip(table["text"], numbers, strict=True)]
    return [
        _read(exhibit, stage, open_picture(file), number) for file, number in zip(table["file"], numbers, strict=True)
    ]


def example_with_text(exhibit: Exhibit, stage: str, row: int, text: str) -> Any:
    """The stage's example at `row`, with another text.

    Raises:
        StudyError: as `examples_of`.
    """
    _refuse_other_reading(exhibit, stage, row)
    return _read(exhibit, stage, text, _own_label(exhibit, stage, row))


def _read(exhibit: Exhibit, stage: str, given: Any, label: Any) -> Any:
    """A text or picture as an example with a label; None: as the study reads it, of a stage without classes."""
    if exhibit.encode is None:
        raise StudyError(
            f"Study {exhibit.study.name!r} does not say how it reads a new text or picture, so examples can only be "
            "relabelled, weighted, masked or left out. Give its Exhibit `form` and `encode`."
        )
    item = exhibit.encode(given).item
    return item if label is None else with_label(item, label, f"An example of stage {stage!r}")


def _own_label(exhibit: Exhibit, stage: str, row: int) -> Any:
    return label_of(_data(exhibit, stage)[row], f"Example {row}") if exhibit.classes.get(stage) else None


def _data(exhibit: Exhibit, stage: str) -> Any:
    return exhibit.study.stages[exhibit.study.position(stage)].data


def _refuse_other_reading(exhibit: Exhibit, stage: str, row: int) -> None:
    """Raise StudyError unless the study reads the text that is shown of an example as that example.

    What a study reads as a query (`encode`) need not be what its stages are trained on: texts may have been changed, or
    made into pairs.
    """
    if exhibit.form != TEXT:
        raise StudyError(
            f"Study {exhibit.study.name!r} does not read new texts, so no word can be struck and no text added. "
            f"Give its Exhibit `form`, {TEXT!r}, and `encode`."
        )
    shown = exhibit.examples[stage].iloc[row]
    again = _read(exhibit, stage, shown["text"], _own_label(exhibit, stage, row))
    if not _equal(again, _data(exhibit, stage)[row]):
        raise StudyError(
            f"Study {exhibit.study.name!r} reads the text of example {shown['id']} otherwise than stage {stage!r} "
            "does, so a text for this stage cannot be made. In Python, edits.replace and edits.add take the examples."
        )


def _equal(one: Any, other: Any) -> bool:
    (leaves, spec), (others, form) = pytree.tree_flatten(one), pytree.tree_flatten(other)
    return spec == form and all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b))
        if isinstance(a, Tensor) or isinstance(b, Tensor)
        else a == b
        for a, b in zip(leaves, others, strict=True)
    )
