"""From what the command line was given to the exhibits that are to be computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from influence.errors import StudyError
from influence.studies import STUDIES, study_named
from influence.studies.digits import Digits
from influence.studies.exhibit import Exhibit
from influence.studies.images import VARIANTS, ImageStudy, Options, from_folders
from influence.studies.userfile import from_file, is_reference

PICTURES = "`--images` and for the studies " + ", ".join(n for n, s in STUDIES.items() if issubclass(s, ImageStudy))


def exhibits_for(
    study: str | None,
    images: Sequence[Path] | None,
    data: Path | None,
    finetuning: str | None,
    seed: int | None,
    pictures: Mapping[str, Any],
    solving: Mapping[str, Any],
) -> list[Exhibit]:
    """The exhibits of a built-in study, of folders of pictures, or of a function in a file.

    Args:
        study: a built-in study's name, or FILE.py:FUNCTION.
        images: folders to pretrain on, to finetune on, and of test pictures.
        data: where a built-in study's data is.
        finetuning: "frozen", "updated" or "both".
        seed: of everything random; None is 0, or as the function in a file says.
        pictures: fields of `Options`; None leaves its default.
        solving: fields of Exhibit that say how to solve; None leaves the study's own.

    Raises:
        StudyError: something that cannot be, or options that do not go together.
    """
    if (study is None) == (images is None):
        raise StudyError(
            "Give one of: a built-in study (`upstream studies` lists them), FILE.py:FUNCTION, or --images PRETRAIN "
            "FINETUNE TEST."
        )
    given = {key: value for key, value in pictures.items() if value is not None}
    if study is not None and is_reference(study):
        _refuse(study, {**given, "data": data, "finetuning": finetuning})
        exhibits = [from_file(study, **({} if seed is None else {"seed": seed}))]
    else:
        exhibits = _pictures(study, images, data, finetuning, seed or 0, given)
    for exhibit in exhibits:
        for field, value in solving.items():
            if value is not None:
                setattr(exhibit, field, value)
    return exhibits


def _pictures(
    study: str | None,
    images: Sequence[Path] | None,
    data: Path | None,
    finetuning: str | None,
    seed: int,
    given: Mapping[str, Any],
) -> list[Exhibit]:
    built: Digits | ImageStudy
    if images is not None:
        _refuse("--images", {"data": data})
        built = from_folders("images", images, Options(**given, seed=seed))
    else:
        assert study is not None
        made = study_named(study)
        if issubclass(made, ImageStudy):
            built = made(Options(**{**made.defaults, **given}, seed=seed), data)
        else:
            _refuse(study, {**given, "data": data, "finetuning": finetuning})
            built = made(seed)
    chosen = built.variants if finetuning in (None, "both") else (finetuning,)
    if not set(chosen) <= {*built.variants}:
        raise StudyError(f"--finetuning is {finetuning!r}, expected {', '.join(VARIANTS)} or both.")
    return [built.exhibit(variant) for variant in chosen]


def _refuse(what: str, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if value is not None:
            option = {"size": "image-size"}.get(name, name)
            raise StudyError(f"--{option} means nothing for {what}; it is for {PICTURES}.")
