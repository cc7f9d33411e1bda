"""The basket: the edits of the training data that a visitor has set aside, as the URL keeps them.

`3,7,23-as-2,in-finetune,501-by-1` leaves examples 3 and 7 of the first stage out, gives its example 23 the label 2, and
counts example 501 of the finetuning stage twice. There are also `40-mask-8.8.7.7` (left, top, width, height),
`12-strike-word`, `12-back-rule`, by which a rule takes its vote on example 12 back, `off-rule`, by which it takes back
all its votes, `add-7`, which adds the run's prediction 7, and `add-file-DIGEST`, which adds an uploaded file. In names
and words a comma is `%2C`, a percent sign `%25`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from explorer.runs import queries
from explorer.ui import escape, state, theme
from explorer.view import pools
from influence.live import (
    ADD,
    LEAVE_OUT,
    MASK,
    NONE,
    RELABEL,
    SEVERAL,
    STRIKE,
    SWITCH_OFF,
    TAKE_BACK,
    UPWEIGHT,
    Alteration,
)
from influence.run import Run

LARGEST_BASKET = 200
"""Edits that a basket holds at most: more would not fit in a link."""
LONGEST_BASKET = 4000
"""Characters that they take in a link, together."""
KINDS = {"as": RELABEL, "by": UPWEIGHT, "mask": MASK, "strike": STRIKE, "back": TAKE_BACK}
"""Kinds as the URL writes them."""
_STAGE, _ADD, _FILE, _OFF = "in-", "add-", "add-file-", "off-"
_EDIT = re.compile(rf"(-?\d+)(?:-({'|'.join(KINDS)})-(.+))?", re.DOTALL)
_TOLD = 5
"""Words of a bad link that are told."""


def parse(text: str | None, run: Run) -> tuple[list[Alteration], list[str]]:
    """The edits that the URL names, and notices, as markdown, of what in it is none of this run's."""
    found: list[Alteration] = []
    unknown: list[str] = []
    stage = run.stages[0]
    words = [word for word in (text or "").split(",") if word]
    for word in words[:LARGEST_BASKET]:
        if word.startswith(_STAGE):
            stage = unquote(word.removeprefix(_STAGE))
            if stage not in run.stages:
                unknown.append(word)
            continue
        edit = _parsed(word, run, stage) if stage in run.stages else None
        if edit is None:
            unknown.append(word)
        else:
            found.append(edit)
    notices = []
    if unknown:
        told = ", ".join(f"“{escape.for_markdown(escape.beginning(unquote(word), 60))}”" for word in unknown[:_TOLD])
        more = f" and {len(unknown) - _TOLD} more" if len(unknown) > _TOLD else ""
        notices.append(f"What the basket of this link names is no edit of this run's examples: {told}{more}; left out.")
    if len(words) > LARGEST_BASKET:
        notices.append(f"The basket of this link holds more than {LARGEST_BASKET} edits; the first are taken.")
    kept, replaced = merged([], found)
    return kept, notices + [_twice(replaced)] * bool(replaced)


def text_of(alterations: Iterable[Alteration], run: Run) -> str | None:
    """A basket for the URL; None if it is empty.

    Raises:
        ValueError: it holds more than LARGEST_BASKET edits, or takes more than LONGEST_BASKET characters.
    """
    found, stage = [], run.stages[0]
    edits = sorted(dict.fromkeys(alterations), key=lambda each: run.stages.index(each.stage))
    for edit in edits:
        if edit.stage != stage:
            stage = edit.stage
            found.append(_STAGE + _quoted(stage))
        found.append(_written(edit))
    text = ",".join(found)
    if len(edits) > LARGEST_BASKET:
        raise ValueError(f"A basket holds at most {LARGEST_BASKET} edits, not {len(edits)}.")
    if len(text) > LONGEST_BASKET:
        raise ValueError(f"These edits take {len(text):,} characters in a link, at most {LONGEST_BASKET:,} fit.")
    return text or None


