"""What a run tells of each example besides its scores: prediction, probabilities, loss, self-influence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from influence.curvature import Method
from influence.derivatives import Objective
from influence.derivatives.first import example_gradients
from influence.errors import StudyError


def predictions(
    objective: Objective, data: Any, shown: pd.DataFrame, classes: Sequence[str], measure: Any = None
) -> pd.DataFrame:
    """The table `shown` with the model's predictions, probabilities and losses (nats) of `data`.

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
    losses = objective.checked_losses(data, measure)
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


def self_influence(objective: Objective, solver: Method) -> pd.DataFrame:
    """Per training example: predicted change of its own loss if it had been left out, nats, and its gradient's norm."""
    own, norms = [], []
    for _, gradients in example_gradients(objective, objective.stage.data, objective.trained):
        own.append((solver.solve(gradients) * gradients).sum(1) / objective.count)
        norms.append(gradients.norm(dim=1))
    columns = {"self_influence": torch.cat(own), "gradient_norm": torch.cat(norms)}
    return pd.DataFrame({name: values.float().cpu().numpy() for name, values in columns.items()})
