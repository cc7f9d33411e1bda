"""The chosen prediction, large: the item, its true label, the predicted class, confidence and loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer.panels.prediction import completion
from explorer.runs import completions, folder, queries, splits, texts
from explorer.runs.completions import Completion
from explorer.ui import pictures, state, theme
from explorer.ui.escape import for_html
from explorer.view.view import View
from influence.errors import RunError
from influence.live import Span
from influence.run import Run, asked_of

MOST_CLASSES = 10
"""Probabilities of at most this many classes are drawn: the likeliest, and always the true one."""


def draw(view: View) -> None:
    """Draw it; of a text without classes a span can be chosen."""
    text = _completion(view)
    if text is None:
        st.html(html(view))
        return
    with st.container(key="completion"):
        title = pictures.words(view.query.row, "title") or ""
        completion.draw(text, view.query.row["id"], _span(view), title, can_be_asked(view.run))
    st.html(f'<div class="up-prediction up-has-text">{facts_html(view.query.row)}</div>')


def can_be_asked(run: Run) -> bool:
    """Whether a span can be explained: the run says how its study is made again, and not by code of a stranger."""
    try:
        asked_of(run, folder.function_of(run))
    except RunError:
        return False
    return True


def _completion(view: View) -> Completion | None:
    return None if view.query.position is None else completions.of_query(view.run, view.query.position)


def _span(view: View) -> Span | None:
    return view.target if isinstance(view.target, Span) else None


def html(view: View) -> str:
    """The view's prediction as HTML with everything from data escaped."""
    found = _completion(view)
    if found is not None:
        shown = f'<div class="up-text"><p dir="auto">{completion.html(found, _span(view))}</p></div>'
        return f'<div class="up-prediction up-has-text">{shown}{facts_html(view.query.row)}</div>'
    query, tokens = view.query, splits.Splits(view.run, queries.QUERIES)
    text = pictures.text(query.row)
    read = None if text is None or query.position is None else tokens.read(query.position, text)
    for problem in tokens.problems:
        state.notice(splits.problem_text(problem))
    return prediction_html(query.row, view.classes, read)


def prediction_html(query: pd.Series, classes: list[str], read: int | None = None, most: int = MOST_CLASSES) -> str:
    """The prediction as HTML with everything from data escaped; of a text the model read `read` characters."""
    url, text = pictures.data_url(query), pictures.text(query)
    alt = f"Test item {query['id']}, true label {query['label']}"
    item = f'<img class="up-item" src="{url}" alt="{for_html(alt)}">' if url else ""
    if text is not None:
        title = pictures.words(query, "title")
        head = f'<h3 class="up-head" dir="auto">{for_html(title)}</h3>' if title else ""
        shown = text_html(text, read, completions.prompt_end(query))
        item += f'<div class="up-text">{head}<p dir="auto">{shown}</p></div>'
    kind = "up-prediction" + (" up-has-text" if text is not None else "")
    return f'<div class="{kind}">{item}{facts_html(query)}</div>{probabilities_html(query, classes, most)}'


def facts_html(query: pd.Series) -> str:
    """Label, predicted class, confidence and loss; without classes there is but a loss, and a label if it has one.

    Of another tool's scores no loss is known.
    """
    loss = ""
    if "loss" in query:
        loss = f'<dt>Loss</dt><dd title="{float(query["loss"]):.6g} nat">{theme.number(float(query["loss"]))} nat</dd>'
    label = f"<dd><bdi>{for_html(query['label'])}</bdi></dd>"
    if "prediction" not in query:
        return f"<dl>{f'<dt>Label</dt>{label}' if str(query['label']).strip() else ''}{loss}</dl>"
    right = query["prediction"] == query["label"]
    mark = f'<span class="up-mark">{theme.RIGHT if right else theme.WRONG}</span>'
    return (
        f"<dl><dt>True label</dt>{label}"
        f"<dt>Predicted</dt><dd><bdi>{for_html(query['prediction'])}</bdi> {mark} {'right' if right else 'wrong'}</dd>"
        f"<dt>Confidence</dt><dd>{theme.percent(float(query['confidence']))}</dd>{loss}</dl>"
    )


def text_html(text: str, read: int | None, prompt_end: int = 0) -> str:
    """The text as HTML, dimmed where the model did not read it, and so many of its characters as are a prompt."""
    parts = []
    if prompt_end:
        parts.append(f'<span class="up-unread">{for_html(text[:prompt_end])}</span>')
        text, read = text[prompt_end:], None if read is None else max(read - prompt_end, 0)
    for piece in texts.pieces(text, read=read):
        shown = for_html(piece.text)
        note = '<span class="up-note">not read by the model</span> '
        parts.append(f'{note}<span class="up-unread">{shown}</span>' if piece.unread else shown)
    return "".join(parts)


def likeliest(probabilities: np.ndarray, true: int | None, most: int = MOST_CLASSES) -> list[int]:
    """Places of the classes to draw, in the model's order: the likeliest, and the true one in any case."""
    chosen = list(np.argsort(-probabilities, kind="stable")[:most])
    if true is not None and true not in chosen:
        chosen[-1] = true
    return sorted(int(place) for place in chosen)


def probabilities_html(query: pd.Series, classes: list[str], most: int = MOST_CLASSES) -> str:
    """The probability of each of the `most` likeliest classes as an HTML table."""
    values = query.get("probabilities")
    if values is None or len(values) != len(classes):
        return ""
    probabilities = np.asarray(values, dtype=np.float64)
    true = classes.index(query["label"]) if query["label"] in classes else None
    rows = []
    for place in likeliest(probabilities, true, most):
        name, p = classes[place], probabilities[place]
        notes = [word for word, said in (("true", query["label"]), ("predicted", query["prediction"])) if said == name]
        rows.append(
            f'<tr{" class=up-noted" if notes else ""}><th scope="row">{for_html(name)}</th>'
            f'<td class="up-track"><span style="width:{100 * p:.1f}%"></span></td>'
            f'<td title="{p:.6g}">{theme.percent(p)}</td><td class="up-quiet">{", ".join(notes)}</td></tr>'
        )
    return f'<table class="up-probabilities" aria-label="Probability of each class">{"".join(rows)}</table>'
