"""Odd tables, arrays, pictures and models in a run whose checksums hold; bytes of tables turned by chance."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

from odd_files.arrays import ARRAYS
from odd_files.changes import OLD, QUERIES, Change, resealed
from odd_files.checks import FOUND
from odd_files.models import MODELS
from odd_files.pictures import IN_COLUMN
from odd_files.sizes import BOMBS
from odd_files.tables import TABLES
from odd_files.texts import OF_TEXTS
from pages import ADDRESSES
from readers import FIRST_PAGES, read_all
from situation import Situation
from strangers import PICTURES, TEXTS, copied, limited_memory

CHANCE = 60
QUICK_EVERY = 24
MEMORY = 3 * 2**30
"""Bytes that reading any of these runs may take beside what is loaded already."""

ODD = {**TABLES, **FOUND, **ARRAYS, **IN_COLUMN, **MODELS}


def check_odd(kind: str, change: Change, pages: tuple[str, ...], folder: Path) -> None:
    root = copied(kind, folder)
    change(root / "odd")
    with limited_memory(MEMORY):
        read_all(root, "odd", pages)


def flipped(seed: int, run: Path) -> None:
    """One to eight bytes of a table, its pages or its footer."""
    chance = random.Random(seed)
    file = chance.choice((QUERIES, OLD, "map/pretrain.parquet"))
    found = bytearray((run / file).read_bytes())
    for _ in range(chance.randint(1, 8)):
        place = chance.choice((chance.randrange(len(found)), len(found) - 1 - chance.randrange(min(2000, len(found)))))
        found[place] = chance.randrange(256)
    (run / file).write_bytes(found)
    resealed(run, file)


SITUATIONS = [
    *(Situation("tables", name, partial(check_odd, PICTURES, change, ADDRESSES)) for name, change in ODD.items()),
    *(Situation("tables", name, partial(check_odd, TEXTS, change, ADDRESSES)) for name, change in OF_TEXTS.items()),
    *(Situation("tables", name, partial(check_odd, PICTURES, change, FIRST_PAGES)) for name, change in BOMBS.items()),
    *(
        Situation("tables", f"bytes by chance {n}", partial(check_odd, PICTURES, partial(flipped, n), FIRST_PAGES))
        for n in range(CHANCE)
    ),
    *(
        Situation("tables, first pages", name, partial(check_odd, PICTURES, ODD[name], FIRST_PAGES), quick=True)
        for name in list(ODD)[::QUICK_EVERY]
    ),
]
