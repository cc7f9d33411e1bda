"""An axis: where values lie on it, and the round numbers that stand below it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from explorer.ui import theme


@dataclasses.dataclass(frozen=True)
class Scale:
    """A straight axis from `low` to `high`, with ticks at round numbers inside it."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Place of a value, 0 at the low end and 1 at the high one; what lies outside is put at the end."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def times(self, factor: float) -> Scale:
        """The same axis in a unit of which `factor` make one of this."""
        return Scale(self.low * factor, self.high * factor)

    @property
    def step(self) -> float:
        """Distance of the ticks: 1, 2 or 5 times a power of ten, so that there are three to seven."""
        rough = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(rough))
        return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)

    def ticks(self) -> list[dict[str, object]]:
        """Places and texts of the ticks."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        places = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return [
            {"at": self.at(i * self.step), "text": f"{i * self.step:,.{places}f}".replace("-", theme.MINUS)}
            for i in range(first, last + 1)
        ]


def around(values: Iterable[float], *, include: Iterable[float] = (), margin: float = 0.04) -> Scale:
    """The axis that holds all finite values, those to `include`, and a margin; of nothing, 0 to 1."""
    found = [value for value in (*values, *include) if math.isfinite(value)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    room = margin * (high - low)
    return Scale(low - room, high + room)


def symmetric(values: Iterable[float]) -> Scale:
    """The axis about zero that holds all finite values, and a margin."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0) or 1.0
    return Scale(-1.05 * largest, 1.05 * largest)
