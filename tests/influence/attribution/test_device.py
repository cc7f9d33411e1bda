"""On a device of its own memory everything comes out as on the processor, and passes do not run back and forth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from on_other_device import BATCHES, CASES

SCRIPT = Path(__file__).parents[1] / "on_other_device.py"


@pytest.fixture(scope="module")
def found() -> list[dict]:
    run = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_the_processor(found, case):
    (error,) = [each["error"] for each in found if each.get("case") == case]
    assert error < 1e-4


@pytest.mark.parametrize("queries", [10, 100])
def test_scoring_a_batch_leaves_the_device_alone(found, queries):
    """Its two tensors go there; nothing comes back but, of the eighth, whether it is as autograd says."""
    (counts,) = [each for each in found if each.get("queries") == queries]
    assert "from device" not in counts
    assert counts["to device"] < 3
    assert counts["waits"] * BATCHES <= 12  # a parameter each


def test_the_pretend_device_refuses_to_mix():
    lines = "import torch, other_device\ntorch.ones(3) + torch.ones(3, device='other')"
    run = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, cwd=SCRIPT.parent)
    assert run.returncode == 1
    assert "on the same device" in run.stderr