def merged(alterations: Sequence[Alteration], more: Iterable[Alteration]) -> tuple[list[Alteration], list[Alteration]]:
    """A basket with more edits, and those that are no longer in it: of one example the later edit replaces the earlier.

    Of one text several words may be struck, of one example several votes taken back.
    """
    kept, replaced = list(dict.fromkeys(alterations)), list[Alteration]()
    for edit in more:
        rivals = [each for each in kept if _rivals(each, edit)]
        replaced += rivals
        kept = [each for each in kept if each not in rivals]
        kept += [edit] * (edit not in kept)
    return kept, replaced


def basket(run: Run) -> list[Alteration]:
    """The edits in the URL; what it holds besides is told on the page."""
    found, notices = parse(state.clicked(state.BASKET), run)
    for notice in notices:
        state.notice(notice)
    return found


def words(edit: Alteration, run: Run) -> str:
    """An edit in a few words, unescaped but for what cannot be seen: its example, label and change."""
    of = "" if edit.stage == run.stages[0] else f" ({escape.visible(theme.stage_word(edit.stage))})"
    if edit.kind == ADD and edit.value:
        return f"{escape.visible(Path(edit.value[0]).name)} added{of}"
    if edit.kind == SWITCH_OFF:
        return f"{change(edit)}{of}"
    table = run.queries() if edit.kind == ADD else run.examples(edit.stage)
    row = queries.position_by_id(table, str(edit.id))
    label = "" if row is None else f" {theme.group_name(table['label'].iloc[row])}"
    return f"{'prediction ' * (edit.kind == ADD)}#{edit.id}:{label} {change(edit)}{of}"


def change(edit: Alteration) -> str:
    """What an edit changes of its example, unescaped but for what cannot be seen."""
    if edit.kind == RELABEL:
        return f"→ {theme.group_name(edit.value)}"
    if edit.kind == UPWEIGHT:
        return "counted twice" if edit.value == 1 else f"with weight {1 + edit.value:g}"
    if edit.kind == MASK:
        return "blank at {}, {} ({} by {})".format(*edit.value)
    if edit.kind == STRIKE:
        return f"without “{escape.beginning(edit.value, 40)}”"
    if edit.kind == TAKE_BACK:
        return f"without the vote of “{escape.beginning(edit.value, 40)}”"
    if edit.kind == SWITCH_OFF:
        return f"rule “{escape.beginning(edit.value, 40)}” switched off"
    return "added" if edit.kind == ADD else "left out"


def left_out(alterations: Iterable[Alteration], run: Run, stage: str) -> list[int]:
    """Rows of the stage's examples that are left out."""
    rows = (
        queries.position_by_id(run.examples(stage), str(each.id))
        for each in alterations
        if each.kind == LEAVE_OUT and each.stage == stage
    )
    return [row for row in rows if row is not None]


def put(run: Run, more: Iterable[Alteration]) -> None:
    """Put edits into the basket; for use in a callback. An edit that had to go, or a full basket, is told."""
    found, replaced = merged(parse(state.clicked(state.BASKET), run)[0], more)
    if _kept(run, found) and replaced:
        state.notice(_twice(replaced))


def keep(run: Run, alterations: Iterable[Alteration]) -> None:
    """Keep exactly these edits in the basket, none of them twice; for use in a callback."""
    _kept(run, alterations)


def take(run: Run, alteration: Alteration) -> None:
    """Take an edit out of the basket; for use in a callback."""
    _kept(run, [each for each in parse(state.clicked(state.BASKET), run)[0] if each != alteration])


def _kept(run: Run, alterations: Iterable[Alteration]) -> bool:
    try:
        state.click(state.BASKET, text_of(alterations, run))
    except ValueError as error:
        state.notice(escape.message(error))
        return False
    return True


def _twice(replaced: Sequence[Alteration]) -> str:
    ids = ", ".join(f"#{each.id}" for each in replaced[:_TOLD]) + (" …" if len(replaced) > _TOLD else "")
    return escape.for_markdown(f"{ids} had another edit already; of an example the later one holds.")


