"""The review queue: one example of a list after the other, large, to be kept, relabelled or dropped by a key."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import streamlit as st

from explorer import components
from explorer.export import notes
from explorer.jobs import live
from explorer.panels.lists import note
from explorer.panels.prediction import large
from explorer.panels.repair import answers
from explorer.panels.repair.subject import Subject
from explorer.runs import queries, slices
from explorer.ui import escape, state, theme, widgets
from explorer.view import edits
from influence.errors import RunError, UpstreamError
from influence.live import LEAVE_OUT, RELABEL, Alteration

KEEP, LABEL, DROP, NEXT = "k", "r", "d", "n"
"""Keys, and what they decide."""
KEYS = "review_keys"
"""Of the component that listens to them."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Other labels of an example, the best first, and what each would do to what is judged by; or why nobody knows."""

    names: tuple[str, ...]
    changes: tuple[float, ...] = ()
    problem: str = ""


def asked(subject: Subject, listed: np.ndarray) -> bool:
    """Whether examples are reviewed one by one."""
    return state.clicked(state.REVIEW) is not None and len(listed) > 0


def button(subject: Subject, listed: np.ndarray) -> None:
    """Draw the way into the queue, to the first example that nothing is decided about."""
    st.button(
        "Review one by one",
        key="review",
        icon=":material/fact_check:",
        on_click=lambda: state.click(state.REVIEW, _id(subject, _first_open(subject, listed))),
        disabled=not len(listed),
        help="Each example large, with keys: K keep, R relabel, D drop, N next.",
    )


def draw(subject: Subject, listed: np.ndarray, scores: np.ndarray) -> None:
    """Draw the example that the URL names, and what can be decided about it; `scores` are of leaving examples out."""
    row = _chosen(subject, listed)
    place, decided = listed.tolist().index(row), [bool(decision(subject, each)) for each in listed.tolist()]
    _head(subject, place, decided)
    with st.container(key="reviewed"):
        left, right = st.columns([30, 70], gap="large")
    with left:
        st.html(large.html(subject.examples.iloc[row]))
    with right:
        labels = other_labels(subject, row)
        st.html(facts_html(subject, row, float(scores[row]), labels))
        label = _label(subject, row, labels)
        _buttons(subject, listed, row, label)
        note.draw(subject.run, subject.stage, subject.examples.iloc[row], "review")
    components.keys(
        key=KEYS,
        data={
            "keys": [KEEP, LABEL, DROP, NEXT] if label else [KEEP, DROP, NEXT],
            "of": _id(subject, row),
            "turn": st.session_state.get(state.PRESSED, 0),
        },
        on_pressed_change=lambda: _pressed(subject, listed, labels),
    )


def _head(subject: Subject, place: int, decided: Sequence[bool]) -> None:
    count = len(decided)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        widgets.heading(f"{place + 1} of {count}", f"{sum(decided)} decided", width="content")
        st.button(
            "Back to the list", key="review_end", on_click=state.click, args=(state.REVIEW, None), type="tertiary"
        )
    st.progress(sum(decided) / count)
    if all(decided):
        st.caption("All of this list are decided. What was dropped or relabelled is in the basket below.")


def other_labels(subject: Subject, row: int) -> Labels:
    """The other labels of the example at `row`; none where the stage has no classes."""
    own, classes = str(subject.examples["label"].iloc[row]), [str(c) for c in subject.run.stage(subject.stage).classes]
    others = [name for name in classes if name != own]
    if not others:
        return Labels(())
    run, judged = subject.run, subject.judged
    try:
        found = answers.once(
            (run.manifest.checksum, "labels of", judged.criterion, subject.stage, row),
            lambda: live.labels(live.opened(run), judged.criterion, subject.stage, [row])[0] * float(judged.times),
        )
    except UpstreamError as error:
        said = subject.examples.iloc[row].get("prediction")
        names = sorted(others, key=lambda name: name != said)  # its own model's word for it, first
        return Labels(tuple(names), problem=f"What a label would do is not known. {error}")
    order = sorted(others, key=lambda name: float(found[classes.index(name)]))
    return Labels(tuple(order), tuple(float(found[classes.index(name)]) for name in order))


def facts_html(subject: Subject, row: int, score: float, labels: Labels) -> str:
    """What speaks for and against the example, as HTML with everything from data escaped."""
    example = subject.examples.iloc[row]
    unit = subject.unit(np.array([score, *labels.changes]))
    known = [("Label", theme.group_name(example["label"]))]
    if "prediction" in example:
        mark = theme.RIGHT if example["prediction"] == example["label"] else theme.WRONG
        known.append(("Its own model said", f"{theme.group_name(example['prediction'])} {mark}"))
    known.append(("Left out", f"{subject.judged.words} is predicted to {theme.change_words(score, unit)}"))
    if labels.changes:
        best = f"with the label {theme.group_name(labels.names[0])} it is predicted to"
        known.append(("Relabelled", f"{best} {theme.change_words(labels.changes[0], unit)}"))
    reasons = slices.reasons(subject.examples, np.array([row]))[0]
    known += [("Reasons", reasons)] if reasons else []
    known += [("Decided", said)] if (said := decision(subject, row)) else []
    lines = "".join(f"<dt>{escape.for_html(a)}</dt><dd><bdi>{escape.for_html(b)}</bdi></dd>" for a, b in known)
    return f'<div class="up-prediction" aria-live="polite"><dl>{lines}</dl></div>'


