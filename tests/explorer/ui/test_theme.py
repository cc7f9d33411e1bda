"""Numbers and words on screen."""

import numpy as np
import pytest

from explorer.ui import theme
from explorer.ui.theme import MINUS


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"), (0.998, "1.0"), (0.0123, "0.012"), (1234.5, "1,200"), (-0.83, f"{MINUS}0.83"), (9.96, "10"),
        (99.6, "100"),
        (3e-6, f"3.0e{MINUS}06"), (float("nan"), "not finite"),
    ],
)  # fmt: skip
def test_number_has_two_significant_digits(value, shown):
    assert theme.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1, "1.00"), (-0.256, f"{MINUS}0.26"), (float("nan"), "not known"), (np.float32(0.5), "0.50")]
)
def test_correlation_has_two_digits(value, shown):
    assert theme.correlation(value) == shown


def test_signed_always_writes_the_sign():
    assert (theme.signed(0.5), theme.signed(-0.5), theme.signed(0)) == ("+0.50", f"{MINUS}0.50", "0")


@pytest.mark.parametrize(("largest", "unit"), [(2.0, "nat"), (0.05, "mnat"), (2e-6, "µnat"), (0.0, "mnat")])
def test_unit_makes_the_largest_score_readable(largest, unit):
    assert theme.unit_of(np.array([0.0, -largest])).name == unit


def test_identity_scores_have_no_unit():
    unit = theme.unit_of(np.array([1e-7]), "order only")
    assert unit.name == ""
    assert "nat" not in unit.full(1e-7)


def test_unit_shows_the_stored_value_in_full():
    unit = theme.unit_of(np.array([0.0012345678]))
    assert unit.text(0.0012345678) == "+1.2"
    assert unit.full(-0.0012345678) == f"{MINUS}0.00123457 nat"


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0.0 %"), (1e-5, "under 0.1 %"), (0.062, "6.2 %"), (0.5, "50 %"), (0.99999, "over 99.9 %")]
)
def test_percent_claims_no_false_certainty(share, shown):
    assert theme.percent(share) == shown


def test_sign_rule_says_helpful_raises_and_harmful_lowers():
    rule = theme.sign_rule("pretraining")
    assert rule.index("Helpful") < rule.index("raise") < rule.index("Harmful") < rule.index("lower")
    assert "out of pretraining" in rule
