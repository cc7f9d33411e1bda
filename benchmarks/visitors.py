"""Many visitors at once, each stepping through predictions on a server of their own: waiting times and memory.

    python benchmarks/visitors.py                      # twenty visitors on the embedded study's runs
    python benchmarks/visitors.py --runs DIR --run NAME --visitors 20 --steps 10 --pause 3
    python benchmarks/visitors.py --smoke              # three visitors on a small run of made-up numbers

A visitor is a connection that speaks as the browser does (what twenty browsers draw would take the machine's time, not
the server's). A wait is from asking for a prediction until the page's script has ended. Needs Linux for the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from large_runs import resident, served, write_run
from rich.console import Console
from rich.table import Table
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from influence.run import Run

PORT = 8978
WARM = 1
"""Visitors before the others: they find opened files, as all but the first do."""


@dataclass
class Seen:
    """What visitors met with.

    Attributes:
        first, changes: waits for the first view and for each other prediction, seconds.
        errors: exceptions and red callouts on the page.
    """

    first: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("data/runs"))
    parser.add_argument("--run", default="digits-frozen")
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="predictions that each visitor asks for")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds that a visitor looks at each, on average")
    parser.add_argument("--smoke", action="store_true", help="three visitors on made-up numbers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.smoke:
            write_run(Path(folder), "small", 2_000, 50, pictures=True)
            given.runs, given.run, given.visitors, given.steps, given.pause = Path(folder), "small", 3, 2, 0.1
        report(given)


def report(given: argparse.Namespace) -> None:
    ids = Run.open(given.runs / given.run).queries()["id"].tolist()
    with served(given.runs, PORT) as server:
        seen, memory = asyncio.run(visits(server, given, ids))
    table = Table("wait, s", "median", "95th percentile", "longest", "how many")
    for name, waits in (("first view", seen.first), ("another prediction", seen.changes)):
        table.add_row(name, *(f"{q:.2f}" for q in np.quantile(waits, [0.5, 0.95, 1])), str(len(waits)))
    console = Console()
    console.print(table)
    console.print(
        f"{given.visitors} visitors of {given.run}, who look at each prediction for {given.pause:g} s on average, "
        f"{os.cpu_count()} cores; {memory:.1f} MB of the server's memory for each; {len(seen.errors)} errors."
    )
    if seen.errors:
        raise SystemExit("\n".join(sorted(set(seen.errors))))


async def visits(server: int, given: argparse.Namespace, ids: list[int]) -> tuple[Seen, float]:
    """What all visitors saw, and the server's memory for each, MB."""
    for _ in range(WARM):
        await visit(Seen(), given, ids, 0)
    before, seen = resident(server), Seen()
    together = asyncio.Barrier(given.visitors + 1)
    going = [asyncio.create_task(visit(seen, given, ids, number, together)) for number in range(given.visitors)]
    await together.wait()
    memory = resident(server) - before  # while all are still there
    await together.wait()
    await asyncio.gather(*going)
    return seen, memory / given.visitors / 1e6


async def visit(
    seen: Seen, given: argparse.Namespace, ids: list[int], number: int, together: asyncio.Barrier | None = None
) -> None:
    """One visitor's stay; at its end all wait for each other, twice."""
    draw = random.Random(number)
    async with connect(f"ws://localhost:{PORT}/_stcore/stream", max_size=None) as server:
        await asyncio.sleep(draw.uniform(0, given.pause) if together else 0)
        seen.first.append(await asked(server, {"run": given.run}, seen.errors))
        for _ in range(given.steps):
            await asyncio.sleep(draw.uniform(0, 2 * given.pause) if together else 0)
            choice = {"run": given.run, "query": draw.choice(ids)}
            seen.changes.append(await asked(server, choice, seen.errors))
        if together is not None:
            await together.wait()
            await together.wait()


async def asked(server: ClientConnection, choices: dict[str, object], errors: list[str]) -> float:
    """Seconds until the view with these choices (what the URL says) stands; `errors` gets what is wrong on it."""
    message = BackMsg()
    message.rerun_script.query_string = urlencode(choices)
    began, shown = time.perf_counter(), b""
    await server.send(message.SerializeToString())
    while True:
        received = bytes(await server.recv(decode=False))
        answer, shown = ForwardMsg.FromString(received), shown + received
        kind = answer.WhichOneof("type")
        if kind == "delta":
            element = answer.delta.new_element
            if element.WhichOneof("type") == "exception":
                errors.append(element.exception.message)
            if element.WhichOneof("type") == "alert" and element.alert.format == element.alert.ERROR:
                errors.append(element.alert.body)
        if kind == "script_finished" and answer.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
            waited = time.perf_counter() - began
            if str(choices.get("query", "")).encode() not in shown:
                errors.append(f"prediction {choices['query']} was asked for and is not on the page")
            return waited


if __name__ == "__main__":
    main()
