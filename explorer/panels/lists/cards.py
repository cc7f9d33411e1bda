"""The listed examples as cards, each with a button that rings its point on the map."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer import components
from explorer.panels.lists import controls, heat, note, text_card
from explorer.panels.lists.card import HARMFUL, HELPFUL, SINGLE, Card, CardList, Mark
from explorer.runs import leads, splits
from explorer.ui import escape, pictures, state, theme
from explorer.view import lists
from explorer.view.view import View
from influence.errors import RunError

TITLES = {
    state.NEAREST: "Nearest in the embedding",
    state.RANDOM: "A random draw",
    state.BM25: "First by shared words (BM25)",
    state.COSINE: "First by gradient cosine",
}
"""Heading of the list by a ranking."""
FILES = 1000
"""Examples whose sources are looked at: if all differ, they are names of files."""
EVERYWHERE = Mark(theme.EVERYWHERE, "shows up everywhere: in the lists of very many predictions")


def draw(view: View) -> None:
    sent = data(view)
    for problem in view.splits.problems:
        state.notice(splits.problem_text(problem))
    if isinstance(view.leads, RunError):
        state.notice(f"{escape.message(view.leads)} What shows up everywhere is not marked.")
    components.cards(key="cards", data=sent, on_picked_change=_pick)
    if said := overlap_text(view):
        st.caption(said)
    if said := trainings_text(view):
        st.caption(said)
    if said := relative_text(view):
        with st.container(gap="xxsmall", key="relative"):
            st.caption(said)
            st.button(
                "Order by score",
                key="order_strongest",
                on_click=_order,
                args=(state.STRONGEST,),
                type="tertiary",
                icon=":material/swap_vert:",
            )
    _everywhere(view)


def _pick() -> None:
    state.toggle(state.EXAMPLE, components.event("cards", "picked"))


def overlap_text(view: View) -> str | None:
    """How many of the lists by influence are also nearest neighbours, in a sentence."""
    if view.simpler is not None:
        first = view.lists.positions
        both = len(np.intersect1d(first, view.strongest.positions))
        return (
            f"{both} of these {len(first)} are also among the {len(view.strongest.positions)} that the lists by "
            "influence show."
        )
    if not view.comparable:
        return None
    if view.ranking == state.ALL_THREE:
        return three_text(view)
    count, found = len(view.strongest.positions), len(view.among_nearest)
    if view.ranking == state.INFLUENCE:
        mark = f" ({theme.NEAR})" if found else ""
        return f"{found} of {count} shown{mark} are also among the {count} nearest neighbours in the embedding."
    if view.ranking == state.NEAREST:
        return f"{found} of the {count} nearest are also among the {count} that the lists by influence show."
    return None


def three_text(view: View) -> str:
    """How many examples each two of the rankings have in common, in a sentence."""
    listed, said = view.rankings, []
    for one, two in itertools.combinations(listed, 2):
        both = len(np.intersect1d(listed[one], listed[two]))
        said.append(f"{both} by {one.lower()} {theme.SINGLE[one]} and {two.lower()} {theme.SINGLE[two]}")
    return (
        f"Of {len(listed[state.INFLUENCE])} each, listed by both: {', '.join(said)}. The same sign on a card marks it."
    )


def trainings_text(view: View) -> str | None:
    """Over how many trainings the scores are means, and what stands behind ±, in a sentence; None of one training."""
    if view.spread is None:
        return None
    count = view.run.trainings(view.stage, view.method)
    meant = "; ± is the standard deviation of one training's score" if view.unit.name else ""
    return f"Scores are means over {count} trainings from other seeds{meant}."


def relative_text(view: View) -> str | None:
    """The meaning of a relative score, in two sentences, where the lists are in that order."""
    if not _by_relative(view):
        return None
    return (
        "Ordered by relative influence, which bars and numbers show: score over the size of the example's own "
        "gradient, as a share of the largest. The score itself stands beside the id."
    )


def _everywhere(view: View) -> None:
    """Say how many show up everywhere, and offer the order that has fewer of them."""
    said = everywhere_text(view)
    if not said:
        return
    with st.container(gap="xxsmall", key="everywhere"):
        st.caption(said)
        if view.ranking == state.INFLUENCE and view.relative is None and "gradient_norm" in view.examples:
            st.button(
                "Order by relative influence",
                key="order_relative",
                on_click=_order,
                args=(state.RELATIVE,),
                type="tertiary",
                icon=":material/swap_vert:",
                help=controls.RELATIVE_HELP.removeprefix("Relative: "),
            )


def _order(order: str) -> None:
    st.session_state[state.ORDER] = order


def everywhere_text(view: View) -> str | None:
    """How many of the shown examples show up everywhere, in a sentence."""
    found = len(view.everywhere & set(view.on_cards.tolist()))
    if not found:
        return None
    verb = "shows" if found == 1 else "show"
    return (
        f"{found} shown ({theme.EVERYWHERE}) {verb} up everywhere: in the top {leads.LEADING_RANK} of so many "
        "predictions that it says little about this one."
    )


def data(view: View) -> dict[str, object]:
    """Data of the component: lists of cards, and the ringed example if no list has it."""
    # Whatever is listed, bars compare with the strongest score that could be.
    listed = np.concatenate([view.on_cards, view.strongest.positions])
    largest = float(np.abs(view.scores[listed]).max(initial=0.0))
    noted = note.of(view.run).of(view.stage)
    lists_of_cards = [
        dataclasses.replace(column, cards=note.marked(column.cards, noted)).json() for column in _columns(view, largest)
    ]
    ringed = _ringed(view, largest)
    chosen = None
    if ringed is not None:
        title, card = ringed
        chosen = {"title": title, "card": note.marked([card], noted)[0].json()}
    sent: dict[str, object] = {"chosen": chosen, "columns": lists_of_cards}
    if view.query.position is not None:
        sent["what_if"] = what_if_address(view)
    if "text" in view.examples:
        sent["legend"] = text_card.legend(view)
    elif view.patches:
        sent["legend"] = heat.LEGEND
    return sent


def what_if_address(view: View) -> str:
    """Where *What if* of a card leads, but for its id at the end: to the example's page, judged by this prediction."""
    explained = {key: state.clicked(key) for key in (state.TARGET, state.AGAINST, state.SPAN)} if view.target else {}
    stage, query = controls.stage_title(view.stage), view.query.row["id"]
    choices = {state.STAGE: stage, state.QUERY: query, state.WHAT_IF: "true", **explained, state.EXAMPLE: ""}
    return state.address(state.ITEM_PAGE, **choices)


