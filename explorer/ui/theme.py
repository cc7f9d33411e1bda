"""Colours, symbols, number format and the words of the sign rule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from explorer.ui import escape, state
from influence.run import NAT, ORDER_ONLY

HELPFUL, HARMFUL = "▲", "▼"
RISES, FALLS = "↑", "↓"
"""What an edit does to a loss."""
RIGHT, WRONG = "✓", "✗"
NEAR = "≈"
"""Marks an example of the lists by influence that is also a nearest neighbour."""
SINGLE = {state.INFLUENCE: "◆", state.NEAREST: NEAR, state.RANDOM: "⚄", state.BM25: "¶", state.COSINE: "∠"}
"""Marks a list by its ranking, and an example that another ranking lists, too."""
EVERYWHERE = "∀"
"""Marks an example that shows up everywhere."""
MINUS = "\N{MINUS SIGN}"

SCALED, NOT_SCALED = ", scaled", ", not scaled"
"""Of nats by a measured slope: as they are shown, and as the run has them."""
PROBABILITY = "probability"
"""The unit of a class's error."""

STAGE_WORDS = {"pretrain": "pretraining", "finetune": "finetuning"}
"""How the built-in stages are called in a sentence; other stages are called by their own name."""

CLASS_COLOURS = (
    "#4c78a8",
    "#e0a030",
    "#54a24b",
    "#b279a2",
    "#9d755d",
    "#72b7b2",
    "#d67195",
    "#8a8d93",
    "#b5a642",
    "#6f5fb0",
)
GREYS = ("#8a8d93",)
"""Class colours too close to the grey used for "other"."""
EMPTY_LABEL = "(none)"
"""Written for a label or source that is empty."""


@dataclasses.dataclass(frozen=True)
class Palette:
    """The colours of charts; the style sheets take the same ones from the theme's variables."""

    helpful: str
    harmful: str
    grey: str
    text: str
    low: str
    high: str


LIGHT = Palette(helpful="#1f6fb4", harmful="#c2560a", grey="#b4bac3", text="#5b6470", low="#d9dde2", high="#3b2a63")
DARK = Palette(helpful="#6db3f2", harmful="#f5a25d", grey="#5a626e", text="#a3acb9", low="#39404b", high="#f0e6ff")


def palette(mode: str | None) -> Palette:
    """Colours of the theme that the visitor sees ("light", "dark", or None when unknown)."""
    return DARK if mode == "dark" else LIGHT


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit of scores: `factor` of them make one as the run has it (`stored`: a nat).

    Without a name, of scores whose order alone means something.
    """

    name: str
    factor: float
    kept: str = NAT
    slope: float = 1.0
    """What retraining measured that scores are to be multiplied by; part of `factor`."""

    @property
    def words(self) -> str:
        """The name, or in its place that there is none."""
        return self.name + (SCALED if self.slope != 1 else "") if self.name else ORDER_ONLY

    @property
    def stored(self) -> str:
        """The unit of the numbers as the run has them, in words."""
        return self.kept + (NOT_SCALED if self.slope != 1 else "") if self.name else ORDER_ONLY

    @property
    def column(self) -> str:
        """Name of a column of such numbers in an exported table."""
        return f"score_{self.stored.replace(',', '').replace(' ', '_')}"

    def text(self, score: float) -> str:
        """Signed, two significant digits, without the unit's name."""
        return signed(score * self.factor)

    def size(self, score: float) -> str:
        """Without a sign, with the unit's name; "" where a size means nothing."""
        return f"{number(abs(score) * self.factor)} {self.name}" if self.name else ""

    def full(self, score: float) -> str:
        """The full value in the stored unit, scaled where there is a slope, for hovering."""
        stored = self.kept + (SCALED if self.slope != 1 else "") if self.name else f"({ORDER_ONLY})"
        return f"{score * self.slope:+.6g} {stored}".replace("-", MINUS)

    def of_one(self, score: float, rank: int) -> str:
        """What a card says of an example's score: its size or, where that means nothing, its rank among its sign."""
        return self.text(score) if self.name else f"rank {rank:,}"


