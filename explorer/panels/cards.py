"""The helpful and the harmful examples as two columns of cards, each a button that rings its point on the map."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer import components, lists, pictures, plain, state, theme
from explorer.view import View


def controls(stages: list[str], has_norms: bool) -> None:
    """Which examples, how many, in which order."""
    with st.container(horizontal=True, gap="medium", key="list_controls"):
        if len(stages) > 1:
            st.segmented_control(
                "Examples of", stages, default=stages[0], required=True, key=state.STAGE, bind="query-params",
                format_func=stage_title, help="Whose training examples are listed: those of which stage.",
            )  # fmt: skip
        st.segmented_control(
            "Cards a list", state.COUNTS, default=state.COUNTS[0], required=True, key=state.COUNT, bind="query-params",
            help="How many examples each list shows.",
        )  # fmt: skip
        if has_norms:
            st.segmented_control(
                "Order", state.ORDERS, default=state.STRONGEST, required=True, key=state.ORDER, bind="query-params",
                help="Strongest: by score. Relative: by score over the size of the example's own gradient, so that "
                "examples which move every prediction do not crowd out those that matter to this one.",
            )  # fmt: skip


def stage_title(stage: str) -> str:
    """A stage's name as a label; also what the URL says."""
    return theme.stage_word(stage).capitalize()


def chips(view: View) -> None:
    """What narrows the lists down, each with a button that takes it back."""
    if view.group is None and view.region is None:
        return
    with st.container(horizontal=True, gap="small", key="chips"):
        if view.region is not None:
            count = int(view.in_region.sum())
            st.button(
                f"Region: {count:,} {'item' if count == 1 else 'items'}", icon=":material/close:", key="clear_region",
                help="Show the whole map's examples again", on_click=state.click, args=(state.REGION, None),
            )  # fmt: skip
        if view.group is not None:
            st.button(
                f"Class {plain.for_markdown(view.group)}: {int(view.kept.sum()):,} items", icon=":material/close:",
                key="clear_group", help="Show all classes again", on_click=state.click, args=(state.GROUP, None),
            )  # fmt: skip


def draw(view: View) -> None:
    components.cards(key="cards", data=data(view), on_picked_change=_pick)


def _pick() -> None:
    state.toggle(state.EXAMPLE, components.event("cards", "picked"))


def data(view: View) -> dict[str, object]:
    """What the component draws: two columns, and the ringed example if neither column has it."""
    shown = view.lists
    largest = float(np.abs(view.scores[shown.shown]).max(initial=0.0))
    chosen = None
    if view.example is not None and view.example not in shown.shown:
        same = "helpful" if view.scores[view.example] >= 0 else "harmful"
        place = lists.rank(view.scores, view.example)
        chosen = {
            "title": f"Chosen on the map: number {place:,} of the {same} ones",
            "card": _card(view, view.example, max(largest, abs(float(view.scores[view.example])))),
        }
    return {
        "chosen": chosen,
        "columns": [
            _column(view, "helpful", theme.HELPFUL, shown.helpful, largest),
            _column(view, "harmful", theme.HARMFUL, shown.harmful, largest),
        ],
    }


def _column(view: View, sign: str, symbol: str, positions: np.ndarray, largest: float) -> dict[str, object]:
    return {
        "sign": sign,
        "symbol": symbol,
        "title": sign.capitalize(),
        "unit": view.unit.name,
        "cards": [_card(view, int(place), largest) for place in positions],
        "empty": f"No example {'here ' if view.group or view.region is not None else ''}has a {sign} score.",
    }


def _card(view: View, place: int, largest: float) -> dict[str, object]:
    example, score = view.examples.iloc[place], float(view.scores[place])
    said = "" if example["prediction"] == example["label"] else f" said {example['prediction']} {theme.WRONG}"
    card = {
        "id": str(example["id"]),
        "sign": "helpful" if score >= 0 else "harmful",
        "label": example["label"],
        "detail": f"#{example['id']}{said}",
        "image": pictures.data_url(example),
        "alt": f"Example {example['id']}, label {example['label']}",
        "score": view.unit.text(score),
        "full": view.unit.full(score),
        "width": abs(score) / largest if largest else 0.0,
        "ringed": place == view.example,
        "placed": view.on_map,
    }
    text = pictures.text(example)
    return card if text is None else card | {"text": text}
