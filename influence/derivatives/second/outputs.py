"""A batch's loss as a function of the model's outputs: its gradients there, and products with its Hessian.

Every use of the Gauss-Newton matrix J' (d2 loss / d outputs2) J takes the middle factor from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.derivatives.autograd_limits import refuse_once_differentiable
from influence.derivatives.eager import eager
from influence.derivatives.objective import Objective, ran_out_of_memory
from influence.errors import LossError

MAX_DOUBLE = 2**20
"""Numbers in a batch's outputs up to which the loss is differentiated in double precision. There, predictions that are
saturated in single precision still have a curvature."""
SUM_OF_ONE = 30
"""Probabilities add up to one within so many units of rounding."""


def differentiable(objective: Objective, outputs: Any) -> tuple[list[Tensor], Callable[[Any], Any]]:
    """The floating-point tensors among `outputs`, and a function that puts such tensors back in their places.

    Raises:
        LossError: `outputs` holds no floating-point tensor.
    """
    # Dataclasses that are no pytree nodes are split into their fields.
    apart = dataclasses.is_dataclass(outputs) and pytree.tree_is_leaf(outputs)
    fields = {f.name: getattr(outputs, f.name) for f in dataclasses.fields(outputs)} if apart else outputs
    values, spec = pytree.tree_flatten(fields)
    real = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.is_floating_point()]
    if not real:
        raise LossError(
            f"Stage {objective.stage.name!r}: `forward` returns a {type(outputs).__name__}, in which no tensor of real "
            "numbers is found. Return a tensor, or a tuple, list, dict or dataclass of some."
        )

    def rebuild(leaves: Any) -> Any:
        filled = list(values)
        for i, leaf in zip(real, leaves, strict=True):
            filled[i] = leaf
        made = pytree.tree_unflatten(filled, spec)
        return dataclasses.replace(outputs, **made) if apart else made

    return [values[i] for i in real], rebuild


class OutputLoss:
    """The losses of a batch as a function of those output tensors that they depend on.

    Log-probabilities in which the loss is linear, as in `nll_loss`, are taken as logits: `log_softmax` does not change
    them, and as a part of the loss it gives the curvature of the same network with logits and `cross_entropy`.

    Args:
        objective: the stage's.
        outputs: what the model returned for the batch.
        batch: the batch.

    Attributes:
        number: of floating-point tensors in the outputs.
        places: the positions among them of those that the losses depend on.
        leaves: the tensors, as the model returned them.
        points: the same values, detached, in the precision of the derivatives: single at least.
        losses: (B,), at `points`.
        output_gradients: d sum of losses / d points, of the points' shapes.
    """

    def __init__(self, objective: Objective, outputs: Any, batch: Any):
        self._objective, self._batch = objective, batch
        self._every, self._rebuild = differentiable(objective, outputs)
        self._classes: dict[int, int] = {}
        self.number = len(self._every)
        with torch.enable_grad(), eager():
            self._differentiate(_precisions(self._every))
            self._classes = self._log_probabilities()
            if self._classes:
                self._differentiate([self.points[0].dtype])
                objective.remarks.notes.add(
                    f"{objective.stage.name}: the model returns log-probabilities, in which the loss is linear; they "
                    "are taken as logits, which gives the curvature of the same network with logits and cross_entropy"
                )
        refuse_once_differentiable(objective.stage.name, self.output_gradients)

    def _differentiate(self, precisions: Sequence[torch.dtype | None]) -> None:
        for dtype in precisions:
            every = [leaf.detach().to(dtype or leaf.dtype).requires_grad_() for leaf in self._every]
            try:
                # With `log_softmax` in its place, a tensor of log-probabilities is a tensor of logits.
                given = [p.log_softmax(self._classes[i]) if i in self._classes else p for i, p in enumerate(every)]
                self.losses = self._objective.stage.loss(self._rebuild(given), self._batch)
                total = self.losses.sum()
                found: tuple[Tensor | None, ...] = ()
                if total.requires_grad:
                    found = torch.autograd.grad(total, every, create_graph=True, allow_unused=True)
                break
            except (RuntimeError, TypeError, ValueError) as error:  # the loss mixes them with tensors of another dtype
                if dtype is None or ran_out_of_memory(error):
                    raise
        self.places = [i for i, gradient in enumerate(found) if gradient is not None]
        self.leaves = [self._every[i] for i in self.places]
        self.points = [every[i] for i in self.places]
        self.output_gradients: list[Tensor] = [gradient for gradient in found if gradient is not None]

    def product(self, vectors: Sequence[Tensor], weights: Tensor | None = None) -> list[Tensor]:
        """Hessian of the (weighted) sum of the losses in `points`, times vectors of the points' shapes."""
        with torch.enable_grad():
            output_gradients = self.output_gradients if weights is None else self.weighted(weights, create_graph=True)
            pairs = [(s, v.to(s)) for s, v in zip(output_gradients, vectors, strict=True) if s.requires_grad]
            if not pairs:
                return [torch.zeros_like(point) for point in self.points]
            found = torch.autograd.grad(
                [s for s, _ in pairs], self.points, [v for _, v in pairs], retain_graph=True, allow_unused=True
            )
        return [torch.zeros_like(p) if f is None else f for f, p in zip(found, self.points, strict=True)]

    def weighted(self, weights: Tensor, create_graph: bool = False) -> list[Tensor]:
        """Slopes of the sum of weights * losses, of `weights` (B,)."""
        found = torch.autograd.grad(
            self.losses, self.points, weights.to(self.losses), retain_graph=True, create_graph=create_graph
        )
        return list(found)

    def random(self, generator: torch.Generator) -> list[Tensor]:
        """Random vectors of the points' shapes, between -1 and 1."""
        drawn = (torch.rand(p.shape, generator=generator, dtype=p.dtype) * 2 - 1 for p in self.points)
        return [d.to(p.device) for d, p in zip(drawn, self.points, strict=True)]

    def placed(self, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        """Tensors, one for each of `points`, among all floating-point tensors of the outputs; None at the others."""
        found = dict(zip(self.places, tensors, strict=True))
        return [found.get(place) for place in range(self.number)]

    def flat(self) -> list[bool]:
        """For each of `points`, whether the loss is linear in it, and it has no share in the curvature of others."""
        if not any(gradient.requires_grad for gradient in self.output_gradients):
            return [True] * len(self.points)
        found = self.product(self.random(torch.Generator().manual_seed(0)))
        return (~torch.stack([product.any() for product in found])).tolist()

    def examples_first(self, count: int) -> bool:
        """Whether row i of each of `points` belongs to example i, and to no other.

        It does not if the first dimension of the outputs is a sequence that happens to be as long as the batch.
        """
        if any(p.dim() == 0 or len(p) != count for p in self.points):
            return False
        weights = torch.arange(1, count + 1, device=self.losses.device).to(self.losses) / count
        for gradient, found in zip(self.output_gradients, self.weighted(weights), strict=True):
            expected = gradient.detach() * weights.to(gradient).view(-1, *[1] * (gradient.dim() - 1))
            if not (found - expected).norm() <= torch.finfo(gradient.dtype).eps ** 0.5 * expected.norm():
                return False
        return True

    def owners(self, count: int) -> list[Tensor]:
        """The example that each number of `points` belongs to, wherever the loss is curved in it; else 0.

        Products with the Hessians of random weightings of the losses tell it, bit by bit.

        Raises:
            LossError: several examples' losses are curved in the same number.
        """
        probe = self.random(torch.Generator().manual_seed(0))
        base = self.product(probe)
        found = [torch.zeros(p.shape, dtype=torch.long, device=p.device) for p in self.points]
        places = torch.arange(count, device=self.losses.device)
        for bit in range(count.bit_length()):
            for owner, image, product in zip(found, self.product(probe, 1 + (places >> bit) % 2), base, strict=True):
                share = torch.where(product != 0, image / product - 1, 0)
                if ((share - share.round()).abs() > 0.1).any() or (share.round().abs() > 1).any():
                    raise LossError(
                        f"Stage {self._objective.stage.name!r}: the model returns numbers that the losses of several "
                        "examples depend on, so no example has random gradients of its own. Use method='cg' and a "
                        "`damping`, or return such numbers once for each example."
                    )
                owner += share.round().long() << bit
        return found

    def _log_probabilities(self) -> dict[int, int]:
        """The tensors, by position, that hold log-probabilities in which the loss is linear -> dimension of classes."""
        found = {}
        for place, leaf, gradient in zip(self.places, self.leaves, self.output_gradients, strict=True):
            if leaf.dim() > 1 and leaf.numel() and bool((leaf[:1] <= 0).all()):
                dims = [dim for dim in range(leaf.dim()) if _adds_up_to_one(leaf.detach(), gradient.detach(), dim)]
                if dims:
                    found[place] = dims[-1]
        if found:
            flat = dict(zip(self.places, self.flat(), strict=True))
            found = {place: dim for place, dim in found.items() if flat[place]}
        return found


def _adds_up_to_one(leaf: Tensor, gradient: Tensor, dim: int) -> bool:
    """Whether exp(leaf) adds up to one along `dim`, wherever the loss depends on it."""
    if leaf.shape[dim] < 2:
        return False
    total = leaf.to(gradient).exp().sum(dim)
    off = (total - 1).abs() > max(SUM_OF_ONE * torch.finfo(leaf.dtype).eps, 1e-5)
    return not bool((off & gradient.any(dim)).any())


def _precisions(leaves: Sequence[Tensor]) -> list[torch.dtype | None]:
    """The precisions in which to differentiate the loss, the first that it can compute in; None: as they are."""
    wide: list[torch.dtype | None] = [torch.float64] if sum(leaf.numel() for leaf in leaves) <= MAX_DOUBLE else []
    narrow = any(leaf.dtype.itemsize < torch.float32.itemsize for leaf in leaves)
    return [*wide, *([torch.float32] if narrow else []), None]
