"""The two sides of a comparison: each one's run, prediction, method and target, and the controls that change them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import streamlit as st

from explorer import comparison, matching, pictures, plain, queries, runs, splits, state, switching
from explorer.panels import explain, prediction, target
from influence.errors import RunError
from influence.live import Target
from influence.run import Run

TRUE, PREDICTED, MARGIN = "true", "predicted", "margin"
EXPLAINS = {TRUE: "True class", PREDICTED: "Predicted class", MARGIN: "Margin"}
EXPLAINS_HELP = (
    "True class: its loss, as the run has it. Predicted class: the loss of what the model said. Margin: the loss of "
    "what it said minus that of the true class, or, where it was right, of the likeliest other one. The first choice "
    "other than the run's own takes some seconds."
)
LIKELIEST = 3
"""Probabilities that are drawn of either prediction."""


@dataclasses.dataclass(frozen=True)
class Keys:
    """What a side is called, and where the URL has it."""

    name: str
    run: str
    query: str
    method: str
    explained: str


A = Keys("A", state.RUN, state.QUERY, state.METHOD, state.EXPLAINED)
B = Keys("B", state.RUN_B, state.QUERY_B, state.METHOD_B, state.EXPLAINED_B)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What one side is set to."""

    run: Run
    position: int
    method: str
    explained: str

    @property
    def query(self) -> pd.Series:
        return self.run.queries().iloc[self.position]


def first(run: Run, stage: str) -> Choice:
    """Side A: the page's run, and the prediction that all pages look at."""
    position = _position(run, A)
    return Choice(
        run,
        queries.opening(run.queries()) if position is None else position,
        _method(run, stage, A) or run.methods(stage)[0],
        _explained(run, A),
    )


def second(a: Choice, stage: str, names: Sequence[str]) -> Choice:
    """Side B: what the URL names, and for the rest whatever differs from A in one thing.

    Another finetuned model of A's study if there is one, else another method, else another prediction.

    Raises:
        RunError: B's run cannot be opened.
    """
    run = _second_run(a, stage, names)
    methods = run.methods(stage) if stage in run.stages else []
    others = [method for method in methods if run.name != a.run.name or method != a.method]
    method = _method(run, stage, B) or (a.method if a.method in others else next(iter(others or methods), ""))
    explained = _explained(run, B)
    wanted = Choice(run, -1, method, explained)
    position = _position(run, B)
    return dataclasses.replace(wanted, position=usual(a, wanted) if position is None else position)


def usual(a: Choice, b: Choice) -> int:
    """Row of B's prediction as long as the URL names none: A's own, or another if B differs in nothing else."""
    if (b.run.name, b.method, b.explained) == (a.run.name, a.method, a.explained):
        return queries.another(b.run.queries(), a.position)
    return opposite(a, b.run)


def opposite(a: Choice, run: Run) -> int:
    """A's prediction in another run; the one that the run opens on if it does not have it."""
    found = matching.match(a.run, run, matching.QUERIES).row(a.position)
    return queries.opening(run.queries()) if found is None else found


def target_of(choice: Choice) -> Target | None:
    """What is explained; None where the run's own scores are what is asked for."""
    said, true = str(choice.query["prediction"]), str(choice.query["label"])
    if choice.explained == PREDICTED and said != true:
        return Target(said)
    if choice.explained == MARGIN:
        return Target(said, true if said != true else runner_up(choice))
    return None


def runner_up(choice: Choice) -> str | None:
    """The likeliest class beside the predicted one."""
    classes, values = choice.run.stage(choice.run.stages[-1])["classes"], choice.query.get("probabilities")
    said = str(choice.query["prediction"])
    if values is None or len(values) != len(classes):
        return next((str(name) for name in classes if name != said), None)
    ordered = sorted(zip(values, classes, strict=True), key=lambda pair: -pair[0])
    return next((str(name) for _, name in ordered if name != said), None)


def side(choice: Choice, stage: str) -> comparison.Side:
    """The side with its scores, one row read from disk; or computed live where something else is explained.

    Raises:
        RunError: the scores cannot be read.
    """
    asked = target_of(choice)
    scores = explain.scores(choice.run, choice.position, stage, asked)
    if scores is None:
        asked, scores = None, runs.row(choice.run, stage, choice.method, choice.position)
    return comparison.Side(choice.run, choice.position, stage, choice.method, asked, scores)


def controls(keys: Keys, choice: Choice, stage: str, names: Sequence[str], usual: int | None = None) -> None:
    """Draw what changes a side; `usual` is the row that B has as long as the URL names none."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key=f"side_{keys.name}"):
        st.html(f'<span class="up-side">{keys.name}</span>', width="content")
        _select(keys, "Run", list(names), choice.run.name, keys.run, 176, "Whose answer this is.")
        methods = choice.run.methods(stage) if stage in choice.run.stages else []
        if len(methods) > 1:
            _select(keys, "Method", methods, choice.method, keys.method, 128, "How its scores were computed.")
        if _can_be_asked(choice.run):
            _select(keys, "Explain", list(EXPLAINS), choice.explained, keys.explained, 168, EXPLAINS_HELP, EXPLAINS)
    _steps(keys, choice, usual)


def draw(choice: Choice) -> None:
    """The side's prediction."""
    text, tokens = pictures.text(choice.query), splits.Splits(choice.run, matching.QUERIES)
    read = None if text is None else tokens.read(choice.position, text)
    for problem in tokens.problems:
        state.notice(splits.problem_text(problem))
    classes = [str(name) for name in choice.run.stage(choice.run.stages[-1])["classes"]]
    st.html(prediction.prediction_html(choice.query, classes, read, LIKELIEST))
    asked = target_of(choice)
    if asked is not None:
        st.caption(f"Explained: {plain.for_markdown(target.words(asked))}.")