def _ringed(view: View, largest: float) -> tuple[str, Card] | None:
    """Heading and card of the ringed example; None if there is none, or a list has it."""
    if view.example is None or view.example in view.on_cards:
        return None
    score = float(view.scores[view.example])
    if np.isnan(score):
        return None  # it is not kept
    keys = view.relative if view.relative is not None and _by_relative(view) else view.scores
    place = lists.rank(keys, view.example)
    title = f"Chosen: number {place:,} of all {HELPFUL if score >= 0 else HARMFUL} ones"
    return title, _card(view, view.example, max(largest, abs(score)))


def _columns(view: View, largest: float) -> list[CardList]:
    shown = view.lists
    if view.ranking == state.ALL_THREE:
        return [
            _column(view, SINGLE, theme.SINGLE[name], name, positions, largest)
            for name, positions in view.rankings.items()
        ]
    if shown.single is not None:
        title = TITLES[view.ranking]
        return [_column(view, SINGLE, theme.SINGLE[view.ranking], title, shown.single, largest)]
    order = "" if view.order == state.STRONGEST else f", {view.order.lower()}"
    return [
        _column(view, HELPFUL, theme.HELPFUL, f"Helpful{order}", shown.helpful, largest),
        _column(view, HARMFUL, theme.HARMFUL, f"Harmful{order}", shown.harmful, largest),
    ]


