"""How far a stage stands from a minimum of the objective that it states, in nats, beside the size of its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from influence.attribution.misstatement import best_explanation, refuse_heads_begun_anew
from influence.derivatives import Objective
from influence.derivatives.first.factors import add_sum_of_dots
from influence.derivatives.first.gradients import example_gradients, gradient, objective_gradient
from influence.derivatives.first.watch import Watch
from influence.errors import listed

ROUNDING = 1e-6
"""A gradient of at most this share of a typical example's gradient is rounding."""
EXAMPLES, QUERIES = 32, 64
"""Examples, evenly spaced over the data, and first queries that say how large a score is."""
DISTANCE, EXPLAINED_DISTANCE = 1e-3, 1e-4
"""Share of all examples from which on a distance is told; the latter where the gradient surely has another cause."""


class Stationarity:
    """The gradient of a stage's objective where its model stands, and what one Newton step along it would change.

    With g this gradient, H the curvature and v = H^-1 q a solved query, the step -H^-1 g changes the query's loss by
    -v . g. A score is v . g_z / m. So the root mean square of v . g divided by
    that of the scores is the number of examples whose leaving out would move the queries as far.

    Args:
        objective: at the parameters in question.
        before: the previous stage's parameters by name; empty for the first stage.

    Attributes:
        constant: whether the gradients of all losses are 0.
        gradient: (T,), nats per unit of parameter.
        norm: its norm; 0 at a minimum.
        measured: empty before `measure`; in nats `newton_change`, root mean square by which the step would change the
            queries' losses, and `typical_score`, that of some scores.

    Raises:
        StudyError: parameters that were begun anew count as inherited.
    """

    def __init__(self, objective: Objective, before: Mapping[str, Tensor]):
        self.objective, self.before = objective, before
        self._watch = Watch(objective, objective.trained)
        typical = _size(torch.cat([rows.norm(dim=1) for rows in self._some_gradients()]))
        self.gradient = objective_gradient(objective, before)
        self.norm = float(self.gradient.norm())
        self.constant = not typical and not gradient(objective).any()
        self.small = self.norm <= ROUNDING * typical
        self.measured: dict[str, float] = {}
        if not self.small:
            refuse_heads_begun_anew(objective, before, self.gradient)

    @property
    def open(self) -> bool:
        """Whether solved queries have something to measure."""
        return not self.small and not self.measured

    def measure(self, solved: Tensor) -> None:
        """Take the solved queries, (Q, T)."""
        some, objective = solved[:QUERIES].to(self.objective.sum_dtype), self.objective
        scores = []
        for positions, batch in objective.batches(self._some):
            count = positions.stop - positions.start
            found = some.new_zeros(count, len(some))
            for name, several in self._watch.factors(batch, count).items():
                add_sum_of_dots(found, several, some[:, objective.trained.slices[name]])
            scores.append(found)
        self.measured = {
            "newton_change": _size(some @ self.gradient.to(some)),
            "typical_score": _size(torch.cat(scores)) / self.objective.count,
        }

    def _some_gradients(self) -> Iterator[Tensor]:
        """Gradients (n, T) of `EXAMPLES` examples, evenly spaced over the data, some at a time."""
        objective = self.objective
        return (rows for _, rows in example_gradients(objective, self._some, objective.trained, watch=self._watch))

    @property
    def _some(self) -> Subset[object]:
        data = self.objective.stage.data
        return Subset(data, range(0, len(data), -(-len(data) // EXAMPLES)))

    def report(self) -> dict[str, float]:
        return {"gradient_norm": self.norm, **self.measured}

    @property
    def examples(self) -> float:
        """The distance to the minimum, as the number of examples whose leaving out would move the queries as far."""
        typical = self.measured.get("typical_score", 0.0)
        return self.measured["newton_change"] / typical if typical else 0.0

    @cached_property
    def warnings(self) -> list[str]:
        """A sentence if the distance to the minimum is more than that which leaving an example out would move."""
        examples, share = self.examples, self.examples / self.objective.count
        if share < EXPLAINED_DISTANCE:
            return []
        found = best_explanation(self.objective, self.before, self.gradient)
        if (found is None and examples < 1) or (not (found and found.is_sure) and share < DISTANCE):
            return []
        return [
            f"Stage {self.objective.stage.name!r} does not stand at a minimum of the objective that it states, which "
            f"scores assume: the gradient has norm {self.norm:.2g}{self._where()}. One Newton step to it would change "
            f"a query's loss by {self.measured['newton_change']:.2g} nats, where leaving out an example changes it by "
            f"{self.measured['typical_score']:.2g}: as much as {examples:.2g} of the {self.objective.count} examples. "
            f"{found.sentence if found else self._possible()}"
        ]

    def _where(self) -> str:
        """The parameters that the gradient comes from, with their shares of its square."""
        shares = {n: float(self.gradient[s].norm() / self.norm) ** 2 for n, s in self.objective.trained.slices.items()}
        largest = sorted(shares, key=lambda name: -shares[name])[:3]
        told = [f"{n} ({shares[n]:.0%})" for n in largest if shares[n] > 0.01]
        return f", of whose square most is at {listed(told, ' and ')}"

    def _possible(self) -> str:
        """What could explain the gradient where no other objective was found that does."""
        modules = list(self.objective.stage.model.modules())
        causes = ["training that ended early", "AdamW's decay, which is no l2 term", "another term that was not stated"]
        causes += ["label smoothing", "augmentation"]
        if any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p for module in modules):
            causes.append("dropout, which was on while it trained")
        if any(isinstance(module, nn.modules.batchnorm._NormBase) for module in modules):
            causes.append("batch normalisation by each batch's own statistics")
        return (
            f"No other l2 (on weights only, say) or proximity explains it; {listed(causes, ' or ')} could. Train on "
            "to the minimum, state the loss that was minimised, or read the scores as those of a minimum nearby."
        )


def _size(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())
