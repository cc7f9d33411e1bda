"""One example a neighbourhood: the order "Diverse" of the lists by influence."""

from __future__ import annotations

import numpy as np

from explorer.runs import neighbours
from explorer.runs.cache import per_run
from influence.run import Run

NEARER_THAN_SHARE = 0.95
"""Two examples are of one neighbourhood if they are nearer to each other than this share of all pairs."""
SAMPLE_EXAMPLES = 1000
"""Examples whose pairs tell how near pairs are."""

HELP = (
    "Diverse: by score, but an example is passed over where one above it in its list lies in the same neighbourhood: "
    f"nearer to it in the embedding than {NEARER_THAN_SHARE:.0%} of all pairs of examples are to each other."
)


def one_a_neighbourhood(order: np.ndarray, vectors: np.ndarray, near: float, count: int) -> np.ndarray:
    """The first `count` positions of `order` of which no two have a cosine of `near` or more; unit vectors given.

    Greedy: whatever comes first stays, and passes over all later ones of its neighbourhood. There may be fewer.
    """
    chosen: list[int] = []
    for place in order.tolist():
        if len(chosen) == count:
            break
        if not chosen or float((vectors[chosen] @ vectors[place]).max()) < near:
            chosen.append(place)
    return np.array(chosen, dtype=np.int64)


def radius(vectors: np.ndarray) -> float:
    """Examples with at least this cosine are of one neighbourhood; from a sample of the unit vectors given."""
    sample = vectors[np.linspace(0, len(vectors) - 1, min(SAMPLE_EXAMPLES, len(vectors))).round().astype(int)]
    pairs = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    return float(np.quantile(pairs, NEARER_THAN_SHARE)) if len(pairs) else 1.0


@per_run(max_entries=16)
def run_radius(run: Run) -> float:
    """The `radius` of a run that has an embedding."""
    embedding = neighbours.embedding(run)
    assert embedding is not None
    return radius(embedding.examples)
