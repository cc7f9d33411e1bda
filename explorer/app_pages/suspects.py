"""Suspects: the training examples that harm (or help) a whole slice of the test set, and a basket of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from explorer.export import spreadsheet
from explorer.panels.lists import controls, order_only
from explorer.panels.retraining import retrain
from explorer.runs import queries, score_arrays, slices
from explorer.trust import left_out
from explorer.ui import escape, pictures, state, theme, widgets
from explorer.view import edits
from influence.live import LEAVE_OUT, Alteration
from influence.run import Run, top

LISTED_EXAMPLES = 50
"""Examples that the table lists."""
NUMBER_FORMAT = "%.3g"
"""Format of the table's numbers."""
COLUMN_LOOKS = {
    "picture": st.column_config.ImageColumn(width="small"),
    "text": st.column_config.TextColumn(width="large"),
    "reasons": st.column_config.TextColumn(width="large"),
}
KNOWN_SETS = 8
"""Sets that were left out before and are offered, the latest."""


def draw(run: Run) -> None:
    """Draw the page for one run.

    Raises:
        RunError: its scores cannot be read.
    """
    stages = score_arrays.scored_stages(run)
    if not stages:
        st.warning("This run holds no scores, so nobody is suspect yet. Compute them with `upstream precompute`.")
        return
    widgets.heading("Which training examples harm these predictions?")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        name = _slice(run)
        helpful = widgets.choice("Rank by", state.SIDES, state.SIDE) == state.HELP
        stage = controls.choose_stage(stages)
    method = run.methods(stage)[0]
    positions = slices.rows(run.queries(), name, _query(run))
    sums = slices.totals(run, stage, method, name, positions)
    examples, unit = run.examples(stage), theme.unit_of(sums, run.unit(method, stage))
    rule = theme.sign_rule(escape.for_markdown(theme.stage_word(stage)), "these predictions, summed up")
    st.markdown(rule, help=theme.sign_help(run.order_only(method, stage)))
    order_only.draw(run.order_only(method, stage))
    st.caption(f"Scores are summed over {len(positions):,} {'prediction' if len(positions) == 1 else 'predictions'}.")
    listed = top(sums, LISTED_EXAMPLES, helpful=helpful)
    basket = edits.basket(run)
    chosen = edits.left_out(basket, run, stage)
    picked = _table(listed, examples, sums, unit, chosen)
    ready = [row for row in picked or listed[:10].tolist() if row not in chosen]
    st.button(
        f"Put {len(picked)} ticked into the basket" if picked else "Put the first 10 into the basket",
        key="put",
        icon=":material/add:",
        on_click=edits.put,
        args=(run, out(stage, examples, ready)),
        disabled=not ready,
    )
    _draw_basket(run, basket, chosen, examples, sums, unit, run.queries()["loss"].to_numpy()[positions])
    if chosen:
        retrain.draw(run, stage, method, chosen, positions)
    _known(run, stage, examples, chosen)
    st.caption(theme.CARE)


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the page's widgets."""
    return {state.SIDE: state.SIDES, state.STAGE: controls.stage_values(run)}


def _slice(run: Run) -> str:
    """The slice that the URL names or the visitor picks; the mistakes where there are any."""
    table = run.queries()
    names = [*slices.slices(table), slices.QUERY]
    usual = slices.WRONG if slices.WRONG in names else slices.ALL
    wanted = state.parsed(
        state.SLICE,
        lambda text: text if text in names else None,
        lambda text: f"The link's slice “{text}” is not one of this run; another is shown.",
    )
    name = wanted or usual
    return st.selectbox(
        "Predictions",
        names,
        index=names.index(name),
        key=state.SLICE_WIDGET,
        on_change=_take_slice,
        width=280,
        format_func=lambda name: slice_title(table, name),
        help="Over which predictions scores are summed.",
    )


def _take_slice() -> None:
    state.click(state.SLICE, st.session_state[state.SLICE_WIDGET])


def slice_title(table: pd.DataFrame, name: str) -> str:
    """A slice in words."""
    kind, *places = name.split("-")
    if not places:
        return {slices.ALL: "All", slices.WRONG: "All mistakes", slices.QUERY: "The chosen prediction"}[kind]
    classes = queries.confusion(table).index.tolist()
    named = [theme.group_name(classes[int(place)]) for place in places]
    return f"{named[0]} taken for {named[1]}" if kind == slices.CELL else f"All that are {named[0]}"


def _query(run: Run) -> int:
    """Row of the chosen prediction: the URL's, else the one that Explore opens on."""
    found = queries.position_by_id(run.queries(), state.clicked(state.QUERY) or "")
    if found is None:
        return queries.opening(run.queries()) if "prediction" in run.queries() else 0
    return found


def out(stage: str, examples: pd.DataFrame, rows: Sequence[int]) -> list[Alteration]:
    """The edits that leave the examples at `rows` of a stage out."""
    return [Alteration(LEAVE_OUT, stage, int(examples["id"].iloc[row])) for row in rows]


