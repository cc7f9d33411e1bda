"""What a command loads before it computes: `--help`, the lists and `check` stand at once."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "umap", "numba", "sklearn", "scipy", "transformers"}
COMMANDS = (
    "demo", "precompute", "import", "studies", "methods", "runs", "check", "query", "validate", "verify", "leave-out",
    "what-if", "explore",
)  # fmt: skip
SCRIPT = """
import sys
from influence.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def loaded(*arguments):
    """Modules that `upstream ...` has loaded when it ends."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_loads_neither_torch_nor_tables(command):
    assert not loaded(*command, "--help") & {*HEAVY, "numpy", "pandas", "zarr", "rich"}


@pytest.mark.parametrize("command", ["studies", "methods"])
def test_lists_of_studies_and_methods_load_no_torch(command):
    assert not loaded(command) & {*HEAVY, "pandas", "zarr"}


def test_runs_and_check_load_no_torch(runs_folder):
    assert not loaded("runs", "--runs", str(runs_folder)) & HEAVY
    assert not loaded("check", "tiny-frozen", "--runs", str(runs_folder)) & HEAVY


def seconds(*arguments):
    """Of the processor, of a Python process; the least of three."""
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


def test_help_takes_less_than_a_tenth_of_torchs_import():
    assert seconds("-m", "influence", "--help") < seconds("-c", "import torch") / 10
