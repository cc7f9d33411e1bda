"""The quick third of the campaign, and that the campaign sees what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comparison import Row, compare
from families import ROWS
from families.wrappers import network, setup
from setups import line

QUICK = ("identity", "exact", "ekfac", "replay")


@pytest.mark.parametrize("row", [row for row in ROWS if row.quick], ids=str)
def test_scores_are_the_truth_or_something_is_said(row):
    found = compare(row, QUICK)
    assert found.faults == []
    assert bool(found.told) == bool(row.told)
    assert found.errors or row.told


def other_values():
    made = setup(network())
    return replace(made, reference=replace(made, model=network()))


def endless():
    made = setup(network())
    made.model[4].bias.data.fill_(torch.inf)
    return made


def test_scores_of_another_model_are_found_out():
    found = compare(Row("harness", "other values", other_values), ("identity", "exact"))
    assert [fault.split(":")[0] for fault in found.faults] == ["identity", "exact"]
    assert "**fault** exact: off by" in line(found)


@pytest.mark.parametrize(("told", "faults"), [("finite", 0), ("", 1)])
def test_only_an_error_that_was_foreseen_is_no_fault(told, faults):
    found = compare(Row("harness", "values that are not finite", endless, told=told), ("identity",))
    assert len(found.faults) == faults
    assert "finite" in line(found)
