"""The columns of each example besides its scores: prediction, probabilities, loss, self-influence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from influence.attribution.tokens import query_token_losses
from influence.derivatives import Objective
from influence.derivatives.losses import checked_losses
from influence.errors import LossError, StudyError
from influence.run.parquet.forms import FORMS, QUERIES
from influence.run.parquet.tables import refuse_columns
from influence.studies.exhibit import Exhibit


def predictions(
    objective: Objective, data: Any, shown: pd.DataFrame, classes: Sequence[str], measure: Any = None
) -> pd.DataFrame:
    """The table `shown` with the model's predictions, probabilities and losses (nats) of `data`.

    Without classes the model is no classifier, and only the losses are added.

    Raises:
        StudyError: the table's length differs, a column is of another kind than CONTRACT.md says, the outputs are not
            (B, classes), or a label is not a class.
    """
    if not {"id", "label"} <= set(shown.columns) or shown["id"].duplicated().any():
        raise StudyError(
            f"Stage {objective.stage.name!r}: the table has the columns {', '.join(shown.columns)}, expected at "
            "least id, each once, and label."
        )
    try:
        refuse_columns(shown, FORMS["queries"])
    except ValueError as error:
        raise StudyError(f"Stage {objective.stage.name!r}: the table of its items cannot be kept: {error}.") from error
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


def query_tokens(exhibit: Exhibit, last: Objective) -> pd.DataFrame | None:
    """`tokens/queries`, with each token's loss where the last stage is no classifier and its token losses are known.

    Where they are not the parts of the measure, they are left out, which the stage's notes say.
    """
    table, name, study = exhibit.tokens.get(QUERIES), last.stage.name, exhibit.study
    if table is None or name not in exhibit.token_losses or len(exhibit.classes[name]):
        return table
    assert study.measure is not None
    try:
        found = list(query_token_losses(last, exhibit.token_losses[name], study.queries, study.measure))
    except LossError as error:
        last.remarks.notes.add(f"The losses of the queries' single tokens are not kept. {error}")
        return table
    lengths = table["starts"].map(len)
    rows = [row[:length].float().cpu().numpy() for row, length in zip(found, lengths, strict=True)]
    return table.assign(losses=pd.Series(rows, index=table.index, dtype=object))
