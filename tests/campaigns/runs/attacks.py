"""Strangers' runs, full disks, power cuts, crowds: a line a campaign. `make campaigns` runs it.

    python tests/campaigns/runs/attacks.py [WORD ...]    # only situations whose campaign or name holds one of the words

It ends with 1 if a situation falls; each is named with its reason on the standard error.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import asked
import disks
import flips
import interruptions
import links
import manifests
import replacements
import studies
import tables
import visitors
from rich.console import Console
from situation import Situation

CAMPAIGNS = (asked, disks, flips, interruptions, links, manifests, replacements, studies, tables, visitors)
SITUATIONS: list[Situation] = [situation for campaign in CAMPAIGNS for situation in campaign.SITUATIONS]


def fall(situation: Situation) -> str:
    """Why the product falls in this situation; empty if it holds."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            situation.check(Path(folder))
        except Exception as error:  # whatever it is, the line says it
            return f"{type(error).__name__}: {error}"
    return ""


def main() -> int:
    page, log = Console(markup=False, highlight=False), Console(stderr=True, markup=False, highlight=False)
    words = [word.lower() for word in sys.argv[1:]]
    tried: Counter[str] = Counter()
    fallen: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for situation in SITUATIONS:
        if words and not any(word in str(situation).lower() for word in words):
            continue
        start = time.perf_counter()
        reason = fall(situation)
        tried[situation.campaign] += 1
        fallen[situation.campaign] += bool(reason)
        seconds[situation.campaign] += round(time.perf_counter() - start, 3)
        if reason:
            log.print(f"{situation}: {reason}")
    for campaign, count in tried.items():
        page.print(f"{campaign}: {count} situations, {fallen[campaign]} fell, {seconds[campaign]:.0f} s")
    return min(fallen.total(), 1)


if __name__ == "__main__":
    sys.exit(main())
