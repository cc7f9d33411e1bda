"""Cards of single examples and predictions, for pages whose lists are not one prediction's; and their CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer import components
from explorer.export.spreadsheet import csv
from explorer.ui import escape, pictures, theme

PREVIEW = 400
"""Characters of a text on a card."""


def card(
    row: pd.Series,
    where: str,
    value: str,
    *,
    full: str = "",
    sign: str = "single",
    width: float = 0.0,
    href: str = "",
) -> dict:
    """A training example or a prediction (`row` of its table) as the cards component draws it.

    `where` says where a press leads, `value` stands beside a bar of `width` (0..1), `full` is shown on hover; with
    `href` the card is a link, else a press is an event.
    """
    wrong = "prediction" in row and row["prediction"] != row["label"]
    said = f" said {escape.visible(row['prediction'])} {theme.WRONG}" if wrong else ""
    title, text = pictures.words(row, "title"), pictures.text(row)
    label = theme.group_name(row["label"])
    sent: dict[str, object] = {
        **({"href": href} if href else {}),
        "id": str(row["id"]),
        "sign": sign,
        "label": escape.visible(title) if title else label,
        "detail": (f"{label} · " if title else "") + f"#{row['id']}{said}",
        "image": pictures.data_url(row),
        "alt": f"Number {row['id']}, label {escape.visible(row['label'])}",
        "score": value,
        "full": full,
        "width": width,
        "ringed": False,
        "placed": True,
        "where": where,
    }
    return sent if text is None else sent | {"pieces": [{"text": escape.beginning(text, PREVIEW)}], "spoken": ""}


def scored(
    table: pd.DataFrame,
    positions: np.ndarray,
    scores: np.ndarray,
    unit: theme.Unit,
    where: str,
    href: Callable[[int], str] = lambda _: "",
) -> list[dict]:
    """A card for each of the `positions` of a table, with its score in nats; `scores` go with the table's rows.

    `href` gives the address that the card of an id links to.
    """
    largest = float(np.abs(scores[positions]).max(initial=0.0))
    return [
        card(
            table.iloc[place],
            where,
            unit.text(float(scores[place])),
            full=unit.full(float(scores[place])),
            sign="helpful" if scores[place] >= 0 else "harmful",
            width=abs(float(scores[place])) / largest if largest else 0.0,
            href=href(int(table["id"].iloc[place])),
        )
        for place in positions.tolist()
    ]


def column(title: str, cards: Sequence[dict], *, empty: str, sign: str = "single", unit: str = "") -> dict[str, Any]:
    """A list of cards under a heading; `sign` ("helpful", "harmful", "single") gives colour and symbol."""
    symbol = {"helpful": theme.HELPFUL, "harmful": theme.HARMFUL}.get(sign, "")
    return {"sign": sign, "symbol": symbol, "title": title, "unit": unit, "cards": list(cards), "empty": empty}


def draw(key: str, columns: Sequence[dict], on_pick: Callable[[], None] = lambda: None) -> None:
    """Draw columns side by side; `on_pick` is called when a card is pressed, and finds its id by `picked(key)`."""
    components.cards(key=key, data={"chosen": None, "columns": list(columns)}, on_picked_change=on_pick)


def picked(key: str) -> str:
    """Id of the card that was just pressed; to be called in the callback."""
    return str(components.event(key, "picked"))


def rows(table: pd.DataFrame, positions: np.ndarray, scores: np.ndarray | None = None) -> pd.DataFrame:
    """A list as a table for people and CSV: rank, id, score in nats where there is one, and what is known of each."""
    known = ["label", "prediction", "confidence", "loss", "title", "source", "text"]
    part = table.iloc[positions]
    listed = pd.DataFrame({"rank": np.arange(1, len(part) + 1), "id": part["id"].to_numpy()})
    if scores is not None:
        listed["score_nat"] = scores[positions]
    return listed.assign(**{name: part[name].to_numpy() for name in known if name in part})


def csv_button(table: pd.DataFrame, name: str, key: str) -> None:
    """A button that downloads the table as NAME.csv."""
    st.download_button(
        "CSV",
        lambda: csv(table),
        f"{name}.csv",
        "text/csv",
        key=key,
        icon=":material/download:",
        on_click="ignore",
        help="Download this list as a table",
    )
