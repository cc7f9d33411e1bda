"""The embedded study's computation alone, and beside a busy process at the lowest priority.

    python benchmarks/busy.py            # both runs of `digits`, each computed twice in a temporary folder
    python benchmarks/busy.py --step 8   # an eighth of the digits
    python benchmarks/busy.py --smoke    # a twentieth, one finetuned model, to see that it runs

A busy machine should cost its share, no more: the second takes at most 1.5 times as long as the first. Both are
processes of their own, which choose their threads as `upstream precompute` does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

MOST = 1.5
"""Times as long as alone that the computation may take."""
HERE = Path(__file__).parent
COMPUTE = """
import sys
from precompute import Thinned
from influence.cli.precompute import compute
from pathlib import Path
study, variants = Thinned(seed=0), sys.argv[3:]
study.step = int(sys.argv[2])
compute([study.exhibit(v) for v in variants], Path(sys.argv[1]), "digits", "cpu", None, quiet=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a twentieth of the digits, one finetuned model")
    parser.add_argument("--step", type=int, default=1, help="one of so many digits")
    given = parser.parse_args()
    asked = (20, ["frozen"]) if given.smoke else (given.step, ["frozen", "updated"])
    alone, threads = seconds(*asked)
    with busy():
        beside, _ = seconds(*asked)
    table = Table("digits", "seconds", "times")
    table.add_row("alone", f"{alone:.1f}", "")
    table.add_row("beside a busy process", f"{beside:.1f}", f"{beside / alone:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"{threads} thread(s) of {os.cpu_count()} processors. "
        f"At most {MOST} times as long: {'yes' if beside <= MOST * alone else 'no'}."
    )


def seconds(step: int, variants: list[str]) -> tuple[float, int]:
    """Of one computation, its start included, and the threads that it used."""
    with tempfile.TemporaryDirectory() as folder:
        paths = os.pathsep.join([str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        began = time.perf_counter()
        command = [sys.executable, "-c", COMPUTE, folder, str(step), *variants]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=True)
        spent = time.perf_counter() - began
        run = json.loads((Path(folder) / "digits-frozen" / "run.json").read_text())
        return spent, run["versions"]["threads"]


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """A process that counts, at the lowest priority."""
    process = subprocess.Popen([sys.executable, "-c", "import os\nos.nice(19)\nwhile True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
