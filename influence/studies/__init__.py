"""The built-in studies, one file each."""

from __future__ import annotations

from influence.errors import StudyError
from influence.studies.digits import Digits

STUDIES = {study.name: study for study in (Digits,)}


def study_named(name: str) -> type[Digits]:
    """The built-in study called `name`.

    Raises:
        StudyError: there is none.
    """
    if name not in STUDIES:
        raise StudyError(
            f"There is no built-in study {name!r}; the studies are {', '.join(STUDIES)} (see `upstream studies`)."
        )
    return STUDIES[name]
