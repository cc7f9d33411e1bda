"""The methods of others, as far as they can be applied to a model whose head was replaced.

What needs a pretraining example's loss at the finetuned model (single-stage influence there, TracIn's later
checkpoints) cannot: the finetuned head has no output for it. What is left is gradients of the weights that both models
share, the pretrained model's for training examples and the finetuned one's for queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from influence import Study
from influence.derivatives import Objective, objectives_of
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.losses import checked_losses
from influence.precompute.embedding import embed
from influence.study import Loss

DIMENSIONS = 256
"""Of a projection, at most a quarter of the examples."""


def gradient_products(study: Study) -> np.ndarray:
    """Gradient dot products over the shared weights, (Q, m); the mean's 1/m is left in."""
    examples, queries = _shared_gradients(study, None)
    return (queries @ examples.T / len(examples)).numpy()


def trak(studies: Sequence[Study]) -> np.ndarray:
    """After TRAK (Park et al. 2023), over the shared weights and averaged over differently trained models: (Q, m).

    Of classifiers its output function is the log odds of the true class; of a language model it is minus the loss.
    """
    return np.mean([_trak(study) for study in studies], axis=0)


def neighbours(study: Study, embedding: object) -> np.ndarray:
    """Cosine of the pretrained model's embeddings of every query and example, (Q, m)."""
    first, last = objectives_of(study)
    examples = embed(first, study.stages[0].data, embedding)
    queries = embed(first, study.queries, embedding, last)
    a, b = (normalize(torch.from_numpy(np.asarray(each)).double(), dim=1) for each in (queries, examples))
    return (a @ b.T).numpy()


def _trak(study: Study) -> np.ndarray:
    examples, queries = _shared_gradients(study, log_odds)
    dimensions = min(DIMENSIONS, len(examples) // 4)
    if examples.shape[1] > dimensions:
        generator = torch.Generator().manual_seed(0)
        project = torch.randn(examples.shape[1], dimensions, generator=generator, dtype=examples.dtype)
        examples, queries = examples @ project, queries @ project
    kernel = examples.T @ examples
    kernel.diagonal().add_(1e-6 * kernel.diagonal().mean())
    first = objectives_of(study)[0]
    surprise = 1 - (-checked_losses(first, first.stage.data).double()).exp()  # one minus the true class's probability
    return (queries @ torch.linalg.solve(kernel, examples.T) * surprise).numpy()


def log_odds(outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
    """Of the true class, (B,); of outputs that are no class logits: nothing that is known here."""
    true = outputs.gather(1, batch[1][:, None])[:, 0]
    others = outputs.scatter(1, batch[1][:, None], -torch.inf)
    return true - others.logsumexp(1)


def _shared_gradients(study: Study, measure: Loss | None) -> tuple[Tensor, Tensor]:
    """Of the examples at the pretrained model and of the queries at the finetuned one, (m, W) and (Q, W).

    Args:
        study: of two stages.
        measure: of both; None is each one's loss.
    """
    first, last = objectives_of(study)
    shared = last.groups.inherited
    examples = _gradients(first, study.stages[0].data, measure, [shared[name] for name in shared])
    queries = _gradients(last, study.queries, measure, list(shared))
    return examples, queries


def _gradients(objective: Objective, data: object, measure: Loss | None, names: list[str]) -> Tensor:
    sign = 1.0
    if measure is not None and not _classifier(objective, data):
        measure, sign = None, -1.0
    found = [rows.double() for _, rows in example_gradients(objective, data, objective.all, measure)]
    rows = torch.cat(found)
    return sign * torch.cat([rows[:, objective.all.slices[name]] for name in names], dim=1)


def _classifier(objective: Objective, data: object) -> bool:
    with torch.no_grad():
        return next(objective.outputs(batch).dim() == 2 for _, batch in objective.batches(data))
