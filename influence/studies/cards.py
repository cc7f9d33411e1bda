"""Names and summaries of the built-in studies, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

VARIANTS = ("frozen", "updated")
"""Variants of a study: the pretrained body is frozen while finetuning, or updated."""

SCANNER = "scanner"
"""Variant of `digits` with a planted cause, on which the demo opens."""


@dataclass(frozen=True)
class StudyCard:
    """A built-in study.

    Attributes:
        name: as `upstream precompute` takes it.
        summary: one line.
        shipped: whether its data comes with the package.
        variants: a run of each is made, `name-variant`.
    """

    name: str
    summary: str
    shipped: bool = True
    variants: tuple[str, ...] = VARIANTS


DIGITS = StudyCard(
    "digits",
    "real handwritten digits: pretrained on 0 to 3, finetuned on 4 to 9 (Chen et al. 2020, section 4)",
    variants=(SCANNER, *VARIANTS),
)
DEFINITIONS = StudyCard(
    "definitions", "dictionary definitions: a language model pretrained on all topics, finetuned to tell eight apart"
)
CIFAR10 = StudyCard(
    "cifar10",
    "colour photographs: pretrained on bird and frog, finetuned on the rest (the paper's); needs --data",
    shipped=False,
)
FASHION = StudyCard(
    "fashion",
    "60,000 pieces of clothing: pretrained on tops, finetuned on the other five classes; needs --data",
    shipped=False,
)
CARDS = {card.name: card for card in (DIGITS, DEFINITIONS, CIFAR10, FASHION)}