def _rivals(one: Alteration, other: Alteration) -> bool:
    same = one.stage == other.stage and one.id == other.id and one != other
    both = one.kind, other.kind
    return same and ADD not in both and SWITCH_OFF not in both and not (one.kind == other.kind and one.kind in SEVERAL)


def _parsed(word: str, run: Run, stage: str) -> Alteration | None:
    if word.startswith(_FILE):
        return pools.added(stage, word.removeprefix(_FILE))
    if word.startswith(_OFF):
        rule = unquote(word.removeprefix(_OFF))
        return Alteration(SWITCH_OFF, stage, NONE, rule) if rule in _rules(run, stage) else None
    if word.startswith(_ADD):
        row = queries.position_by_id(run.queries(), word.removeprefix(_ADD))
        return (
            None
            if row is None or stage != run.stages[-1]
            else Alteration(ADD, stage, int(run.queries()["id"].iloc[row]))
        )
    matched, table = _EDIT.fullmatch(word), run.examples(stage)
    row = queries.position_by_id(table, matched[1]) if matched else None
    if matched is None or row is None:
        return None
    number, short, value = int(matched[1]), matched[2], unquote(matched[3] or "")
    if short is None:
        return Alteration(LEAVE_OUT, stage, number)
    read = _READERS[KINDS[short]](value, run, stage, table.iloc[row])
    return None if read is None else Alteration(KINDS[short], stage, number, read)


def _class(value: str, run: Run, stage: str, example: pd.Series) -> str | None:
    own = str(example["label"]) if run.votes(stage) is None else None  # of an average of votes any class is another
    return value if value in map(str, run.stage(stage).classes) and value != own else None


def _change(value: str, *_: object) -> float | None:
    try:
        by = float(value)
    except ValueError:
        return None
    return by if -1 <= by < math.inf and by != 0 else None


def _box(value: str, run: Run, stage: str, example: pd.Series) -> tuple[int, ...] | None:
    found = re.fullmatch(r"(\d{1,5})\.(\d{1,5})\.([1-9]\d{0,4})\.([1-9]\d{0,4})", value, re.ASCII)
    return tuple(map(int, found.groups())) if found and "image" in example else None


def _word(value: str, run: Run, stage: str, example: pd.Series) -> str | None:
    text = example.get("text")
    return value if isinstance(text, str) and value.strip() and value.split()[0].lower() in text.lower() else None


def _rule(value: str, run: Run, stage: str, example: pd.Series) -> str | None:
    return value if value in _rules(run, stage, int(example["id"])) else None


def _rules(run: Run, stage: str, example: int | None = None) -> set[str]:
    """Rules that vote on an example by its id, or on any of the stage."""
    votes = run.votes(stage)
    if votes is None:
        return set()
    if example is not None:
        votes = votes[votes["example"] == queries.position_by_id(run.examples(stage), str(example))]
    return set(votes["rule"])


_READERS: dict[str, Callable[[str, Run, str, pd.Series], Any]] = {
    RELABEL: _class,
    UPWEIGHT: _change,
    MASK: _box,
    STRIKE: _word,
    TAKE_BACK: _rule,
}


def _written(edit: Alteration) -> str:
    if edit.kind == ADD and edit.value:
        return f"{_FILE}{edit.value[1]}"
    if edit.kind == SWITCH_OFF:
        return f"{_OFF}{_quoted(edit.value)}"
    if edit.kind in (LEAVE_OUT, ADD):
        return f"{_ADD * (edit.kind == ADD)}{edit.id}"
    short = next(short for short, kind in KINDS.items() if kind == edit.kind)
    writers: dict[str, Callable[[Any], str]] = {UPWEIGHT: "{:.9g}".format, MASK: lambda box: ".".join(map(str, box))}
    return f"{edit.id}-{short}-{writers.get(edit.kind, _quoted)(edit.value)}"


def _quoted(text: str) -> str:
    return text.replace("%", "%25").replace(",", "%2C")
