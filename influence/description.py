"""What a run tells of each example besides its scores: prediction, probabilities, loss, self-influence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from influence.curvature import Method
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.first.watch import Watch
from influence.derivatives.losses import checked_losses
from influence.errors import StudyError

SOLVES = 50
"""Examples of a stage up to which an iterative method solves for each one's self-influence."""


def predictions(
    objective: Objective, data: Any, shown: pd.DataFrame, classes: Sequence[str], measure: Any = None
) -> pd.DataFrame:
    """The table `shown` with the model's predictions, probabilities and losses (nats) of `data`.

    Without classes the model is no classifier, and only the losses are added.

    Raises:
        StudyError: the table's length differs, the outputs are not (B, classes), or a label is not a class.
    """
    if not {"id", "label"} <= set(shown.columns) or shown["id"].duplicated().any():
        raise StudyError(
            f"Stage {objective.stage.name!r}: the table has the columns {', '.join(shown.columns)}, expected at "
            "least id, each once, and label."
        )
    if len(shown) != len(data):
        raise StudyError(f"Stage {objective.stage.name!r}: the table has {len(shown)} rows for {len(data)} examples.")
    if len(set(classes)) < len(classes):
        raise StudyError(f"Stage {objective.stage.name!r}: two classes have one name in {', '.join(classes)}.")
    losses = checked_losses(objective, data, measure)
    if not len(classes):
        return shown.assign(loss=losses.float().numpy())
    with torch.no_grad():
        outputs = torch.cat([objective.outputs(batch).cpu() for _, batch in objective.batches(data)])
    if outputs.dim() != 2 or outputs.shape[1] != len(classes):
        raise StudyError(
            f"Stage {objective.stage.name!r}: outputs have shape {tuple(outputs.shape)}, expected "
            f"({len(data)}, {len(classes)})."
        )
    unknown = set(shown.label) - set(classes)
    if unknown:
        raise StudyError(
            f"Stage {objective.stage.name!r}: label {min(unknown)!r} is none of the classes {', '.join(classes)}."
        )
    probabilities = outputs.double().softmax(1).float().numpy()
    winner = probabilities.argmax(1)
    truth = shown.label.map({name: i for i, name in enumerate(classes)}).to_numpy()
    rows = np.arange(len(shown))
    return shown.assign(
        prediction=np.asarray(classes, dtype=object)[winner],
        confidence=probabilities[rows, winner],
        label_probability=probabilities[rows, truth],
        loss=losses.float().numpy(),
        probabilities=list(probabilities),
    )


def self_influence(
    objective: Objective, solver: Method, advance: Callable[[float], None]
) -> tuple[pd.DataFrame, list[str]]:
    """Per training example the norm of its loss's gradient, and its self-influence; and what was left out.

    Self-influence is the predicted change of an example's own loss if it had been left out, in nats. It takes a solve
    for each example, so an iterative method does it for small stages only.
    """
    # Methods that iterate say how often they did; for the others a solve is a product or two.
    whole = "iterations" not in solver.report or objective.count <= SOLVES
    columns = dict(_norms(objective, solver if whole else None, advance))
    left_out = (
        f"Stage {objective.stage.name!r}: no self-influence, which by method {solver.name!r} would take "
        f"{objective.count:,} solves (at most {SOLVES:,} are made)."
    )
    table = pd.DataFrame({name: values.float().cpu().numpy() for name, values in columns.items()})
    return table, [] if whole else [left_out]


def _norms(
    objective: Objective, solver: Method | None, advance: Callable[[float], None]
) -> Iterator[tuple[str, Tensor]]:
    """The columns; without a solver only the gradients' norms."""
    own, norms = [], []
    if solver is None:
        for positions, gradients in example_gradients(objective, objective.stage.data, objective.trained):
            norms.append(gradients.norm(dim=1))
            advance(positions.stop - positions.start)
    else:
        watch = Watch(objective, objective.trained)
        for positions, batch in objective.batches(objective.stage.data):
            count = positions.stop - positions.start
            found, lengths = solver.norms_of(watch.factors(batch, count), count)
            own.append(found / objective.count)
            norms.append(lengths)
            advance(count)
        yield "self_influence", torch.cat(own)
    yield "gradient_norm", torch.cat(norms)
