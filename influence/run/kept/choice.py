"""Which scores a run keeps: all, or of every query the strongest."""

from __future__ import annotations

from collections.abc import Sequence

from influence.errors import StudyError

ALL, STRONGEST = "all", "strongest"
USUAL = 1000
"""Scores of either sign that are kept of a query, where nobody says how many."""
LARGEST_SCORES = 2**33
"""Bytes of a method's scores that are kept whole where nobody says."""
NUMBER = 4
"""Bytes of a score."""


def strongest_kept(keep: str, examples: Sequence[int], queries: int, seeds: int) -> int:
    """How many of the strongest scores of either sign and query are kept; 0: all scores.

    Args:
        keep: `all`, `strongest:K`, or "": by the size of the scores.
        examples: of each stage.
        queries: of the study.
        seeds: trainings that scores are means over.

    Raises:
        StudyError: it is of another form, K is more than the examples of every stage, or scores are means.
    """
    if keep in ("", ALL):
        large = NUMBER * queries * sum(examples) > LARGEST_SCORES and seeds == 1
        return min(USUAL, max(examples)) if large and not keep else 0
    kind, _, count = keep.partition(":")
    if kind != STRONGEST or not (count.isascii() and count.isdecimal()) or len(count) > 18 or int(count) < 1:
        raise StudyError(f"--keep is {keep[:100]!r}, expected all, or strongest:K with K above 0.")
    if int(count) > max(examples):
        raise StudyError(f"--keep is {keep!r}, but no stage has more than {max(examples):,} examples. Keep fewer.")
    if seeds > 1:
        raise StudyError(f"--keep is {keep!r}, but means over --seeds {seeds} trainings need all scores: --keep all.")
    return int(count)
