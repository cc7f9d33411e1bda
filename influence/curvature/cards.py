"""What is said of each method to people who choose one; read without the libraries that compute it."""

from __future__ import annotations

from dataclasses import dataclass

MAX_DENSE_SIZE = 8000
"""Rows of a matrix up to which a dense decomposition is sensible (0.5 GB, minutes)."""


@dataclass(frozen=True)
class MethodCard:
    """A method of `attribute`, one line each.

    Attributes:
        name: as `method=` takes it.
        summary: what it computes.
        cost: time and memory.
        advice: when to use it.
    """

    name: str
    summary: str
    cost: str
    advice: str


EXACT = MethodCard(
    "exact",
    summary="dense curvature matrix, decomposed once",
    cost=f"P^2 memory and P^3 time, P the trained parameters or the examples times outputs; up to {MAX_DENSE_SIZE}",
    advice="for small models, or few examples; the reference for everything else",
)
CG = MethodCard(
    "cg",
    summary="block conjugate gradients on Gauss-Newton or Hessian products, all queries together",
    cost="tens of passes over the stage's data; with rows in memory a small part of that",
    advice="the reference for models too large for 'exact', up to some hundreds of queries",
)
EKFAC = MethodCard(
    "ekfac",
    summary="eigenvalue-corrected Kronecker factors of the Gauss-Newton matrix, layer by layer",
    cost="a few passes over the stage's data, once; memory of about the model; then instant for any query",
    advice="for large models and many queries; an approximation, whose ranking resembles the exact one",
)
ARNOLDI = MethodCard(
    "arnoldi",
    summary="Krylov basis of the curvature's strongest directions, a constant for the others",
    cost="`iterations` products once, whatever the number of queries; memory of as many vectors",
    advice="for many queries and models too large for 'exact'; look at `score_error` in the report",
)
LISSA = MethodCard(
    "lissa",
    summary="stochastic Neumann series on minibatches of the stage's data, all queries together",
    cost="`depth` x `repeats` minibatch products a query, whatever the size of the data; a few vectors a query",
    advice="for data too large for a pass an iteration; 'cg' is more accurate wherever it can be afforded",
)
IDENTITY = MethodCard(
    "identity",
    summary="gradient dot products: every inverse curvature replaced by the identity",
    cost="one gradient per example; nothing to fit",
    advice="as a baseline, to see what curvature adds; the scores' size has no unit",
)
REPLAY = MethodCard(
    "replay",
    summary="the exact derivative through every optimiser step of every stage as it happened",
    cost="about 3 trainings, and up to 2 more a query; states of 2 sqrt(steps) steps in memory",
    advice="to verify single predictions; in Python only, for stages trained with `influence.record`",
)
CARDS = (EXACT, CG, EKFAC, ARNOLDI, LISSA, IDENTITY, REPLAY)
"""In the order in which the command line lists them; the last one needs no curvature."""
