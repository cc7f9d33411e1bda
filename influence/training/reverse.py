"""The reverse pass through one recorded training.

A training is a composition of optimiser steps, state' = step(state, weights of the batch, start, frozen parameters).
Reverse-mode differentiation passes through them backwards, and sums the adjoint of each example's weight over the steps
that used the example. A recording has every sqrt(steps)-th state; those in between are computed again, bit by bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from influence.derivatives import Objective, plain_kernels
from influence.derivatives.objective import BUDGET, equal_to_rounding, ran_out_of_memory
from influence.errors import TrainingError
from influence.training.recording import Recording, Trajectory

Pull = Callable[[Tensor], tuple[Tensor, ...]]


class Reverse:
    """The reverse pass through one stage's training, for all queries together.

    Args:
        objective: the stage's.
        recording: of its training.
        adjoints: the queries' gradients at the end of the training, over all parameters of the stage, (Q, P).
        carry: whether to compute the adjoints of the inherited values.

    Attributes:
        state: (Q, K, T), adjoint of the state before the step that was passed last.
        weights: (Q, m), adjoint of the examples' weights.
        start, frozen: (Q, T) and (Q, F), adjoints of the inherited values; complete only with `carry`.
    """

    def __init__(self, objective: Objective, recording: Recording, adjoints: Tensor, *, carry: bool):
        self.objective, self.recording, self.carry = objective, recording, carry
        self.trajectory = Trajectory(objective, recording.recipe, recording.start)
        self._weights = recording.weights.to(objective.device)
        adjoints = adjoints.to(self.trajectory.start.dtype)
        here = objective.all.columns(adjoints, objective.trained)
        self.state = here.new_zeros(len(here), len(recording.checkpoints[0]), objective.trained.size)
        self.state[:, 0] = here
        self.weights = here.new_zeros(len(here), objective.count)
        self.start = torch.zeros_like(here)
        self.frozen = objective.all.columns(adjoints, objective.frozen)
        self._rows: int | None = None

    def run(self, advance: Callable[[], None]) -> None:
        """Pass through all steps, the last first. `advance` is called after every step."""
        marks = sorted(self.recording.checkpoints)
        for begin, end in reversed(list(itertools.pairwise(marks))):
            states = self._again(begin, end)
            for number in reversed(range(begin, end)):
                self._undo(number, states.pop())
                advance()
            self._refuse_not_finite(begin)
        self.start += self.state[:, 0]

    def _again(self, begin: int, end: int) -> list[Tensor]:
        """The states before each step of a segment, recomputed from its checkpoint.

        Raises:
            TrainingError: the recomputed state at the end differs from the recorded one by more than rounding.
        """
        states = [self.recording.checkpoints[begin].to(self.objective.device)]
        states += self.trajectory.states(states[0], range(begin, end), self._weights)
        if not equal_to_rounding(states.pop().cpu(), self.recording.checkpoints[end]).all():
            then, now = self.recording.device, self.objective.device
            raise TrainingError(
                f"Stage {self.recording.stage.name!r}: the training does not repeat itself: after steps {begin} to "
                f"{end} it stands elsewhere than when it was recorded. Are the stage and its data the same, is nothing "
                f"random in them, and do the device ({then} then, {now} now), torch and its number of threads agree? "
                "On a GPU, call torch.use_deterministic_algorithms(True) before recording."
            )
        return states

    def _undo(self, number: int, state: Tensor) -> None:
        """Pass through one step: replace the adjoint of the state after it by that of `state` (K, T), before it."""
        trajectory, positions = self.trajectory, self.trajectory.order[number].to(self.objective.device)
        batch, weights = trajectory.batch(number), self._weights[positions]
        kept = (trajectory.start, trajectory.frozen)

        def step(state: Tensor, weights: Tensor, *inherited: Tensor) -> Tensor:
            return trajectory.step(number, batch, state, weights, *(inherited or kept))

        with plain_kernels():
            pull: Pull = vjp(step, state, weights, *(kept if self.carry else ()))[1]
            self._rows = self._rows or self._rows_at_once(batch, len(weights))
            for part in range(0, len(self.state), self._rows):
                rows = slice(part, part + self._rows)
                self.state[rows], shares, *inherited = self._over_rows(pull, self.state[rows])
                # Added, not set: a batch at the end of an epoch may hold an example twice.
                self.weights[rows] = self.weights[rows].index_add(1, positions, shares)
                for total, share in zip((self.start, self.frozen), inherited, strict=False):
                    total[rows] += share

    def _over_rows(self, pull: Pull, rows: Tensor) -> tuple[Tensor, ...]:
        try:
            return vmap(pull)(rows)
        except RuntimeError as error:
            if ran_out_of_memory(error):
                raise
            self.objective.remarks.notes.add(
                f"{self.objective.stage.name}: steps undone query by query (the model cannot be vectorised)"
            )
            return tuple(torch.stack(parts) for parts in zip(*(pull(row) for row in rows), strict=True))

    def _rows_at_once(self, batch: Any, count: int) -> int:
        """Number of adjoints that fit `BUDGET`, by the state's size and the bytes autograd saves in a forward pass."""
        kept = self.state[0].nbytes

        def counted(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        live = {n: self.objective.parameters[n].clone().requires_grad_() for n in self.objective.trained.shapes}
        with torch.autograd.graph.saved_tensors_hooks(counted, lambda tensor: tensor):
            self.objective.losses(batch, count, live)
        return max(1, BUDGET // kept)

    def _refuse_not_finite(self, begin: int) -> None:
        if not self.state.isfinite().all():
            raise TrainingError(
                f"Stage {self.recording.stage.name!r}: the derivative through its training is not finite beyond step "
                f"{begin}: it is too unstable to be differentiated. Lower the learning rate, or warm it up; with adam, "
                "raise eps_root."
            )
