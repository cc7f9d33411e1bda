"""What the explorer's process loads: every page but Try it is drawn without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "explorer" / "app.py"
HEAVY = {"torch", "torchvision", "umap", "numba", "sklearn", "scipy", "transformers"}
PAGES = ("", "item", "suspects", "compare", "trust", "notes", "learn")
SCRIPT = f"""
import sys
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

for address in {PAGES!r}:
    app = AppTest.from_file({str(APP)!r}, default_timeout=60)
    app._page_hash = calc_hash(address) if address else ""
    app.run()
    assert not app.exception and not app.error, (address, app.exception, app.error)
    print(address or "explore", *({HEAVY!r} & sys.modules.keys()))
"""


@pytest.mark.parametrize("run", ["small-checked", "words"])
def test_pages_are_drawn_without_torch(small, small_checks, tmp_path, monkeypatch, run):
    made = small.write_run(tmp_path / "runs", run, text=run == "words")
    if run == "small-checked":
        small_checks.checked(made)
    monkeypatch.setenv("UPSTREAM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("UPSTREAM_STATIC", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["explore", *PAGES[1:], ""]


def test_launcher_loads_neither_torch_nor_tables():
    script = "import sys, explorer.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {*HEAVY, "pandas", "zarr", "streamlit"}
