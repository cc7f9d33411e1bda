"""What the report tells of one stage: how it was computed, and what makes the scores other than they claim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Remarks:
    """What the report tells; its sentences begin with the stage's name."""

    notes: set[str] = field(default_factory=set)
    """How it was computed, where that is not as usual. The scores are what they claim."""
    warnings: set[str] = field(default_factory=set)
    """What makes the scores something else than the promised nats."""
    order_only: set[str] = field(default_factory=set)
    """Those of the warnings that take the unit: the size of the scores means nothing."""
    without_rule: set[str] = field(default_factory=set)
    """Parameters without a layer rule, differentiated by `torch.func`."""
    moved: bool = False
    """Whether the model moved examples to other places within a batch unseen: only batches of one are sure."""
    compression: dict[str, Any] = field(default_factory=dict)
    """How the query vectors were stored for the products: forms, and the error measured; empty where as they are."""

    def add(self, others: Remarks) -> None:
        """Add what another process remarked on at the same stage."""
        for mine, theirs in (
            (self.notes, others.notes),
            (self.warnings, others.warnings),
            (self.order_only, others.order_only),
            (self.without_rule, others.without_rule),
        ):
            mine |= theirs
        self.moved = self.moved or others.moved
        self.compression = self.compression or others.compression

    def warn(self, sentence: str, *, order_only: bool = False) -> None:
        """Add a warning; with `order_only` the scores lose their unit."""
        self.warnings.add(sentence)
        if order_only:
            self.order_only.add(sentence)
