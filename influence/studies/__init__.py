"""The built-in studies, one file each."""

from __future__ import annotations

from influence.errors import StudyError
from influence.studies.cifar10 import Cifar10
from influence.studies.definitions import Definitions
from influence.studies.digits import Digits
from influence.studies.fashion import Fashion

BuiltIn = type[Digits] | type[Definitions] | type[Cifar10] | type[Fashion]

STUDIES: dict[str, BuiltIn] = {study.name: study for study in (Digits, Definitions, Cifar10, Fashion)}


def study_named(name: str) -> BuiltIn:
    """The built-in study called `name`.

    Raises:
        StudyError: there is none.
    """
    if name not in STUDIES:
        raise StudyError(
            f"There is no built-in study {name!r}; the studies are {', '.join(STUDIES)} (see `upstream studies`). Your "
            "own: `upstream precompute FILE.py:FUNCTION`, or `--images`."
        )
    return STUDIES[name]
