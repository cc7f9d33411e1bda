"""The lists of two answers beside each other, joined by a line where they hold the same example."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from explorer import components
from explorer.export import notes
from explorer.panels.lists import cards, controls, note
from explorer.runs import leads
from explorer.ui import escape, pictures, state, theme
from explorer.view import comparison
from influence.errors import RunError

PREVIEW = 120
"""Characters of a text on a card; style sheets cut it to two lines."""


def draw(pair: comparison.Pair) -> None:
    components.joined_lists(key="joined_lists", data=data(pair))


def data(pair: comparison.Pair) -> dict[str, object]:
    """What the component draws: both sides' cards, and which of them are the same example."""
    sides = (pair.a, pair.b)
    largest = [float(np.abs(side.scores).max(initial=0.0)) for side in sides]
    if pair.one_unit:
        # Bars of both sides compare with each other.
        largest = [max(largest)] * 2
    drawn, everywhere = [], [_everywhere(side) for side in sides]
    noted = note.of(pair.a.run).of(pair.a.stage)
    for at, name in enumerate("AB"):
        shown, other = pair.lists[at], sides[1 - at].scores
        where = "BA"[at]
        lists = {
            sign: [_card(pair, at, place, other, where, largest[at]) for place in places.tolist()]
            for sign, places in (("helpful", shown.helpful), ("harmful", shown.harmful))
        }
        for card in itertools.chain(*lists.values()):
            card["marks"] = _marks(int(card["id"]), everywhere[at], noted)
        drawn.append({"name": name, "unit": pair.units[at].name, **lists})
    return {"columns": drawn, "ties": ties(pair), "symbols": {"helpful": theme.HELPFUL, "harmful": theme.HARMFUL}}


def _everywhere(side: comparison.Side) -> frozenset[int]:
    """Ids of the run's examples that show up everywhere; none where that cannot be counted."""
    try:
        found = leads.everywhere(leads.counted(side.run, side.stage, side.method))
    except RunError:
        return frozenset()
    return frozenset(side.run.examples(side.stage)["id"].to_numpy()[found].tolist())


def _marks(number: int, everywhere: frozenset[int], noted: Mapping[int, notes.Note]) -> list[dict[str, str]]:
    """Signs that stand on an example's card, as on Explore, each with what it means."""
    found = [{"text": theme.EVERYWHERE, "title": cards.EVERYWHERE_TITLE}] if number in everywhere else []
    if written := noted.get(number):
        found.append({"text": "✎", "title": f"Noted: {escape.beginning(written.said, 200)}"})
    return found


def ties(pair: comparison.Pair) -> list[dict[str, object]]:
    """A line for every example that both sides list; crossed where its sign is not the same on both."""
    a, b = pair.lists
    lines = []
    for place in np.intersect1d(a.shown, b.shown).tolist():
        helpful = [bool(place in side.helpful) for side in (a, b)]
        name = str(pair.examples["id"].iloc[place])
        words = [comparison.place_words(side.scores, place) for side in (pair.a, pair.b)]
        lines.append(
            {"id": name, "crossed": helpful[0] != helpful[1], "title": f"#{name}: {words[0]} in A, {words[1]} in B"}
        )
    return lines


def _card(pair: comparison.Pair, at: int, place: int, other: np.ndarray, where: str, largest: float) -> dict:
    example, unit = pair.examples.iloc[place], pair.units[at]
    score = float((pair.a, pair.b)[at].scores[place])
    title, text = pictures.words(example, "title"), pictures.text(example)
    return {
        "id": str(example["id"]),
        "href": href(pair, int(example["id"])),
        "label": escape.visible(title) if title else theme.group_name(example["label"]),
        "detail": f"#{example['id']}",
        "image": pictures.data_url(example),
        "alt": f"Example {example['id']}, label {escape.visible(example['label'])}",
        "text": None if text is None else escape.beginning(text, PREVIEW),
        "score": unit.text(score),
        "full": unit.full(score),
        "width": abs(score) / largest if largest else 0.0,
        "other": f"{comparison.place_words(other, place)} in {where}",
    }


def href(pair: comparison.Pair, example: int | str) -> str:
    """Address of an example's own page; with "" for the example, what its id is to be appended to."""
    query = pair.a.query
    known = None if query.position is None else query.row["id"]
    return state.address(state.ITEM_PAGE, of=controls.stage_title(pair.a.stage), query=known, example=example)


def table(pair: comparison.Pair) -> pd.DataFrame:
    """The same as a table, with what texts say."""
    listed = comparison.listed(pair)
    rows = pair.examples.set_index("id").loc[listed["id"]]
    for name in ("title", "source", "text"):
        if name in rows:
            listed[name] = [escape.visible(text) for text in rows[name].fillna("")]
    return listed