def _table(
    listed: np.ndarray, examples: pd.DataFrame, sums: np.ndarray, unit: theme.Unit, chosen: list[int]
) -> list[int]:
    """Draw the ranking; returns the rows of the ticked examples."""
    table = ranking(listed, examples, sums, unit, chosen)
    event = spreadsheet.show(
        table,
        "Training examples ranked by their summed scores",
        on_select="rerun",
        key="ranking_table",
        selection_mode="multi-row",
        column_config=COLUMN_LOOKS
        | {name: st.column_config.NumberColumn(format=NUMBER_FORMAT) for name in (summed(unit), own(unit))},
    )
    spreadsheet.button(lambda: table.drop(columns="picture", errors="ignore"), "suspects", "export_ranking")
    return [int(listed[place]) for place in event["selection"]["rows"] if place < len(listed)]


def summed(unit: theme.Unit) -> str:
    """Heading of the summed scores."""
    return f"summed score, {unit.words}"


def own(unit: theme.Unit) -> str:
    """Heading of the examples' scores for their own losses."""
    return f"self-influence, {unit.stored}"


def ranking(
    listed: np.ndarray, examples: pd.DataFrame, sums: np.ndarray, unit: theme.Unit, chosen: list[int]
) -> pd.DataFrame:
    """The listed examples, one a row, with what speaks against them."""
    table = examples.iloc[listed]
    columns: dict[str, object] = {}
    if "image" in table:
        columns["picture"] = [pictures.data_url(row) for _, row in table.iterrows()]
    columns |= {
        "id": table["id"].to_numpy(),
        "label": [theme.group_name(label) for label in table["label"]],
        **({"text": [escape.beginning(text, 120) for text in table["text"]]} if "text" in table else {}),
        summed(unit): sums[listed] * unit.factor,
    }
    if "self_influence" in table:
        columns[own(unit)] = table["self_influence"].to_numpy()
    columns["reasons"] = slices.reasons(examples, listed)
    columns["in basket"] = ["✓" if row in chosen else "" for row in listed]
    return pd.DataFrame(columns)


def _draw_basket(
    run: Run,
    basket: list[Alteration],
    chosen: list[int],
    examples: pd.DataFrame,
    sums: np.ndarray,
    unit: theme.Unit,
    losses: np.ndarray,
) -> None:
    """Draw what is set aside; `losses` are those of the slice's predictions, in nats."""
    widgets.heading("Basket")
    if not basket:
        st.caption("The basket is empty. Tick examples above, and see what leaving them out is predicted to do.")
        return
    _items(run, basket)
    if not chosen:
        return
    st.markdown(
        effect_text(float(sums[chosen].sum()), len(chosen), unit, losses),
        help="The sum of their scores: a first-order estimate, which takes no account of how they act together.",
    )
    ids = examples["id"].iloc[chosen]
    with st.container(horizontal=True, gap="small"):
        about = "Download the ids of the basket's examples"
        spreadsheet.button(lambda: pd.DataFrame({"id": ids}), "basket", "export", "Export ids", about)
        st.button("Empty the basket", key="empty", on_click=state.click, args=(state.BASKET, None))


def effect_text(effect: float, count: int, unit: theme.Unit, losses: np.ndarray) -> str:
    """The predicted effect of leaving the basket out on predictions with these losses, as Streamlit markdown."""
    direction = "rise" if effect > 0 else "fall"
    total, size = float(losses.sum()), f"{theme.number(abs(effect) * unit.factor)} {unit.name}"
    part = f", {theme.percent(abs(effect) / total)} of its {theme.number(total)} nat" if total > 0 else ""
    without = "it" if count == 1 else "them"
    amount = f" by **{size}**{part}" if unit.name else ", by how much is not known: these scores are an order only"
    return (
        f"**{count}** in the basket. Without {without}, the summed loss of these {len(losses):,} is predicted to "
        f"{direction}{amount}."
    )


def _items(run: Run, basket: list[Alteration]) -> None:
    """The basket, an edit a chip that can be taken out."""
    # The widget follows the URL, which the table and the back button change too.
    st.session_state[state.BASKET_WIDGET] = basket
    st.multiselect(
        "In the basket",
        basket,
        key=state.BASKET_WIDGET,
        on_change=lambda: edits.keep(run, st.session_state[state.BASKET_WIDGET]),
        label_visibility="collapsed",
        select_all=False,
        format_func=lambda edit: edits.words(edit, run),
    )


def _only(run: Run, stage: str, examples: pd.DataFrame, rows: list[int]) -> None:
    edits.keep(run, out(stage, examples, rows))


def _known(run: Run, stage: str, examples: pd.DataFrame, chosen: list[int]) -> None:
    """Sets that somebody really left out, each a button that puts it into the basket."""
    others = [rows for rows in left_out.known(run, stage) if sorted(rows) != sorted(chosen)][:KNOWN_SETS]
    if not others:
        return
    st.caption("Really left out before; put a set into the basket to see what it did:")
    with st.container(horizontal=True, gap="small", key="known_sets"):
        for place, rows in enumerate(others):
            ids = ", ".join(f"#{name}" for name in examples["id"].iloc[rows[:3]])
            more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
            st.button(f"{ids}{more}", key=f"known_{place}", on_click=_only, args=(run, stage, examples, rows))
