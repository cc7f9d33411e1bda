"""`upstream studies`, `upstream methods`, `upstream runs`: what there is."""

from __future__ import annotations

import influence.run
from influence.cli.console import say, say_table
from influence.cli.options import DEFAULT_RUNS, Runs
from influence.curvature import cards as method_cards
from influence.errors import printable
from influence.studies import cards as study_cards


def studies() -> None:
    """List the built-in studies."""
    rows = [
        (card.name, card.summary, ", ".join(f"{card.name}-{variant}" for variant in card.variants))
        for card in study_cards.CARDS.values()
    ]
    say_table(("study", "what it is", "runs"), rows)


def methods() -> None:
    """List the methods with their cost and when to use which."""
    rows = [(card.name, card.summary, card.cost, card.advice) for card in method_cards.CARDS]
    say_table(("method", "what it computes", "cost", "when to use it"), rows, padding=(0, 2, 1, 0))


def runs(runs: Runs = DEFAULT_RUNS) -> None:
    """List the runs of a folder."""
    found = influence.run.runs_in(runs)
    if not found:
        say(f"No runs in {runs}. `upstream demo` makes the first.")
        return
    rows = []
    for folder, run in found:
        if isinstance(run, influence.run.Run):
            accuracy = run.manifest.stages[-1].test_accuracy
            correct = "" if accuracy is None else f"{accuracy:.1%}"
            created = run.manifest.created[:16].replace("T", " ")
            rows.append((folder.name + _state(run), run.manifest.title, correct, created))
        else:
            rows.append((printable(folder.name), str(run), "", ""))
    say_table(("run", "what it is", "queries correct", "created"), rows)


def _state(run: influence.run.Run) -> str:
    """What a run that lacks something waits for."""
    if not run.pending:
        return ""
    return " (being computed)" if influence.run.is_held(run.path) else " (not complete: the same command goes on)"
