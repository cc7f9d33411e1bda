"""`leave_out`: train again without chosen examples, a form of `what_if`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from influence.engine import Engine
from influence.engine.choice import HERE
from influence.errors import RunError
from influence.live.alterations import LEAVE_OUT, Alteration
from influence.run.reading import Run
from influence.training.retraining import Start
from influence.validation.preview import NAME, row_of, what_if


def leave_out(
    run: Run,
    examples: Sequence[int],
    *,
    stage: str | None = None,
    start: Start = "solution",
    function: str | None = None,
    device: str = "cpu",
    engine: str | Engine = HERE,
    progress: bool = True,
) -> Run:
    """Train again without `examples`, and add a row to the run's table `what-if`.

    A set that the table already has is not computed again, and retrainings of `validate` are reused.

    Args:
        run: a finished run.
        examples: rows of the stage's examples.
        stage: the stage's name; default the first (pretraining).
        start: as of `Retrainer.retrain`.
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to train.
        engine: who trains again, as of `validate`.
        progress: show bars with time left.

    Returns:
        The run, read again.

    Raises:
        RunError: no examples, all of them, or unknown ones; or the run's study cannot be made again.
        EngineError: as `validate`.
        StudyError, TrainingError: with what was given and what to do.
    """
    out = omissions(run, examples, stage)
    options: dict[str, Any] = {"start": start, "function": function, "device": device, "progress": progress}
    return what_if(run, out, really=True, engine=engine, **options)[0]


def omissions(run: Run, examples: Sequence[int], stage: str | None = None) -> list[Alteration]:
    """Leaving the examples at these rows out, each once.

    Raises:
        RunError: as `leave_out`.
    """
    name = run.stage(stage or run.stages[0]).name
    ids = run.examples(name)["id"].to_numpy()
    rows = np.unique(np.asarray(examples, dtype=np.int64))
    if not len(rows) or len(rows) == len(ids):
        raise RunError(f"{len(rows)} of {len(ids)} examples were to be left out; expected at least 1, and not all.")
    if rows[0] < 0 or rows[-1] >= len(ids):
        raise RunError(
            f"Stage {name!r} has no example {rows[0] if rows[0] < 0 else rows[-1]}; it has 0 to {len(ids) - 1}."
        )
    return [Alteration(LEAVE_OUT, name, int(ids[row])) for row in rows]


def result_sentence(run: Run, out: Sequence[Alteration], start: str = "solution") -> str:
    """Predicted and measured effect of leaving examples out, in one sentence."""
    row = row_of(run.validation(NAME), out, start)
    assert row is not None
    predicted, measured = (float(np.mean(row[what], dtype=np.float64)) for what in ("together", "measured"))
    agree = np.corrcoef(row["together"], row["measured"])[0, 1] if np.ptp(row["together"]) else np.nan
    return (
        f"Without these {len(out)} examples of stage {out[0].stage!r} the mean loss of all queries changed by "
        f"{measured:+.3g} nats, predicted was {predicted:+.3g}; over queries the two agree with r = {agree:.2f}."
    )
