"""Time and memory of the embedded study, and of a query change in the explorer's data path.

    python benchmarks/precompute.py            # both runs of `digits`, in a temporary folder
    python benchmarks/precompute.py --smoke    # a twentieth of the digits, to see that it runs

Prints the seconds of every step, the peak memory of the process, and the milliseconds to read one query's scores.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np
from rich.console import Console
from rich.table import Table

import influence.studies.images.digits as digits
from influence.attribution.report import peak_memory
from influence.precompute import precompute


class Thinned(digits.Digits):
    """The same study on a twentieth of the examples, or as many as `step` says."""

    step = 20

    @property
    def _rows(self):
        return {name: rows[:: self.step] for name, rows in super()._rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a twentieth of the digits")
    study = (Thinned if parser.parse_args().smoke else digits.Digits)(seed=0)
    table, started = Table("run", "step", "seconds"), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        runs = precompute([study.exhibit(v) for v in study.variants], study.variants, folder)
        seconds = time.perf_counter() - started
        for run in runs:
            for step, spent in run.manifest.timings.items():
                table.add_row(run.name, step, f"{spent:.1f}")
        rows = []
        for query in np.random.default_rng(0).choice(len(runs[0].queries()), 50, replace=False):
            began = time.perf_counter()
            np.asarray(runs[0].scores(stage="pretrain")[query])
            rows.append(time.perf_counter() - began)
    console = Console()
    console.print(table)
    console.print(
        f"total {seconds:.0f} s, peak memory {peak_memory() / 2**30:.2f} GiB; "
        f"one query's scores read in {1e3 * np.median(rows):.1f} ms (median of 50)"
    )


if __name__ == "__main__":
    main()
