"""The query picker: pills, confusion matrix, strip of thumbnails or texts, previous and next, search by id or words."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer import components
from explorer.runs import queries
from explorer.ui import escape, pictures, state, theme, widgets
from influence.run import Run, confusion

PAGE_PICTURES = 16
"""Thumbnails on the strip at a time; it turns like a page, so that nothing moves under the pointer."""
PAGE_TEXTS = 5
PREVIEW_CHARACTERS = 160
"""Characters of a text in the list; style sheets cut it to two lines."""


def draw(run: Run) -> int:
    """Draw the picker and return the position of the chosen query."""
    table = run.queries()
    counts = confusion(table)
    classes = list(counts.index)
    show = st.pills(
        "Show",
        queries.shows(table),
        default=queries.ALL,
        required=True,
        key=state.SHOW,
        bind="query-params",
        label_visibility="collapsed",
        wrap=True,
        on_change=_first_of_list,
        args=(run,),
    )
    cell = chosen_cell(classes)
    if classes:
        _confusion(run, counts, cell)
    words = chosen_words(table)
    positions = queries.positions_in_list(table, show or queries.ALL, cell, words)
    _chips(cell, words, len(positions))
    current = chosen(run)
    _strip(run, positions, current)
    _steps(run, positions, current)
    return current


def chosen(run: Run) -> int:
    """Position of the chosen query: by the URL, else by the rule."""
    table = run.queries()
    first = queries.opening(table)
    position = state.parsed(
        state.QUERY,
        lambda text: queries.position_by_id(table, text),
        lambda text: (
            f"This run has no prediction with id “{text}”; "
            f"shown is the one that it opens on, {table['id'].iloc[first]}."
        ),
    )
    return first if position is None else position


def chosen_cell(classes: list[str]) -> tuple[str, str] | None:
    """The clicked cell of the confusion matrix, (true, predicted)."""
    return state.parsed(
        state.CELL,
        lambda text: queries.parse_cell(text, classes),
        lambda text: f"The link names a cell “{text}” that this run's confusion matrix lacks.",
    )


def chosen_words(table: pd.DataFrame) -> str | None:
    """The words that narrow the list down, as searched for; None without any."""

    def parse(text: str) -> str | None:
        words = text[: widgets.LONGEST_SEARCH]
        return words if words.strip() and "text" in table and queries.holding(table, words).any() else None

    return state.parsed(
        state.WORDS,
        parse,
        lambda text: f"No prediction holds the words “{text[: widgets.LONGEST_SEARCH]}”; all are listed.",
    )


def _set(table: pd.DataFrame, position: int) -> None:
    state.click(state.QUERY, table["id"].iloc[position])


def _find(run: Run, wanted: str) -> None:
    """Go to the id that was searched for, or list the texts that hold the words."""
    table = run.queries()
    position = queries.position_by_id(table, wanted)
    hits = queries.holding(table, wanted).to_numpy().nonzero()[0].tolist() if wanted and "text" in table else []
    if position is not None:
        _set(table, position)
    elif len(hits) == 1:
        _set(table, hits[0])
    elif len(hits):
        _list_words(run, wanted)
    elif wanted:
        what = "id or words" if "text" in table else "id"
        state.notice(f"No prediction has the {what} “{escape.for_markdown(wanted)}”; nothing was changed.")


def _confusion(run: Run, counts: pd.DataFrame, cell: tuple[str, str] | None) -> None:
    def pick() -> None:
        state.toggle(state.CELL, components.event("confusion", "picked"))
        if state.clicked(state.CELL) and not _positions(run):
            # The counts are of all predictions: a cell that shows 3 must not list none.
            st.session_state[state.SHOW] = queries.ALL
            state.notice("The cell has none of the predictions that were listed; all of its predictions are listed.")
        _first_of_list(run)

    components.confusion(
        key="confusion",
        data={
            "classes": [escape.visible(name) for name in counts.index],
            "short": [escape.visible(name) for name in queries.short_names(list(counts.index))],
            "counts": counts.to_numpy().tolist(),
            "cell": queries.cell_text(cell, list(counts.index)) if cell else None,
        },
        on_picked_change=pick,
    )


def _list_words(run: Run, words: str) -> None:
    """List the predictions that hold the words, of all predictions if the narrowed list has none of them."""
    state.click(state.WORDS, words)
    if not _positions(run):
        st.session_state[state.SHOW] = queries.ALL
        state.click(state.CELL, None)
        state.notice("The words are in none of the predictions that were listed; all predictions are searched.")
    _first_of_list(run)


def _chips(cell: tuple[str, str] | None, words: str | None, count: int) -> None:
    """A chip for each filter of the list, which a press removes."""
    if cell:
        true, said = map(escape.for_markdown, cell)
        widgets.chip(f"True {true}, predicted {said}", state.CELL, "Show all cells again")
    if words:
        items = f"{count:,} {'item' if count == 1 else 'items'}"
        widgets.chip(f"Words “{escape.for_markdown(words)}”: {items}", state.WORDS, "Show all texts again")


def _positions(run: Run) -> list[int]:
    """The list as it is narrowed down now, for use in callbacks."""
    table = run.queries()
    cell = chosen_cell(list(confusion(table).index))
    return queries.positions_in_list(table, st.session_state.get(state.SHOW) or queries.ALL, cell, chosen_words(table))


def _first_of_list(run: Run) -> None:
    """After the list changed: stay on the query if the list has it, else go to its first."""
    positions = _positions(run)
    if positions and chosen(run) not in positions:
        _set(run.queries(), positions[0])


def _strip(run: Run, positions: list[int], current: int) -> None:
    table = run.queries()

    def pick() -> None:
        state.click(state.QUERY, components.event("strip", "picked"))

    def step() -> None:
        _step(table, positions, current, int(components.event("strip", "stepped") or 0))

    size = PAGE_PICTURES if "image" in table else PAGE_TEXTS
    page = positions.index(current) // size if current in positions else 0
    components.strip(
        key="strip",
        data={
            "items": [_item(table.iloc[i], i == current) for i in positions[page * size : (page + 1) * size]],
            "empty": "No prediction is in this list.",
        },
        on_picked_change=pick,
        on_stepped_change=step,
    )


def _step(table: pd.DataFrame, positions: list[int], current: int, by: int) -> None:
    """Go to the next (1) or previous (-1) prediction of the list, if there is one."""
    place = queries.beside(positions, current, by)
    if place is not None:
        _set(table, place)


def _item(query: pd.Series, current: bool) -> dict[str, object]:
    wrong, verdict, title = _verdict(query)
    text = pictures.text(query)
    item: dict[str, object] = {
        "id": str(query["id"]),
        "image": pictures.data_url(query),
        "mark": theme.WRONG if wrong else "",
        "title": f"#{query['id']}: {title}",
        "current": current,
    }
    if text is None:
        return item
    return item | {
        "text": escape.beginning(text, PREVIEW_CHARACTERS),
        "head": escape.beginning(pictures.words(query, "title") or "", PREVIEW_CHARACTERS),
        "verdict": verdict,
    }


def _verdict(query: pd.Series) -> tuple[bool, str, str]:
    """(whether it is wrong, what became of it in short, and in words); without classes its loss tells."""
    true = escape.visible(query["label"])
    if "prediction" not in query:
        loss = f"loss {theme.number(float(query['loss']))} nat" if "loss" in query else ""
        known = [loss] * bool(loss) + [true] * bool(true.strip())
        return False, " · ".join(known), loss or true
    said = escape.visible(query["prediction"])
    wrong = query["prediction"] != query["label"]
    verdict = f"{said} {theme.WRONG} · true {true}" if wrong else f"{said} {theme.RIGHT}"
    return bool(wrong), verdict, f"true {true}, predicted {said}"


def _steps(run: Run, positions: list[int], current: int) -> None:
    table = run.queries()
    where = f"{positions.index(current) + 1:,}" if current in positions else "none"
    widgets.stepper(
        "step",
        "prediction",
        where + (f" of {len(positions):,}" if positions else ""),
        (queries.beside(positions, current, -1), queries.beside(positions, current, 1)),
        lambda position: _set(table, position),
        widgets.Search(
            state.FIND,
            str(table["id"].iloc[current]),
            lambda wanted: _find(run, wanted),
            "Go to a prediction by its id" + (", or list those that hold words" if "text" in table else ""),
            112 if "text" in table else 88,
        ),
        keys=("k", "j"),
    )
