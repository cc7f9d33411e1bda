"""The lists of two answers beside each other, joined by a line where they hold the same example."""

from __future__ import annotations

import numpy as np
import pandas as pd

from explorer import components
from explorer.panels.lists import cards, controls, note
from explorer.panels.lists.card import HARMFUL, HELPFUL, SYMBOLS, Card, Piece
from explorer.runs import leads
from explorer.ui import escape, pictures, state, theme
from explorer.view import comparison, lists
from influence.errors import RunError

PREVIEW_CHARACTERS = 120
"""Characters of a text on a card; style sheets cut it to two lines."""


def draw(pair: comparison.Pair) -> None:
    components.joined_lists(key="joined_lists", data=data(pair))


def data(pair: comparison.Pair) -> dict[str, object]:
    """Data of the component: both sides' cards, and the pairs that are the same example."""
    largest = [lists.largest(side.scores) for side in (pair.a, pair.b)]
    if pair.one_unit:
        # Bars of both sides compare with each other.
        largest = [max(largest)] * 2
    columns = [_column(pair, at, largest[at]) for at in (0, 1)]
    return {"columns": columns, "ties": ties(pair), "symbols": SYMBOLS}


def _column(pair: comparison.Pair, at: int, largest: float) -> dict[str, object]:
    """The lists of side `at` (0: A, 1: B)."""
    side, shown = (pair.a, pair.b)[at], pair.lists[at]
    everywhere, noted = _everywhere(side), note.of(pair.a.run).of(pair.a.stage)
    column: dict[str, object] = {"name": "AB"[at], "unit": pair.units[at].words}
    for sign, places in ((HELPFUL, shown.helpful), (HARMFUL, shown.harmful)):
        drawn = [_card(pair, at, place, sign, largest, everywhere) for place in places.tolist()]
        column[sign] = [card.json() for card in note.marked(drawn, noted)]
    return column


def _everywhere(side: comparison.Side) -> frozenset[int]:
    """Ids of the run's examples that show up everywhere; none where that cannot be counted."""
    try:
        found = leads.everywhere(leads.counted(side.run, side.stage, side.method))
    except RunError:
        return frozenset()
    return frozenset(side.run.examples(side.stage)["id"].to_numpy()[found].tolist())


def ties(pair: comparison.Pair) -> list[dict[str, object]]:
    """A line for every example that both sides list; crossed where its sign is not the same on both."""
    a, b = pair.lists
    lines = []
    for place in np.intersect1d(a.positions, b.positions).tolist():
        helpful = [bool(place in side.helpful) for side in (a, b)]
        name = str(pair.examples["id"].iloc[place])
        words = [comparison.place_words(side.scores, place) for side in (pair.a, pair.b)]
        lines.append(
            {"id": name, "crossed": helpful[0] != helpful[1], "title": f"#{name}: {words[0]} in A, {words[1]} in B"}
        )
    return lines


def _card(pair: comparison.Pair, at: int, place: int, sign: str, largest: float, everywhere: frozenset[int]) -> Card:
    example, unit = pair.examples.iloc[place], pair.units[at]
    own, other = (pair.a, pair.b) if at == 0 else (pair.b, pair.a)
    score = float(own.scores[place])
    title, text = pictures.words(example, "title"), pictures.text(example)
    return Card(
        id=str(example["id"]),
        sign=sign,
        label=escape.visible(title) if title else theme.group_name(example["label"]),
        detail=f"#{example['id']}",
        image=pictures.data_url(example),
        alt=f"Example {example['id']}, label {escape.visible(example['label'])}",
        score=unit.of_one(score, lists.rank(own.scores, place)),
        full=unit.full(score),
        width=abs(score) / largest if largest else 0.0,
        where=f"{comparison.place_words(other.scores, place)} in {'BA'[at]}",
        href=href(pair, int(example["id"])),
        marks=(cards.EVERYWHERE,) if int(example["id"]) in everywhere else (),
        pieces=None if text is None else (Piece(escape.beginning(text, PREVIEW_CHARACTERS)),),
    )


def href(pair: comparison.Pair, example: int | str) -> str:
    """Address of an example's own page; with "" for the example, what its id is to be appended to."""
    query = pair.a.query
    known = None if query.position is None else query.row["id"]
    return state.address(state.ITEM_PAGE, of=controls.stage_title(pair.a.stage), query=known, example=example)


def table(pair: comparison.Pair) -> pd.DataFrame:
    """The listed examples as a table, with titles, sources and texts."""
    listed = comparison.list_table(pair)
    rows = pair.examples.set_index("id").loc[listed["id"]]
    for name in ("title", "source", "text"):
        if name in rows:
            listed[name] = [escape.visible(text) for text in rows[name].fillna("")]
    return listed