def swap(a: Choice, b: Choice) -> None:
    """A becomes B and B becomes A; for use in a callback."""
    st.session_state[state.RUN] = b.run.name
    for keys, choice in ((A, b), (B, a)):
        if keys is B:
            state.click(keys.run, choice.run.name)
        state.click(keys.query, choice.query["id"])
        state.click(keys.method, choice.method)
        state.click(keys.explained, None if choice.explained == TRUE else choice.explained)


def _second_run(a: Choice, stage: str, names: Sequence[str]) -> Run:
    wanted = state.clicked(state.RUN_B)
    if wanted is not None and wanted in names:
        return runs.open_run(state.runs_folder() / wanted)
    if wanted is not None:
        state.notice(f"The link names run “{plain.for_markdown(wanted)}” for B, which cannot be opened here.")
        state.click(state.RUN_B, None)
    return next((run for run in _siblings(a.run) if matching.refusal(a.run, run, stage) is None), a.run)


def _siblings(run: Run) -> Iterator[Run]:
    """The other finetuned models of a run's study, opened one after the other."""
    root = state.runs_folder()
    for other in matching.siblings(runs.manifests(root), run):
        if other.name == run.name:
            continue
        try:
            yield runs.open_run(root / other.name)
        except RunError:
            # Nobody asked for it, and the list of runs says what is wrong with it.
            continue


def _position(run: Run, keys: Keys) -> int | None:
    """Row of the prediction that the URL names for a side; None if it names none that the run has."""
    wanted = state.clicked(keys.query)
    position = queries.position_by_id(run.queries(), wanted) if wanted else None
    if wanted and position is None:
        state.notice(f"{plain.for_markdown(run.name)} has no prediction with id “{plain.for_markdown(wanted)}”.")
        state.click(keys.query, None)
    return position


def _method(run: Run, stage: str, keys: Keys) -> str | None:
    return _one_of(run.methods(stage) if stage in run.stages else [], keys.method, run)


def _explained(run: Run, keys: Keys) -> str:
    return _one_of(list(EXPLAINS) if _can_be_asked(run) else [TRUE], keys.explained, run) or TRUE


def _one_of(values: Sequence[str], key: str, run: Run) -> str | None:
    wanted = state.clicked(key)
    if wanted is None or wanted in values:
        return wanted
    state.notice(
        f"{plain.for_markdown(run.name)} has no {key.removesuffix('_b')} “{plain.for_markdown(wanted)}”; "
        "the usual one is taken."
    )
    state.click(key, None)
    return None


def _can_be_asked(run: Run) -> bool:
    """Whether the run says how its study is made again, so that something else may be explained live."""
    return bool(run.manifest.get("asked"))


def _select(
    keys: Keys,
    label: str,
    options: list[str],
    value: str,
    url: str,
    width: int,
    about: str,
    words: Mapping[str, str] | None = None,
) -> None:
    key = f"choose_{label.lower()}_{keys.name}"

    def choose() -> None:
        chosen = st.session_state[key]
        if url == state.RUN:
            switching.to(chosen)
        else:
            state.click(url, chosen)

    # The widget follows the URL, which other widgets and the back button change too.
    st.session_state[key] = value
    st.selectbox(
        label, options, key=key, on_change=choose, width=width, help=about,
        format_func=lambda name: plain.visible((words or {}).get(name, name)),
    )  # fmt: skip


def _steps(keys: Keys, choice: Choice, usual: int | None) -> None:
    table = choice.run.queries()

    def go(position: int) -> None:
        state.click(keys.query, None if position == usual else table["id"].iloc[position])

    def find() -> None:
        wanted = " ".join(st.session_state[f"find_{keys.name}"].split())[:100]
        found = queries.found(table, wanted, choice.position)
        if found is not None:
            go(found)
        elif wanted:
            state.notice(f"No prediction has “{plain.for_markdown(wanted)}”; nothing was changed.")

    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key=f"steps_{keys.name}"):
        # Arrow keys step through A; where B is the same prediction of another model, it comes along.
        for step, arrow, name in ((-1, "left", "Previous"), (1, "right", "Next")):
            st.button(
                "", icon=f":material/chevron_{arrow}:", key=f"{name.lower()}_{keys.name}", on_click=go,
                args=(choice.position + step,), disabled=not 0 <= choice.position + step < len(table),
                shortcut=arrow if keys is A else None, help=f"{name} prediction",
            )  # fmt: skip
        st.markdown(f"{choice.position + 1:,} of {len(table):,}", width="content")
        st.session_state[f"find_{keys.name}"] = str(choice.query["id"])
        st.text_input(
            "Prediction", key=f"find_{keys.name}", width=112, on_change=find, label_visibility="collapsed",
            help="Go to a prediction by its id" + (", or to the next that holds words" if "text" in table else ""),
        )  # fmt: skip
