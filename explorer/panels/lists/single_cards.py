"""Cards of single examples and predictions, for pages whose lists are not one prediction's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer import components
from explorer.panels.lists.card import HARMFUL, HELPFUL, SINGLE, SYMBOLS, Card, CardList, Piece
from explorer.ui import escape, pictures, theme
from explorer.view import lists

PREVIEW_CHARACTERS = 400
"""Characters of a text on a card."""


def card(row: pd.Series, where: str, value: str, **more: Any) -> Card:
    """A training example or a prediction (`row` of its table).

    `where` says where a press leads, `value` stands beside the bar; `more` are other fields of the card.
    """
    wrong = "prediction" in row and row["prediction"] != row["label"]
    said = f" said {escape.visible(row['prediction'])} {theme.WRONG}" if wrong else ""
    title, text = pictures.words(row, "title"), pictures.text(row)
    label = theme.group_name(row["label"])
    fields: dict[str, Any] = {"sign": SINGLE, **more}
    return Card(
        id=str(row["id"]),
        label=escape.visible(title) if title else label,
        detail=(f"{label} · " if title else "") + f"#{row['id']}{said}",
        image=pictures.data_url(row),
        alt=f"Number {row['id']}, label {escape.visible(row['label'])}",
        score=value,
        where=where,
        pieces=None if text is None else (Piece(escape.beginning(text, PREVIEW_CHARACTERS)),),
        **fields,
    )


def scored(
    table: pd.DataFrame,
    positions: np.ndarray,
    scores: np.ndarray,
    unit: theme.Unit,
    where: str,
    href: Callable[[int], str],
) -> list[Card]:
    """A card for each of the `positions` of a table, with its score in nats; `scores` go with the table's rows.

    `href` gives the address that the card of an id links to.
    """
    largest = float(np.abs(scores[positions]).max(initial=0.0))
    return [
        card(
            table.iloc[place],
            where,
            unit.of_one(float(scores[place]), lists.rank(scores, place)),
            full=unit.full(float(scores[place])),
            sign=HELPFUL if scores[place] >= 0 else HARMFUL,
            width=abs(float(scores[place])) / largest if largest else 0.0,
            href=href(int(table["id"].iloc[place])),
        )
        for place in positions.tolist()
    ]


def column(title: str, cards: Sequence[Card], *, empty: str, sign: str = SINGLE, unit: str = "") -> CardList:
    """A list of cards under a heading; its sign gives colour and symbol."""
    return CardList(title, tuple(cards), empty, sign, SYMBOLS.get(sign, ""), unit)


def draw(key: str, columns: Sequence[CardList], on_pick: Callable[[], None] = lambda: None) -> None:
    """Draw columns side by side; `on_pick` is called when a card is pressed, and finds its id by `picked(key)`."""
    data = {"chosen": None, "columns": [column.json() for column in columns]}
    components.cards(key=key, data=data, on_picked_change=on_pick)


def picked(key: str) -> str:
    """Id of the card that was just pressed; to be called in the callback."""
    return str(components.event(key, "picked"))


def rows(table: pd.DataFrame, positions: np.ndarray, scores: np.ndarray, column: str = "score_nat") -> pd.DataFrame:
    """A list as a table for people and CSV: rank, id, score, and what is known of each."""
    known = ["label", "prediction", "confidence", "loss", "title", "source", "text"]
    part = table.iloc[positions]
    listed = pd.DataFrame({"rank": np.arange(1, len(part) + 1), "id": part["id"].to_numpy()})
    listed[column] = scores[positions]
    return listed.assign(**{name: part[name].to_numpy() for name in known if name in part})