def _label(subject: Subject, row: int, labels: Labels) -> str:
    """Draw the choice of another label; "" where there is none."""
    if labels.problem:
        st.caption(escape.message(labels.problem))
    if not labels.names:
        return ""
    unit = subject.unit(np.array(labels.changes or (0.0,)))
    told = dict(zip(labels.names, labels.changes, strict=False))
    return st.selectbox(
        "Label to give it",
        labels.names,
        key=_label_key(subject, row),
        width=320,
        format_func=lambda name: (
            f"{theme.group_name(name)}  {theme.moved(told[name], unit) if name in told else ''}".rstrip()
        ),
        help="The best first. ↓: what is judged by falls. Once it is chosen, R relabels.",
    )


def _buttons(subject: Subject, listed: np.ndarray, row: int, label: str) -> None:
    named = escape.for_markdown(theme.group_name(label))
    offered = [
        (KEEP, "Keep", "It is right: it gets the tag “correct”"),
        (LABEL, f"Relabel as {named}", "Give it this label"),
        (DROP, "Drop", "Leave it out"),
        (NEXT, "Next", "Decide nothing"),
    ]
    with st.container(horizontal=True, gap="small", key="review_buttons"):
        for key, words, about in offered:
            if key == LABEL and not label:
                continue
            st.button(
                f"{words} ({key.upper()})",
                key=f"review_{key}",
                help=about,
                on_click=decide,
                args=(subject, listed, row, key, label),
            )


def _pressed(subject: Subject, listed: np.ndarray, labels: Labels) -> None:
    st.session_state[state.PRESSED] = st.session_state.get(state.PRESSED, 0) + 1
    event = components.event(KEYS, "pressed")
    row = queries.position_by_id(subject.examples, str(event["of"]))
    if row is None or row not in listed:
        return
    usual = labels.names[0] if labels.names else ""
    decide(subject, listed, row, str(event["key"]), st.session_state.get(_label_key(subject, row), usual))


def decide(subject: Subject, listed: np.ndarray, row: int, key: str, label: str) -> None:
    """Decide about the example at `row`, and go on to the next; for use in a callback."""
    number = _id(subject, row)
    if key == KEEP:
        edits.keep(subject.run, [each for each in subject.basket if each not in subject.changes(row)])
        _tag(subject, number)
    elif key == DROP:
        edits.put(subject.run, [Alteration(LEAVE_OUT, subject.stage, number)])
    elif key == LABEL and label:
        edits.put(subject.run, [Alteration(RELABEL, subject.stage, number, label)])
    rows = listed.tolist()
    state.click(state.REVIEW, _id(subject, rows[(rows.index(row) + 1) % len(rows)]))


def decision(subject: Subject, row: int) -> str:
    """What was decided about an example, in words, unescaped; "": nothing yet."""
    made = subject.changes(row)
    if made:
        return "; ".join(edits.change(each) for each in made)
    found = _notes(subject).get(_id(subject, row))
    return "kept" if found is not None and notes.CORRECT in found.tags else ""


def _tag(subject: Subject, number: int) -> None:
    """Tag an example as correct, beside what was noted of it before."""
    before = _notes(subject).get(number) or notes.Note(subject.stage, number)
    if notes.CORRECT in before.tags:
        return
    tags = tuple(tag for tag in before.tags if tag != notes.MISLABELLED)
    try:
        notes.write(
            subject.run, dataclasses.replace(before, tags=(*tags, notes.CORRECT), view=before.view or state.here())
        )
    except RunError as error:
        state.notice(escape.message(error))


def _notes(subject: Subject) -> dict[int, notes.Note]:
    return note.of(subject.run).of(subject.stage)


def _chosen(subject: Subject, listed: np.ndarray) -> int:
    def row_of(text: str) -> int | None:
        row = queries.position_by_id(subject.examples, text)
        return row if row is not None and row in listed else None

    found = state.parsed(
        state.REVIEW,
        row_of,
        lambda text: f"Example “{text}” is not in this list; the review goes on with the first that is not decided.",
    )
    return _first_open(subject, listed) if found is None else found


def _first_open(subject: Subject, listed: np.ndarray) -> int:
    rows: list[int] = listed.tolist()
    return next((row for row in rows if not decision(subject, row)), rows[0])


def _id(subject: Subject, row: int) -> int:
    return int(subject.examples["id"].iloc[row])


def _label_key(subject: Subject, row: int) -> str:
    return f"review_label-{subject.stage}-{_id(subject, row)}"
