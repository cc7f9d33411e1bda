"""Whose code an exception comes from: a user's forward, loss or data, told apart from what derivatives raise."""

from __future__ import annotations

MISTAKES = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions by which code says that it cannot take what it was given. Others pass as they are."""


class Origin(str):
    """A note on an exception: what of which stage raised it."""

    stage: str
    part: str


def note_origin(error: Exception, stage: str, part: str) -> None:
    """Note on an exception that passes through that this part of a stage raised it, unless one is noted."""
    if origin_of(error) is None:
        note = Origin(f"Raised by the {part} of stage {stage!r}.")
        note.stage, note.part = stage, part
        error.add_note(note)


def origin_of(error: Exception) -> Origin | None:
    """What raised the exception; None if it is no user's code."""
    return next((note for note in getattr(error, "__notes__", ()) if isinstance(note, Origin)), None)
