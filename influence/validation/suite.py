"""`validate`: run the checks one after the other within a time budget, and add their tables to the run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from influence.derivatives.modes import callers_modes_off
from influence.engine import Engine, engine_of
from influence.engine.choice import HERE
from influence.errors import RunError, TrainingError
from influence.progress import Progress
from influence.run.additions import add_tables
from influence.run.files import retrainings_locked
from influence.run.reading import Run
from influence.validation.ahead import measured, workers_of
from influence.validation.bench import Bench, bench_of
from influence.validation.check import Check, Finding
from influence.validation.checks import leave_one_out, noise, planted, removal, sanity, stability, strongest, subsets
from influence.validation.plan import WAYS, Plan, in_words, plan_of, sentences

CHECKS: dict[str, Check] = {
    module.CHECK.name: module.CHECK
    for module in (leave_one_out, subsets, strongest, noise, removal, sanity, stability, planted)
}
"""Name -> check, what tells most in least time first; sanity uses retrainings of the earlier ones."""
PROBED = 2
"""Checks of which one retraining is done before the plan: of few examples and of many, between which the others lie."""
COLUMNS = ("check", "start", "what", "value", "low", "high", "count", "words")


@callers_modes_off()
def validate(
    run: Run,
    *,
    checks: Sequence[str] = (),
    budget: float = 1800.0,
    stage: str | None = None,
    seed: int = 0,
    function: str | None = None,
    device: str = "cpu",
    engine: str | Engine = HERE,
    progress: bool = True,
) -> Run:
    """Check a run's scores against real retraining, and add the tables to the run.

    Retrainings of an earlier call are reused, so a second call with the same budget measures more.

    Args:
        run: a finished run.
        checks: names of `CHECKS`; default all.
        budget: seconds. What they will hold is told first. No retraining is begun that would end later.
        stage: name of the stage whose examples are left out; default the first (pretraining).
        seed: of all random choices.
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to train.
        engine: who trains again: "here", this process; "ray" or "ray://HOST:PORT", the workers of a Ray cluster (see
            `influence.engine.engine_of`); or an engine such as `OnRay(workers=8)`. With as many threads a worker as
            this process has, the tables are the same to the last byte.
        progress: show bars with time left.

    Returns:
        The run, read again.

    Raises:
        EngineError: no cluster answers, it has no room, or a worker has other versions, models or data.
        RunError: an unknown check, a budget in which none of them fits (the smallest that holds one is named), a run
            whose study cannot be made again, or one that is being written.
        StudyError, TrainingError: with what was given and what to do.
    """
    unknown = [name for name in checks if name not in CHECKS]
    if unknown:
        raise RunError(f"There is no check {unknown[0]!r}; choose of {', '.join(CHECKS)}.")
    if not 0 < budget < float("inf"):
        raise RunError(f"The budget is {budget!r} seconds, expected more than 0.")
    name = run.stage(stage or run.stages[0]).name
    chosen = [check for check in CHECKS.values() if not checks or check.name in checks]
    asked = engine_of(engine) if isinstance(engine, str) else engine
    with retrainings_locked(run.path), Progress(visible=progress) as bars:
        bench = bench_of(run, name, seed=seed, function=function, device=device)
        with workers_of(bench, asked, function, device, bars), bench.within(budget):
            plan = _plan(bench, chosen, budget, bars)
            for said in (_cost(bench), *sentences(bench, CHECKS, plan, bench.left)):
                bars.say(said)
            planned = [check for check in chosen if check.name in plan.least]
            with bars.step("the fewest retrainings of every check"):  # before any has more of them
                for check in planned:
                    with _warned(bench, check, bars):
                        _fewest(bench, check, plan, bars)
            plan = plan_of(bench, chosen, bench.left)  # by what they really took
            for check in (each for each in chosen if each in planned or each.name in plan.least):
                spare = plan.spare(CHECKS, check.name, bench.left)
                try:
                    with bars.step(check.asks), _warned(bench, check, bars):
                        # Those of sanity are known by now.
                        fits = _fewest(bench, check, plan_of(bench, [check], bench.left), bars)
                        bench.reserved = 0.0
                        with bench.within(spare if fits else 0.0):
                            table = measured(bench, check, bars)
                except TrainingError as error:  # the other checks may still succeed
                    bars.say(f"{check.name}: {error}")
                    continue
                if len(table):
                    run = add_tables(run, {check.name: table, "summary": _summary(run, check, table)})
                else:
                    bars.say(f"{check.name}: no time was left for it, or this run lacks what it compares with.")
    return run


@contextlib.contextmanager
def _warned(bench: Bench, check: Check, bars: Progress) -> Iterator[None]:
    """Tell what scores that a check computes within this context are warned of."""
    before = len(bench.warnings)
    yield
    for warning in bench.warnings[before:]:
        bars.say(f"{check.name}, of the scores that it compares with: {warning}")


def _fewest(bench: Bench, check: Check, plan: Plan, bars: Progress) -> bool:
    """Do the fewest pieces by which the check says something, whatever they take, within the budget.

    Where what they take is a guess, one is done first: the others only if they then still fit.

    Returns:
        Whether they fit.
    """
    bench.reserved = bench.left  # for the way of training by which scores are judged
    with contextlib.suppress(TrainingError):  # it is told when the check runs
        if check.name in plan.guessed:
            with bench.only(1):
                check.measure(bench)
            plan = plan_of(bench, [check], bench.left)
        if plan.pieces.get(check.name):
            with bench.only(plan.pieces[check.name]):
                measured(bench, check, bars)
    return check.name in plan.least


def _plan(bench: Bench, chosen: Sequence[Check], budget: float, bars: Progress) -> Plan:
    """What fits the budget, by the cost of one retraining of the first checks, which they need in any case.

    Raises:
        RunError: not one check fits; of retrainings whose cost is known beforehand, before the first one.
    """
    plan = _refused_if_empty(plan_of(bench, chosen, bench.left), budget)
    retraining = [check for check in chosen if check.fewest > 1 and check.name in plan.least]
    with bars.step("one retraining of each kind, to know the cost"):
        for check in retraining[:PROBED]:
            if check.name in plan.least:
                bench.outcome(None, bench.starts[0])
                with contextlib.suppress(TrainingError), bench.only(1):  # it is told when the check runs
                    check.measure(bench)
                plan = plan_of(bench, chosen, bench.left)
    return _refused_if_empty(plan, budget)


def _refused_if_empty(plan: Plan, budget: float) -> Plan:
    if plan.missing and not any(CHECKS[name].fewest for name in plan.least):
        name, least = min(plan.missing.items(), key=lambda pair: pair[1])
        if not least:
            raise RunError(
                f"A budget of {budget:.2g} s ends before the first retraining, whose cost is not known yet; give 1m."
            )
        raise RunError(
            f"Not even one check fits a budget of {in_words(budget)}. The smallest that holds one ({name}) is about "
            f"{in_words(least)}: --budget {math.ceil(least)}s."
        )
    return plan


def findings_table(run: Run) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The findings of a run's checks as a table: its columns, and its rows."""
    summary = run.validation("summary")
    found = [] if summary is None else summary.drop_duplicates(["check", "start", "words"]).to_dict("records")
    rows: list[tuple[str, ...]] = []
    for row in found:
        between = "" if np.isnan(row["low"]) else f"{row['low']:.3g} to {row['high']:.3g}"
        trained = {"solution": "on", "scratch": "from scratch"}.get(row["start"], "")
        rows.append((str(row["check"]), trained, str(row["words"]), f"{row['value']:.3g}", between))
    return ("check", "trained", "what was found", "value", "95 % interval"), rows


def _cost(bench: Bench) -> str:
    """The cost of a retraining in words, before many of them."""
    once = [f"{WAYS[start]} about {in_words(bench.dearest(start))}" for start in bench.starts if bench.dearest(start)]
    said = f"Retraining once takes {', '.join(once)}" if once else "Retrained before: no need to again"
    return f"{said}. Of the budget {in_words(bench.left)} are left; what is finished is kept in {bench.pieces.folder}."


def _summary(run: Run, check: Check, table: pd.DataFrame) -> pd.DataFrame:
    """The run's summary, with the findings of one check replaced."""
    rows = [{"check": check.name, **_as_row(finding)} for finding in check.findings(table)]
    new = pd.DataFrame(rows, columns=COLUMNS).astype(
        {"value": np.float32, "low": np.float32, "high": np.float32, "count": np.int32}
    )
    old = run.validation("summary")
    if old is None:
        return new
    return pd.concat([old[old["check"] != check.name], new], ignore_index=True)


def _as_row(finding: Finding) -> dict[str, object]:
    return vars(finding)
