"""Downloads of a view: its lists and all its scores as CSV, and a report as one HTML file."""

from __future__ import annotations

import datetime

import pandas as pd
import streamlit as st

from explorer.export import notes, report, spreadsheet
from explorer.panels.charts import histogram, totals
from explorer.panels.header import identity
from explorer.panels.lists import cards, note, tables
from explorer.panels.prediction import target
from explorer.runs import completions, queries
from explorer.ui import escape, state, theme
from explorer.view.view import View

CARE = theme.CARE.replace("*", "")


def draw(view: View, question: str, prediction: str, link: str | None) -> None:
    """Draw the buttons; nothing is made before one is pressed.

    Args:
        view: what is shown.
        question: the page's question, as text.
        prediction: the prediction as HTML, with everything from data escaped.
        link: where the view opens again; None where no link can lead to it.
    """
    name = f"{view.run.name}-{view.query.row['id']}"
    written = note.of(view.run)
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="exports"):
        about = "The examples on the cards, as a table"
        spreadsheet.button(lambda: list_table(view), f"{name}-lists", "export_lists", "Lists as CSV", about)
        about = f"Every {escape.for_markdown(theme.stage_word(view.stage))} example with its score, strongest first"
        spreadsheet.button(lambda: score_table(view), f"{name}-scores", "export_scores", "All scores as CSV", about)
        st.download_button(
            "Report",
            lambda: report.page(contents(view, question, prediction, link, written)),
            f"{spreadsheet.file_name(name)}.html",
            "text/html",
            key="export_report",
            icon=":material/description:",
            on_click="ignore",
            help="This view as one file that opens in any browser, without network: prediction, lists with pictures or "
            "texts, all scores, totals, and which run it is",
        )


def list_table(view: View) -> pd.DataFrame:
    """The cards as a table, helpful ones first, with the query and what is explained."""
    table = tables.list_table(view, view.unit.column)
    return table.assign(query=view.query.row["id"], explained=_explained(view))


def score_table(view: View) -> pd.DataFrame:
    """Every example with its score, strongest first, and what is explained."""
    known = [name for name in ("id", "label", "title", "source", "text") if name in view.examples]
    table = view.examples[known].copy()
    table[view.unit.column], table["explained"] = view.scores, _explained(view)
    return table.iloc[tables.strongest_first(view)]


def contents(view: View, question: str, prediction: str, link: str | None, written: notes.Notes) -> report.Contents:
    """The contents of a view's report."""
    now = datetime.datetime.now(datetime.UTC)
    overlap = cards.overlap_text(view)
    return report.Contents(
        question=question,
        prediction=prediction,
        stage=theme.stage_word(view.stage),
        explained=_explained(view),
        cards=cards.data(view),
        spread=histogram.data(view),
        totals=totals.rows(view),
        summed_by=totals.noun(view),
        narrowed=narrowed(view),
        sentences=[*filter(None, (view.slope and view.slope.words, overlap)), histogram.share_text(view), CARE],
        notes=_noted(view, written),
        run=view.run.name,
        identity=identity.line(view.run),
        facts=_facts(view),
        order_only=view.order_only,
        warnings=view.run.manifest.warnings,
        remarks=view.run.manifest.notes,
        link=link or "Asked on Try it: no link leads to it.",
        written=f"{now:%Y-%m-%d %H:%M} UTC",
    )


def _explained(view: View) -> str:
    """The target of the view in words, such as "the loss on this prediction"."""
    if view.target is not None:
        return target.words(view.target)
    return theme.EXPLAINED if view.run.classes else f"the loss on this {completions.noun_of(view.query.row)}"


def narrowed(view: View) -> list[str]:
    """Method, order and filters of the lists, in words."""
    found = [f"Method {view.method}."]
    if view.lists.single is None and view.order == state.RELATIVE:
        found.append("In the order of score over the size of the example's own gradient.")
    if view.region is not None:
        found.append(f"Only the {int(view.in_region.sum()):,} examples in a region of the map that was drawn by hand.")
    if view.group is not None:
        found.append(f"Only examples of the {totals.noun(view)} {theme.group_name(view.group)}.")
    if view.within is not None:
        found.append(f"Of these only examples of the class {theme.group_name(view.within)}.")
    return found


def _noted(view: View, written: notes.Notes) -> list[tuple[str, str]]:
    about, of = written.of(view.stage), []
    query = view.query
    if query.position is not None and (own := written.of(queries.QUERIES).get(int(query.row["id"]))):
        of.append(("This prediction", own.said))
    for number in view.examples["id"].iloc[view.lists.positions].tolist():
        if number in about:
            of.append((f"Example #{number}", about[number].said))
    return of


def _facts(view: View) -> list[tuple[str, str]]:
    """The run's identity, without the checksum of every single file."""
    manifest, details = view.run.manifest, identity.details(view.run)
    rows = [("title", manifest.title or view.run.name), ("summary", manifest.summary)]
    rows += [
        (str(what), str(value))
        for what, value in zip(details["what"], details["value"], strict=True)
        if what != "folder" and (not str(what).startswith("checksum: ") or what == "checksum: run.json")
    ]
    solved = identity.scores(view.run)
    own = solved[(solved["stage"] == view.stage) & (solved["method"] == view.method)]
    rows += [(f"{view.method}: {what}", value) for what, value in zip(own["what"], own["value"], strict=True)]
    return rows
