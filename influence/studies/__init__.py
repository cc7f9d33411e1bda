"""The built-in studies, one file each."""

from __future__ import annotations

from influence.errors import StudyError
from influence.studies.cifar10 import Cifar10
from influence.studies.digits import Digits
from influence.studies.fashion import Fashion

STUDIES: dict[str, type[Digits] | type[Cifar10] | type[Fashion]] = {
    study.name: study for study in (Digits, Cifar10, Fashion)
}


def study_named(name: str) -> type[Digits] | type[Cifar10] | type[Fashion]:
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
