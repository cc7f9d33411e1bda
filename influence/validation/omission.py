"""`leave_out`: train again without chosen examples, and add predicted and measured effect to the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from influence.errors import RunError
from influence.progress import Progress
from influence.run.additions import add_tables
from influence.run.files import retrainings_locked
from influence.run.reading import Run
from influence.training.retraining import Start
from influence.validation.bench import bench_of

NAME = "left-out"
"""Name of the table in the run."""


def leave_out(
    run: Run,
    examples: Sequence[int],
    *,
    stage: str | None = None,
    start: Start = "solution",
    function: str | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Run:
    """Train again without `examples`, and add a row to the run's table `left-out`.

    A set that the table already has is not computed again, and retrainings of `validate` are reused.

    Args:
        run: a finished run.
        examples: rows of the stage's examples.
        stage: the stage's name; default the first (pretraining).
        start: as of `Retrainer.retrain`.
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to train.
        progress: show bars with time left.

    Returns:
        The run, read again.

    Raises:
        RunError: no examples, all of them, or unknown ones; or the run's study cannot be made again.
        StudyError, TrainingError: with what was given and what to do.
    """
    name = run.stage(stage or run.stages[0]).name
    rows = _checked(examples, name, len(run.examples(name)))
    if row_of(run.validation(NAME), name, start, rows) is not None:
        return run
    with retrainings_locked(run.path), Progress(visible=progress) as bars:
        with bars.step("Reading the study"):
            bench = bench_of(run, name, function=function, device=device)
        with bars.step("Training again, with all examples and without these", total=2) as bench.bar:
            before = bench.outcome(None, start)
            after = bench.outcome(bench.retrainer.weights_without(name, rows.tolist()), start)
        assert before is not None  # there is no limit of time
        assert after is not None
        found = {
            "stage": name,
            "start": start,
            "examples": rows,
            "predicted": bench.scores[:, rows].sum(1, dtype=np.float64).astype(np.float32),
            "measured": (after["loss"] - before["loss"]).to_numpy(np.float32),
            "class_before": before["predicted"].to_numpy(np.int32),
            "class_after": after["predicted"].to_numpy(np.int32),
        }
        old = Run.open(run.path).validation(NAME)
        new = pd.DataFrame([found])
        return add_tables(run, {NAME: new if old is None else pd.concat([old, new], ignore_index=True)})


def row_of(table: pd.DataFrame | None, stage: str, start: str, rows: np.ndarray) -> dict[str, Any] | None:
    """The row of a table `left-out` in which exactly the examples at `rows` were left out; None if there is none."""
    if table is None:
        return None
    wanted = np.unique(rows)
    for row in table[(table["stage"] == stage) & (table["start"] == start)].to_dict("records"):
        if np.array_equal(row["examples"], wanted):
            return {str(name): value for name, value in row.items()}
    return None


def rows_of(run: Run, ids: Sequence[int], stage: str | None = None) -> list[int]:
    """Rows of a stage's examples by their ids.

    Raises:
        RunError: an unknown id.
    """
    table = run.examples(run.stage(stage or run.stages[0]).name)
    places = {int(name): row for row, name in enumerate(table["id"])}
    unknown = [name for name in ids if name not in places]
    if unknown:
        raise RunError(f"There is no example with id {unknown[0]} in stage {stage or run.stages[0]!r}.")
    return [places[name] for name in ids]


def result_sentence(run: Run, examples: Sequence[int], stage: str | None = None, start: str = "solution") -> str:
    """Predicted and measured effect of leaving `examples` out, in one sentence."""
    name = stage or run.stages[0]
    row = row_of(run.validation(NAME), name, start, np.asarray(examples))
    assert row is not None
    predicted, measured = (float(np.mean(row[what], dtype=np.float64)) for what in ("predicted", "measured"))
    agree = np.corrcoef(row["predicted"], row["measured"])[0, 1] if np.ptp(row["predicted"]) else np.nan
    return (
        f"Without these {len(row['examples'])} examples of stage {name!r} the mean loss of all queries changed by "
        f"{measured:+.3g} nats, predicted was {predicted:+.3g}; over queries the two agree with r = {agree:.2f}."
    )


def _checked(examples: Sequence[int], stage: str, count: int) -> np.ndarray:
    rows = np.unique(np.asarray(examples, dtype=np.int64))
    if not len(rows) or len(rows) == count:
        raise RunError(f"{len(rows)} of {count} examples were to be left out; expected at least 1, and not all.")
    if rows[0] < 0 or rows[-1] >= count:
        raise RunError(
            f"Stage {stage!r} has no example {rows[0] if rows[0] < 0 else rows[-1]}; it has 0 to {count - 1}."
        )
    return rows.astype(np.int32)