def unit_of(scores: np.ndarray, stored: str = NAT, slope: float = 1.0) -> Unit:
    """The unit in which a query's largest score reads well; one unit a query, so that bars can be compared.

    `stored` is that of the run's numbers, as `Run.unit` says; `slope` what they are multiplied by to be nats.
    """
    if stored == PROBABILITY:
        return Unit("percentage points", 100.0, PROBABILITY)
    if stored != NAT:
        return Unit("", 1.0)
    sizes = np.abs(np.asarray(scores, dtype=np.float64))
    largest = float(sizes[~np.isnan(sizes)].max(initial=0.0)) * slope
    if largest >= 0.1:
        return Unit("nat", slope, NAT, slope)
    name, factor = ("mnat", 1e3) if largest >= 1e-5 or largest == 0 else ("µnat", 1e6)
    return Unit(name, factor * slope, NAT, slope)


def number(value: float, digits: int = 2) -> str:
    """`value` with `digits` significant digits and no exponent unless it is very small."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not finite"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    rounded = float(f"{value:.{digits - 1}e}")
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}".replace("-", MINUS)


def signed(value: float, digits: int = 2) -> str:
    """`number` with its sign always written."""
    return ("+" if value > 0 else "") + number(value, digits)


def moved(value: float, unit: Unit) -> str:
    """The change of a loss with an arrow; its size only where that means something."""
    arrow = RISES if value > 0 else FALLS
    return f"{arrow} {unit.size(value)}".rstrip() if value else "0"


def change_words(value: float, unit: Unit) -> str:
    """What a loss will do, in words that follow "is predicted to"."""
    if not value:
        return "stay as it is"
    return f"{'rise' if value > 0 else 'fall'} by {unit.size(value)}" if unit.name else "rise" if value > 0 else "fall"


def correlation(value: float) -> str:
    """A correlation with two digits."""
    return f"{value:.2f}".replace("-", MINUS) if math.isfinite(value) else "not known"


def percent(fraction: float) -> str:
    """A share as a percentage: no false 0 % or 100 %."""
    if 0 < fraction < 0.001:
        return "under 0.1 %"
    if 0.999 < fraction < 1:
        return "over 99.9 %"
    return f"{100 * fraction:.{1 if fraction < 0.1 or fraction > 0.99 else 0}f} %"


def group_name(group: object) -> str:
    """A label or source as it is written on screen."""
    return escape.visible(group) if str(group).strip() else EMPTY_LABEL


def stage_word(stage: str) -> str:
    """A stage's name in a sentence."""
    return STAGE_WORDS.get(stage, stage)


EXPLAINED = "the loss on this prediction"
"""The target of the stored scores, in words."""


def sign_rule(stage: str, of: str = "this prediction") -> str:
    """The sign rule in words, as Streamlit markdown; `stage` is already escaped. `of`: whose loss scores speak of."""
    return (
        f":blue[{HELPFUL} **Helpful**]: leaving this example out of {stage} is predicted to *raise* the loss "
        f"on {of}. :orange[{HARMFUL} **Harmful**]: to *lower* it."
    )


def sign_help(reasons: Sequence[str]) -> str:
    """The formula behind the sign rule, or `reasons` why the scores are no such change; Streamlit markdown."""
    if not reasons:
        return SIGN_HELP
    told = "\n".join(f"- {escape.for_markdown(reason)}" for reason in reasons)
    return f"Only the order of these scores means something; their size is no change of the loss in nats.\n\n{told}"


SIGN_HELP = r"""
$$
\text{score}(z) = \tfrac{1}{m}\, q^\top (H + \delta I)^{-1}\, \nabla \ell(z)
\approx L_{\text{without } z} - L_{\text{now}}
$$

$q$: gradient of this prediction's loss $L$, pulled back to the parameters of the stage that is shown;
$H$: curvature of that stage's objective, $\delta$: damping, $m$: number of its training examples.

Unit: nat (change of the natural-log loss); 1 mnat = 0.001 nat, 1 µnat = 0.001 mnat.
Some papers print the raw derivative, which is $-m$ times this number.
"""

CARE = (
    "Read with care: a first-order estimate from one trained model. Single examples are often within the noise of "
    "retraining; read the lists as a spread, not as *the* cause."
)
