"""Turn command-line arguments into `Exhibit`s."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from influence.errors import StudyError
from influence.run.asked import is_reference
from influence.studies.built_in import STUDIES, study_named
from influence.studies.cards import VARIANTS
from influence.studies.checkpoints.images import CheckpointImages
from influence.studies.checkpoints.options import CheckpointOptions, terms_of
from influence.studies.checkpoints.texts.study import CheckpointTexts
from influence.studies.exhibit import Exhibit
from influence.studies.from_file import from_file
from influence.studies.images.study import ImageStudy, Options, from_folders
from influence.studies.own_texts import from_files
from influence.studies.text_files.columns import Columns
from influence.studies.texts.options import TextOptions

COLUMNS = [field.name for field in fields(Columns)]
TEXTS = {field.name for field in fields(TextOptions)} - {"width", "layers", "fading", "seed"}
TEXTS |= {"sample", *(f"{kind}_column" for kind in COLUMNS if kind not in ("prompt", "pair"))}
STATED = {"frozen", "inherits", "new", "l2", "proximity", "queries", "sample"}
"""What can be stated of two checkpoints."""
OF_MODELS = {
    "--models with --texts": {*STATED, "objective", "context", *(f"{kind}_column" for kind in COLUMNS)},
    "--models with --images": {*STATED, "arch", "size"},
}
PATHS = ("data", "weights")
"""Options that are paths; in run.json they are text."""
PICTURES = {field.name for field in fields(Options)} - {"seed"}


def exhibits_for(
    study: str | None,
    images: Sequence[Path] | None,
    texts: Sequence[Path] | None,
    seed: int | None,
    options: Mapping[str, Any],
    solving: Mapping[str, Any],
    models: Sequence[Path] | None = None,
    say: Callable[[str], None] | None = None,
    terms: Mapping[str, Any] | None = None,
) -> list[Exhibit]:
    """The exhibits of a built-in study, of pictures or texts of one's own, or of a function in a file.

    Args:
        study: a built-in study's name, or FILE.py:FUNCTION.
        images: folders to pretrain on, to finetune on, and of test pictures.
        texts: files to pretrain on, to finetune on, and of test texts.
        seed: of everything random; None is 0, or as the function in a file says.
        options: by name: `data` (where a built-in study's data is), `finetuning` ("frozen", "updated" or "both"), the
            fields of `Options` or `TextOptions`, and for texts `sample` and `text_column` ...; None is the default.
        solving: fields of Exhibit that say how to solve; None leaves the study's own.
        models: the pretrained and the finetuned one, trained on these pictures or texts; None: they are trained here.
        say: is told what was worked out of two models, a line each.
        terms: of these models' objectives, as `asked` of a run tells them; None: as options say, or estimated.

    Raises:
        StudyError: an unknown study, a missing file or folder, or options that exclude each other.
    """
    what = _asked(study, images, texts, models)
    given = {name: value for name, value in options.items() if value is not None}
    _refuse(what, given)
    if models is not None:
        exhibits = _of_models(models, images, texts, CheckpointOptions.of(given, seed or 0), terms, say)
    elif study is not None and is_reference(study):
        exhibits = [from_file(study, **({} if seed is None else {"seed": seed}))]
    else:
        exhibits = _of_variants(study, images, texts, seed or 0, given)
    record = {
        "study": study,
        "images": _written(images),
        "texts": _written(texts),
        "seed": seed,
        "options": {name: _written(value) for name, value in options.items() if value is not None},
        "solving": {name: value for name, value in solving.items() if value is not None},
    }
    if models is not None:
        record |= {"models": _written(models), "terms": terms_of(exhibits[0].study.stages, exhibits[0].damping)}
    for exhibit in exhibits:
        exhibit.asked = record
        for field, value in solving.items():
            if value is not None:
                setattr(exhibit, field, value)
    return exhibits


def _asked(
    study: str | None, images: Sequence[Path] | None, texts: Sequence[Path] | None, models: Sequence[Path] | None
) -> str:
    """The one thing that is asked for, as the command says it."""
    asked = [study] if study is not None else []
    asked += [option for option, paths in (("--images", images), ("--texts", texts)) if paths is not None]
    if len(asked) != 1 or (models is not None and study is not None):
        raise StudyError(
            "Give one of: a built-in study (`upstream studies` lists them), FILE.py:FUNCTION, --images PRETRAIN "
            "FINETUNE TEST, or --texts PRETRAIN FINETUNE TEST; with --models PRETRAINED FINETUNED one of the last two."
        )
    if study is not None and not is_reference(study):
        study_named(study)  # an unknown name is reported before unsuitable options
    return asked[0] if models is None else f"--models with {asked[0]}"


def _of_variants(
    study: str | None, images: Sequence[Path] | None, texts: Sequence[Path] | None, seed: int, given: dict[str, Any]
) -> list[Exhibit]:
    finetuning = given.pop("finetuning", None)
    if finetuning not in (*VARIANTS, "both", None):
        raise StudyError(f"--finetuning is {finetuning!r}, expected {', '.join(VARIANTS)} or both.")
    built = _built(study, images, texts, seed, given)
    chosen = finetuning or getattr(built, "usual", "both")
    return [built.exhibit(variant) for variant in built.variants if chosen in ("both", variant)]


def _built(
    study: str | None, images: Sequence[Path] | None, texts: Sequence[Path] | None, seed: int, given: dict[str, Any]
) -> Any:
    """What has `variants` and `exhibit(variant)`."""
    if images is not None:
        return from_folders("images", images, Options(**given, seed=seed))
    if texts is not None:
        return _of_texts(texts, seed, given)
    assert study is not None
    made: Any = study_named(study)
    if issubclass(made, ImageStudy):
        data = given.pop("data", None)
        return made(Options(**{**made.defaults, **given}, seed=seed), data)
    return made(seed=seed, **given)


def _of_models(
    models: Sequence[Path],
    images: Sequence[Path] | None,
    texts: Sequence[Path] | None,
    options: CheckpointOptions,
    terms: Mapping[str, Any] | None,
    say: Callable[[str], None] | None,
) -> list[Exhibit]:
    pretrained, finetuned = models
    built: Any
    if texts is not None:
        built = CheckpointTexts((pretrained, finetuned), texts, options, terms)
    else:
        assert images is not None
        before, after, tests = images
        built = CheckpointImages((pretrained, finetuned), (before, after, tests), options, terms)
    if say is not None:
        for line in built.lines:
            say(line)
    return [built.exhibit(variant) for variant in built.variants]


def _of_texts(files: Sequence[Path], seed: int, given: dict[str, Any]) -> Any:
    columns = Columns(**{kind: given.pop(f"{kind}_column", None) for kind in COLUMNS})
    sample = given.pop("sample", None)
    return from_files("texts", files, TextOptions(**given, seed=seed), columns, sample)


def _written(value: Any) -> Any:
    """As JSON; a path is one from anywhere."""
    if isinstance(value, Path):
        return str(value.resolve())
    if isinstance(value, list | tuple):
        return [_written(each) for each in value]
    return value


def _refuse(what: str, given: Mapping[str, Any]) -> None:
    """Raise StudyError if an option is not for what is asked."""
    takes = _takes()
    for name in given:
        if name not in takes.get(what, ()):  # a function in a file takes none
            option = "image-size" if name == "size" else name.replace("_", "-")
            fit = ", ".join(each for each, names in takes.items() if name in names)
            raise StudyError(f"--{option} means nothing for {what}; it is for {fit}.")


def _takes() -> dict[str, set[str]]:
    """What can be asked for -> its options. Studies of other data take what their constructor does."""
    takes = {"--images": {*PICTURES, "finetuning"}, "--texts": {*TEXTS, "finetuning"}, **OF_MODELS}
    for name, made in STUDIES.items():
        own = {*PICTURES, "data"} if issubclass(made, ImageStudy) else {*inspect.signature(made).parameters} - {"seed"}
        takes[name] = {*own, "finetuning"}
    return takes
