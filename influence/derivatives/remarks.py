"""What the report tells of one stage: how it was computed, and what makes the scores other than they claim."""

from __future__ import annotations

from dataclasses import dataclass, field

NAT = "nat"
ORDER_ONLY = "order only"
"""The unit of scores whose size means nothing: only their order within a query does."""


@dataclass
class Remarks:
    """Sentences for the report. Each begins with the stage's name."""

    notes: set[str] = field(default_factory=set)
    """How it was computed, where that is not as usual. The scores are what they claim."""
    warnings: set[str] = field(default_factory=set)
    """What makes the scores something else than the promised nats."""
    unit: str = NAT
    """`ORDER_ONLY` once a warning says that the size of the scores means nothing."""
    without_rule: set[str] = field(default_factory=set)
    """Parameters without a layer rule, differentiated by `torch.func`."""

    def warn(self, sentence: str, *, order_only: bool = False) -> None:
        """Add a warning; with `order_only` the scores lose their unit."""
        self.warnings.add(sentence)
        if order_only:
            self.unit = ORDER_ONLY
