"""Models at the size that people have: EK-FAC's time in training epochs, its memory, and the best peers beside it.

    python benchmarks/real_models.py                       # every setting; hours on two cores
    python benchmarks/real_models.py --only gpt2 --share 0.1
    python benchmarks/real_models.py --smoke               # tiny models, to see that it runs

An epoch is a plain forward and backward pass over the same data, of both stages, timed before and after in the same
process; both in processor time. Memory is the largest resident size of the process, with torch, models and data.
Results are appended as JSON lines to `--out`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from real.measured import alone, as_line, measured, shrunk
from real.settings import SETTINGS
from rich.console import Console
from rich.table import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny models and data")
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--share", type=float, default=1.0, help="of the examples")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--out", type=Path, help="file of JSON lines that results are added to")
    given = parser.parse_args()
    table = Table("setting", "examples", "queries", "epochs", "to reach", "GB", "to reach")
    for name in given.only:
        setting = SETTINGS[name]
        size = setting.smoke if given.smoke else shrunk(setting, given.share)
        row = measured(name, size, 1) if given.smoke else alone(measured, name, size, given.threads)
        if given.out:
            with given.out.open("a", encoding="utf-8") as lines:
                lines.write(as_line(row) + "\n")
        table.add_row(
            setting.what, " + ".join(f"{n:,}" for n in row["examples"]), str(row["queries"]),
            f"{row['epochs']:.1f}", f"{setting.epochs or ''}", f"{row['gigabytes']:.2f}", f"{setting.gigabytes}",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
