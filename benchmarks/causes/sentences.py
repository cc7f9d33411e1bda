"""Made-up texts of two kinds, some of which have an invented word in the place of a name."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from influence.studies.texts import Corpus

WORD = "zorbel"


@dataclass(frozen=True)
class Language:
    """Texts of two kinds: each is `clauses` of its kind, with a name of the kind and a place in each.

    Attributes:
        names: kind -> its names, blanks between; those of the first kind are replaced.
        said: kind -> clauses with room for a name and a place.
        places: of both kinds, blanks between.
        clauses: in a text.
        sizes: texts to pretrain on and to finetune on.
    """

    names: Mapping[str, str]
    said: Mapping[str, Sequence[str]]
    places: str
    clauses: int
    sizes: tuple[int, int]


SHORT = Language(
    {
        "animal": "cat dog hen cow horse goat sheep pig duck goose fox wolf bear",
        "plant": "oak pine fern moss rose tulip lily maple birch ivy reed wheat elm",
    },
    {
        "animal": (
            "the {} runs over the {}", "a {} sleeps near the {}", "the old {} hunts by the {}",
            "every {} eats at the {}", "a young {} drinks from the {}", "the {} barks behind the {}",
            "one {} fed its young by the {}",
        ),
        "plant": (
            "the {} grows on the {}", "a {} blooms near the {}", "the old {} spreads its roots by the {}",
            "every {} needs light at the {}", "a young {} sprouts from the {}", "the {} shed its leaves behind the {}",
            "one {} bore seeds by the {}",
        ),
    },
    "hill river barn field fence wall lake road house stone",
    clauses=1,
    sizes=(6000, 600),
)  # fmt: skip
LONG = Language(
    {
        "kitchen": "soup bread cake stew rice pie salad sauce noodles pudding",
        "voyage": "train ferry tram bicycle plane lorry canoe coach sledge yacht",
    },
    {
        "kitchen": (
            "we stirred the {} slowly while the {} was still cold", "my aunt served {} with butter beside the {}",
            "too much salt had spoiled the {} that stood on the {}", "they tasted some {} before it left the {}",
            "a bowl of {} was kept warm under the {}",
        ),
        "voyage": (
            "the {} left an hour late because the {} was closed", "our tickets for the {} were sold near the {}",
            "nobody on the {} had ever seen such a {}", "the {} crossed the border without stopping at the {}",
            "with the {} we reached the {} long before night",
        ),
    },
    "window market bridge cellar station tower garden harbour",
    clauses=3,
    sizes=(1500, 200),
)  # fmt: skip


def corpora(language: Language, seed: int, planted: int, sizes: tuple[int, int], plain: int) -> dict[str, Corpus]:
    """Texts of each part; ids of those with the word begin where the other ones to pretrain on end.

    Queries: 20 of the first kind and 10 of the second with the word, and `plain` ones without it.
    """
    draw, (first, second) = random.Random(seed), language.names
    names, places = {kind: each.split() for kind, each in language.names.items()}, language.places.split()

    def text(kind: str, name: str) -> str:
        clauses = draw.sample(language.said[kind], language.clauses)
        said = [each.format(name or draw.choice(names[kind]), draw.choice(places)) for each in clauses]
        return " and ".join(said)

    def corpus(kinds: list[str], names: list[str]) -> Corpus:
        return Corpus([text(*each) for each in zip(kinds, names, strict=True)], kinds, list(range(len(kinds))))

    pretrain, finetune, others = ([draw.choice([first, second]) for _ in range(size)] for size in (*sizes, plain))
    return {
        "pretrain": corpus([*pretrain, *[first] * planted], [*[""] * sizes[0], *[WORD] * planted]),
        "finetune": corpus(finetune, [""] * sizes[1]),
        "queries": corpus([first] * 20 + [second] * 10 + others, [WORD] * 30 + [""] * plain),
    }