def _column(view: View, sign: str, symbol: str, title: str, positions: np.ndarray, largest: float) -> CardList:
    none = f"No example {'here ' if view.narrowed else ''}has a {sign} score."
    return CardList(
        title,
        tuple(_card(view, int(place), largest) for place in positions),
        empty="No example is left to list." if sign == SINGLE else none,
        sign=sign,
        symbol=symbol,
        unit="relative" if _by_relative(view) else view.unit.words,
    )


def _card(view: View, place: int, largest: float) -> Card:
    example, score = view.examples.iloc[place], float(view.scores[place])
    value, width = view.unit.of_one(score, lists.rank(view.scores, place)), abs(score) / largest if largest else 0.0
    if view.spread is not None and view.unit.name:
        value += f" ± {theme.number(abs(float(view.spread[place]) * view.unit.factor))}"
    said = "" if _by_relative(view) else _said(example)
    if view.relative is not None and _by_relative(view):
        value, width = theme.signed(float(view.relative[place])), abs(float(view.relative[place]))
    card = Card(
        id=str(example["id"]),
        sign=HELPFUL if score >= 0 else HARMFUL,
        label=theme.group_name(example["label"]),
        detail=_by(view, place) + _from(view, place) + f"#{example['id']}{said}",
        image=pictures.data_url(example),
        alt=f"Example {example['id']}, label {escape.visible(example['label'])}",
        score=_arrow(view, score) + value,
        full=view.unit.full(score),
        width=width,
        ringed=place == view.example,
        placed=view.on_map,
        marks=marks(view, place),
        heat=_heat(view, place),
    )
    text = pictures.text(example)
    return card if text is None else text_card.of(view, card, place, text, _by(view, place), _said(example))


def _from(view: View, place: int) -> str:
    """An example's source before its id, where sources are of many; a file's name is not."""
    sources = view.examples.get("source")
    if sources is None or sources.head(FILES).is_unique:
        return ""
    source = pictures.words(view.examples.iloc[place], "source")
    return f"{escape.visible(source)} · " if source else ""


def _heat(view: View, place: int) -> dict[str, Any] | None:
    patches = view.patches.get(place)
    return None if patches is None else heat.of(patches, view.picture_size, view.unit)


def marks(view: View, place: int) -> tuple[Mark, ...]:
    """Symbols that stand on an example's card."""
    found = []
    if place in view.everywhere:
        found.append(EVERYWHERE)
    if view.ranking == state.INFLUENCE and place in view.among_nearest:
        found.append(Mark(theme.NEAR, "also among the nearest neighbours in the embedding"))
    own = [name for name, positions in _three(view).items() if place in positions]
    if len(own) > 1:
        found += [Mark(theme.SINGLE[name], f"listed by {' and '.join(own).lower()}") for name in own]
    return tuple(found)


def _three(view: View) -> dict[str, np.ndarray]:
    return view.rankings if view.ranking == state.ALL_THREE else {}


def _arrow(view: View, score: float) -> str:
    """The sign as a symbol, where no column's heading tells it."""
    if (view.lists.single is None and view.ranking != state.ALL_THREE) or not score:
        return ""
    return f"{theme.HELPFUL if score > 0 else theme.HARMFUL} "


def _said(example: pd.Series) -> str:
    """The prediction of the stage's own model if it is wrong; "" otherwise, and where the stage has no classes."""
    said = pictures.words(example, "prediction")
    wrong = said is not None and said != example["label"]
    return f" said {escape.visible(said)} {theme.WRONG}" if wrong else ""


def _by(view: View, place: int) -> str:
    """The number that the card's bar does not show: the cosine in the order by nearness, the score in relative."""
    if view.ranking == state.NEAREST and view.cosines is not None:
        return f"cosine {theme.signed(float(view.cosines[place])).lstrip('+')} · "
    if view.ranking == state.BM25 and view.simpler is not None:
        return f"BM25 {theme.number(float(view.simpler[place]))} · "
    if _by_relative(view):
        own = view.unit.of_one(float(view.scores[place]), lists.rank(view.scores, place))
        return f"{' '.join(filter(None, (own, view.unit.name)))} · "
    return ""


def _by_relative(view: View) -> bool:
    return view.ranking == state.INFLUENCE and view.relative is not None
