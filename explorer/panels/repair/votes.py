"""The votes of the rules that made a stage's labels: the rules by what switching each off does, and single votes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer.jobs import live
from explorer.panels.lists import order_only
from explorer.panels.repair import answers, listing
from explorer.panels.repair.subject import Subject
from explorer.ui import amounts, escape, theme, widgets
from influence.live import NONE, SWITCH_OFF, TAKE_BACK, Alteration
from influence.run import top


def draw(subject: Subject, scores: np.ndarray) -> None:
    """Draw both lists.

    Raises:
        UpstreamError: the run's models cannot be asked.
    """
    stage, votes = escape.for_markdown(theme.stage_word(subject.stage)), subject.run.votes(subject.stage)
    if votes is None:
        st.info(f"The labels of {stage} come from no rules, so there is no vote to take back.", icon=":material/info:")
        return
    found = changes(subject)
    order_only.draw(amounts.lost(subject.run, subject.method, subject.stage))
    st.markdown(
        f"The labels of {stage} are averages of votes. What taking votes back is predicted to do to "
        f"{escape.for_markdown(subject.judged.words)}, to first order:",
        help="An example's label becomes the average of the votes that are left; one without any is left out.",
    )
    _rules(subject, votes, found)
    _votes(subject, votes, found)


def changes(subject: Subject) -> np.ndarray:
    """What taking each vote back would do to what is judged by, (V,), in the order of `Run.votes`.

    Raises:
        UpstreamError: the run's models cannot be asked.
    """
    run, judged = subject.run, subject.judged
    return answers.once(
        (run.manifest.checksum, "votes", judged.criterion, subject.stage),
        lambda: live.votes(live.opened(run), judged.criterion, subject.stage) * np.float32(judged.times),
    )


def _rules(subject: Subject, votes: pd.DataFrame, found: np.ndarray) -> None:
    table = rules(votes, found)
    unit = subject.unit(table["change"].to_numpy())
    off = [Alteration(SWITCH_OFF, subject.stage, NONE, rule) for rule in table["rule"]]
    shown = table.assign(rule=[escape.visible(rule) for rule in table["rule"]], change=table["change"] * unit.factor)
    shown["in basket"] = ["switched off" if each in subject.basket else "" for each in off]
    title = f"change if switched off, {unit.words}"
    widgets.heading("Rules", "each switched off everywhere")
    alt = "Rules ranked by what switching each off would do"
    picked = listing.ticked(shown.rename(columns={"change": title, "only": "the only vote"}), alt, "rules", (title,))
    listing.put(subject, picked, 1, lambda places: [off[place] for place in places], key="put_rules")


def rules(votes: pd.DataFrame, found: np.ndarray) -> pd.DataFrame:
    """`rule`, `votes`, `only` (examples on which no other votes) and `change` of each rule, what helps most first."""
    single = votes["example"].map(votes["example"].value_counts()) == 1
    grouped = votes.assign(change=found, only=single).groupby("rule", sort=False)
    table = grouped.agg(votes=("change", "size"), only=("only", "sum"), change=("change", "sum"))
    return table.sort_values("change", kind="stable").reset_index()


def _votes(subject: Subject, votes: pd.DataFrame, found: np.ndarray) -> None:
    listed = top(found, listing.LISTED_EXAMPLES, helpful=False)
    unit = subject.unit(found[listed])
    some = votes.iloc[listed]
    places = some["example"].to_numpy()
    columns = listing.shown(subject.examples.iloc[places])
    columns["rule"] = [escape.visible(rule) for rule in some["rule"]]
    columns["votes for"] = [theme.group_name(vote) for vote in some["vote"]]
    columns["other votes"] = others(votes, some)
    title = f"change if taken back, {unit.words}"
    columns[title] = found[listed] * unit.factor
    columns["in basket"] = listing.in_basket(subject, places)
    table = pd.DataFrame(columns)
    back = [
        Alteration(TAKE_BACK, subject.stage, int(subject.examples["id"].iloc[place]), rule)
        for place, rule in zip(places, some["rule"], strict=True)
    ]
    widgets.heading("Votes", "the most harmful first")
    picked = listing.ticked(table, "Votes ranked by what taking each back would do", "votes", (title,))
    with st.container(horizontal=True, gap="small"):
        listing.put(subject, picked, len(table), lambda places: [back[place] for place in places], key="put_votes")
        listing.download(table, "votes")


def others(votes: pd.DataFrame, some: pd.DataFrame) -> list[str]:
    """For each of some votes, what the other rules say of its example: class and how many, the most first."""
    on = {int(str(row)): group for row, group in votes[votes["example"].isin(some["example"])].groupby("example")}
    told = []
    for _, vote in some.iterrows():
        group = on[vote["example"]]
        counts = group["vote"][group["rule"] != vote["rule"]].value_counts()
        told.append(", ".join(f"{theme.group_name(name)} ({count})" for name, count in counts.items()) or "none")
    return told
