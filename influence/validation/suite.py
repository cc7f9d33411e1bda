"""`validate`: run the checks one after the other within a time budget, and add their tables to the run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from influence.derivatives.modes import callers_modes_off
from influence.errors import RunError, TrainingError
from influence.progress import Progress
from influence.run.additions import add_tables
from influence.run.files import retrainings_locked
from influence.run.reading import Run
from influence.validation.bench import Bench, bench_of
from influence.validation.check import Check, Finding
from influence.validation.checks import leave_one_out, noise, planted, removal, sanity, stability, subsets

CHECKS: dict[str, Check] = {
    module.CHECK.name: module.CHECK for module in (noise, leave_one_out, subsets, removal, stability, planted, sanity)
}
"""Name -> check, in the order in which they run; sanity uses retrainings of the earlier ones."""
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
    progress: bool = True,
) -> Run:
    """Check a run's scores against real retraining, and add the tables to the run.

    Retrainings of an earlier call are reused, so a second call with the same budget measures more.

    Args:
        run: a finished run.
        checks: names of `CHECKS`; default all.
        budget: seconds. No retraining is begun that would end later.
        stage: name of the stage whose examples are left out; default the first (pretraining).
        seed: of all random choices.
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to train.
        progress: show bars with time left.

    Returns:
        The run, read again.

    Raises:
        RunError: an unknown check, a run whose study cannot be made again, or one that is being written.
        StudyError, TrainingError: with what was given and what to do.
    """
    unknown = [name for name in checks if name not in CHECKS]
    if unknown:
        raise RunError(f"There is no check {unknown[0]!r}; choose of {', '.join(CHECKS)}.")
    if not 0 < budget < float("inf"):
        raise RunError(f"The budget is {budget!r} seconds, expected more than 0.")
    name = run.stage(stage or run.stages[0]).name
    chosen = [check for check in CHECKS.values() if not checks or check.name in checks]
    with retrainings_locked(run.path), Progress(visible=progress) as bars:
        bench = bench_of(run, name, seed=seed, function=function, device=device)
        with bench.within(budget):
            with bars.step("one retraining, to know the cost"):
                bench.outcome(None, "solution")
                one = bench.change_without([0], "solution")
            bars.say(_cost(bench, budget))
            for i, check in enumerate(chosen):
                told = len(bench.warnings)
                share = check.share / sum(other.share for other in chosen[i:])
                try:
                    with bench.within(bench.left * share), bars.step(check.asks):
                        table = check.measure(bench)
                except TrainingError as error:  # the other checks may still succeed
                    bars.say(f"{check.name}: {error}")
                    continue
                for warning in bench.warnings[told:]:
                    bars.say(f"{check.name}, of the scores that it compares with: {warning}")
                if len(table):
                    run = add_tables(run, {check.name: table, "summary": _summary(run, check, table)})
                else:
                    bars.say(f"{check.name}: no time for it, or it means nothing for this run.")
        if one is None and not run.validations:
            raise RunError(f"Not even one retraining fits a budget of {budget:.0f} s; give more.")
    return run


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


def _cost(bench: Bench, budget: float) -> str:
    """The cost of a retraining in words, before many of them."""
    once = bench.costs.get("solution", 0.0)
    said = (
        f"Retraining once from the solution takes about {once:.1f} s" if once else "Retrained before: no need to again"
    )
    if "scratch" in bench.starts:
        said += f", from scratch about {bench.expected('scratch'):.0f} s"
    return f"{said}. Budget: {budget / 60:.1f} minutes; finished retrainings are kept in {bench.pieces.folder}."


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
