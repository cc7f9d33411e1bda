"""The examples that would lower what is judged by most if a stage were trained on them: held-out ones, or a file's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from explorer.jobs import live
from explorer.panels.lists import order_only
from explorer.panels.repair import answers, listing, upload
from explorer.panels.repair.subject import Subject
from explorer.ui import amounts, escape, state, theme, widgets
from explorer.view import pools
from influence.errors import StudyError
from influence.live import ADD, Alteration
from influence.run import top

OWN = "Upload some below; in a terminal, `upstream what-if --add FILE` takes a file."
IN_PYTHON = "In Python, `edits.add` takes any examples."
LARGEST_POOL = 10_000
"""Examples of a pool that are tried."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """Examples to add, what each would do to what is judged by, and the edits that add some of them by their places."""

    table: pd.DataFrame
    changes: np.ndarray
    edits: Callable[[Sequence[int]], list[Alteration]]
    whose: str
    note: str


def draw(subject: Subject, scores: np.ndarray) -> None:
    """Draw the list; `scores` are of the examples that there are.

    Raises:
        UpstreamError: the run's models cannot be asked, or a file cannot be read.
    """
    digest = state.parsed(
        state.POOL,
        lambda text: None if pools.at(text) is None else text,
        lambda text: f"The file “{text}” is not kept by this server: what is uploaded is gone when it ends.",
    )
    if digest is not None:
        widgets.chip("Uploaded examples", state.POOL, "Go back to the run's own held-out examples")
    found = _held_out(subject) if digest is None else _uploaded(subject, digest)
    if found is None:
        stage = escape.for_markdown(theme.stage_word(subject.stage))
        st.info(
            f"The run holds no examples that {stage} could be trained on besides: its predictions are of another "
            f"stage or form. {OWN if upload.possible(subject) else IN_PYTHON}",
            icon=":material/info:",
        )
    else:
        _list(subject, found)
    upload.draw(subject)


def _list(subject: Subject, pool: Pool) -> None:
    listed = top(pool.changes, listing.LISTED_EXAMPLES, helpful=False)
    unit = subject.unit(pool.changes)
    order_only.draw(amounts.lost(subject.run, subject.method, subject.stage))
    stage = escape.for_markdown(theme.stage_word(subject.stage))
    st.markdown(
        f"{pool.whose} as examples for {stage}: trained on besides, these are predicted to lower "
        f"{escape.for_markdown(subject.judged.words)} most.",
        help="To first order: each added alone. The mean over the stage's examples keeps its denominator.",
    )
    st.caption(pool.note)
    if not len(listed):
        st.caption("None of them is predicted to lower it.")
        return
    table = ranking(subject, pool.table.iloc[listed], pool.changes[listed], unit)
    alt = "Examples that could be added, ranked by what adding them would do"
    picked = listing.ticked(table, alt, "add", (heading(unit),))
    with st.container(horizontal=True, gap="small"):
        listing.put(subject, picked, len(table), lambda places: pool.edits([int(listed[place]) for place in places]))
        listing.download(table, "add")


def _held_out(subject: Subject) -> Pool | None:
    run, judged = subject.run, subject.judged
    table = live.opened(run).what_if.pool(subject.stage)
    if table is None:
        return None
    rows, judges = candidates(table, judged.positions)
    some = table.iloc[rows]
    changes = answers.once(
        (run.manifest.checksum, "additions", judged.criterion, subject.stage),
        lambda: live.additions(live.opened(run), judged.criterion, subject.stage, some) * float(judged.times),
    )
    note = (
        "All predictions are judged, so what is added is judged, too: better judge by a part of them."
        if judges
        else f"From {len(rows):,} predictions with their true labels; those that are judged are left aside."
    )
    ids = some["id"].to_numpy()
    return Pool(
        some,
        changes,
        lambda places: [Alteration(ADD, subject.stage, int(ids[place])) for place in places],
        "The run's predictions",
        note,
    )


def candidates(pool: pd.DataFrame, judged: np.ndarray) -> tuple[np.ndarray, bool]:
    """Rows of the pool that are offered, and whether they are among what is judged: only if there are no others."""
    others = np.setdiff1d(np.arange(len(pool)), judged)
    rows = others if len(others) else np.arange(len(pool))
    return rows[:LARGEST_POOL], not len(others)


def _uploaded(subject: Subject, digest: str) -> Pool:
    run, judged, path = subject.run, subject.judged, pools.at(digest)
    assert path is not None
    table = answers.once(
        (run.manifest.checksum, "pool", subject.stage, digest),
        lambda: live.opened(run).what_if.pool(subject.stage, path),
    )
    assert table is not None
    if len(table) > LARGEST_POOL:
        raise StudyError(f"The file holds {len(table):,} examples, at most {LARGEST_POOL:,} are tried. Take fewer.")
    changes = answers.once(
        (run.manifest.checksum, "additions", judged.criterion, subject.stage, digest),
        lambda: live.additions(live.opened(run), judged.criterion, subject.stage, path) * float(judged.times),
    )
    shown = table.assign(id=range(len(table)))
    if "file" in table:
        shown["image"] = [Path(file).read_bytes() for file in table["file"]]
    note = f"From {len(table):,} uploaded examples. Those that you put into the basket together go and come together."
    return Pool(shown, changes, lambda rows: upload.part(subject, table, rows), "Your examples", note)


def heading(unit: theme.Unit) -> str:
    """Heading of the predicted changes."""
    return f"predicted change, {unit.words}"


def ranking(subject: Subject, chosen: pd.DataFrame, changes: np.ndarray, unit: theme.Unit) -> pd.DataFrame:
    """The listed examples, one a row, with what the model says of them now where that is known."""
    columns = listing.shown(chosen)
    if "prediction" in chosen:
        columns["predicted"] = [theme.group_name(said) for said in chosen["prediction"]]
    columns[heading(unit)] = changes * unit.factor
    added = {each.id for each in subject.basket if each.kind == ADD and each.stage == subject.stage and not each.value}
    if "prediction" in chosen:
        columns["in basket"] = ["added" if number in added else "" for number in chosen["id"]]
    return pd.DataFrame(columns)
