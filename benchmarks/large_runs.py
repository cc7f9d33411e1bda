"""The explorer on large runs of made-up numbers: how soon a view stands, and what is sent for it.

    python benchmarks/large_runs.py            # 60,000 pictures x 10,000 queries, and 1,000,000 points x 200
    python benchmarks/large_runs.py --smoke    # 3,000 x 200, to see that it runs

Needs Chromium on the path, and playwright; both runs take about 4 GB of disk (--folder says where).
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from influence.run import Draft, Run
from influence.run.records import Manifest, MapRecord, ParameterNames, ScoreRecord, StageRecord, Training

PORT = 8979
FLAGS = ["--no-sandbox", "--use-gl=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
POLLING = 30
"""Milliseconds between looks at the page, which cost it time too."""
CLASSES = [f"class {i}" for i in range(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one run of 3,000 examples and 200 queries")
    parser.add_argument("--folder", type=Path, help="where the runs go; default a temporary folder")
    given = parser.parse_args()
    sizes = [("small", 3_000, 200, True)]
    if not given.smoke:
        sizes = [("pictures", 60_000, 10_000, True), ("points", 1_000_000, 200, False)]
    table = Table("run", "first view, s", "new query, s: cards", "map", "server, s", "sent a query, MB", "memory, MB")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name, examples, queries, pictures in sizes:
            write_run(Path(folder), name, examples, queries, pictures)
            figures = measured(Path(folder), name, 3 if given.smoke else 10)
            table.add_row(f"{examples:,} {name}, {queries:,} queries", *(f"{figure:.2f}" for figure in figures))
            shutil.rmtree(Path(folder) / name)
    Console(width=120).print(table)


def write_run(root: Path, name: str, examples: int, queries: int, pictures: bool) -> Run:
    """Scores are noise, places lie in clouds, one a class."""
    rng = np.random.default_rng(0)
    draft = Draft(root, name, {"seed": 0})
    for file, places, count in (
        ("queries", "map/queries", queries),
        ("examples/pretrain", "map/pretrain", examples),
    ):
        table = table_of(rng, count, pictures)
        draft.write_table(places, table[["x", "y"]])
        draft.write_table(file, table.drop(columns=["x", "y"]))
    draft.write_model("pretrain", {"weight": torch.zeros(2)})
    file, scores = draft.create_scores("pretrain", "exact", (queries, examples))
    rows = max(scores.chunks[0], 2**26 // examples)
    for start in range(0, queries, rows):
        count = min(rows, queries - start)
        scores[start : start + count] = rng.standard_t(3, (count, examples)).astype("float32") * 1e-3
    draft.mark("everything")
    stage = StageRecord(
        "pretrain", examples, tuple(CLASSES), ParameterNames(new=("weight",)), l2=0.01, proximity=0.0, loss=0.1,
        accuracy=0.9, training=Training(gradient_norm=1e-6, iterations=10, converged=True, seconds=0.1),
    )  # fmt: skip
    return draft.finish(Manifest(
        study="made-up", variant="", title="Made up", summary="Noise.", created="2026-01-01T00:00:00Z", seed=0,
        measure="loss of the true class", stages=(stage,), default_method="exact",
        scores=(ScoreRecord("pretrain", "exact", file, {"damping": 0.01}),),
        map=MapRecord("pretrain", "clouds", "noise"),
    ))  # fmt: skip


def table_of(rng: np.random.Generator, count: int, pictures: bool) -> pd.DataFrame:
    labels, said = rng.integers(0, 10, (2, count))
    said = np.where(rng.random(count) < 0.9, labels, said)
    x, y = (np.stack([np.cos(labels), np.sin(labels)]) * 5 + rng.normal(size=(2, count))).astype("float32")
    table = pd.DataFrame(
        {
            "id": np.arange(count, dtype="int64"), "label": np.array(CLASSES)[labels],
            "prediction": np.array(CLASSES)[said], "confidence": rng.uniform(0.3, 1, count).astype("float32"),
            "loss": rng.exponential(0.3, count).astype("float32"), "x": x, "y": y,
        }
    )  # fmt: skip
    if pictures:
        noise = rng.integers(0, 256, (256, 28, 28), dtype=np.uint8)
        drawn = [png(picture) for picture in noise]
        table["image"] = [drawn[place % 256] for place in range(count)]
    return table


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def measured(root: Path, run: str, steps: int) -> list[float]:
    """First view, new query (cards; map), server's part, megabytes sent for it, the server's memory."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("There is no Chromium on this machine: install `chromium` to measure the explorer.")
    with served(root, PORT) as server:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            received = [0]
            page.on("websocket", lambda socket: socket.on("framereceived", lambda data: received.append(len(data))))
            page.goto(f"http://localhost:{PORT}/?run={run}")
            drawn(page, None)  # opens files and makes what all visitors share
            page.close()
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.on("websocket", lambda socket: socket.on("framereceived", lambda data: received.append(len(data))))
            first = seconds(lambda: opened(page, f"http://localhost:{PORT}/?run={run}"))
            cards, maps, sent = [], [], []
            for _ in range(steps):
                received.clear()
                before = state(page)
                began = stepped(page, before)
                cards.append(time.perf_counter() - began)
                changed(page, before, 1)
                maps.append(time.perf_counter() - began)
                page.wait_for_timeout(500)
                sent.append(sum(received) / 1e6)
            browser.close()
        memory = resident(server)
    return [
        first,
        *map(statistics.median, (cards, maps)),
        server_seconds(root, run),
        statistics.median(sent),
        memory / 1e6,
    ]


@contextmanager
def served(runs: Path, port: int) -> Iterator[int]:
    """The explorer on a folder of runs, in a process of its own, whose number this is."""
    command = [sys.executable, "-m", "explorer", "--runs", str(runs), "--port", str(port), "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        next(line for line in server.stdout if str(port) in line)
        yield server.pid
    finally:
        server.terminate()
        server.wait(timeout=60)


def resident(process: int) -> int:
    """Bytes of a process's memory, with its children's."""
    parent = psutil.Process(process)
    return sum(each.memory_info().rss for each in [parent, *parent.children(recursive=True)])


def server_seconds(root: Path, run: str) -> float:
    """Median of what the script takes for a new query, without a browser."""
    from streamlit.testing.v1 import AppTest

    os.environ["UPSTREAM_RUNS"] = str(root)
    with tempfile.TemporaryDirectory() as static:
        os.environ["UPSTREAM_STATIC"] = static
        app = AppTest.from_file(str(Path(__file__).parents[1] / "explorer" / "app.py"), default_timeout=120).run()
        spent = []
        for query in range(5):
            app.query_params["query"] = str(query)
            spent.append(seconds(app.run))
    return statistics.median(spent)


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


READ = """() => [
  [...document.querySelectorAll("*")].filter((e) => e.shadowRoot)
    .flatMap((e) => [...e.shadowRoot.querySelectorAll(".card")])
    .map((e) => e.dataset.id + e.textContent).join(),
  String(document.querySelector(".upstream-map .plot")?.data?.[0]?.marker?.color?.slice?.(-50)),
]"""


def state(page: Any) -> list[str]:
    """What the cards say, and the colours of the map's last points."""
    return page.evaluate(READ)


def stepped(page: Any, before: list[str]) -> float:
    """Steps to the next query until its cards are there; when the key was pressed. A busy page may miss it once."""
    from playwright.sync_api import TimeoutError as TooLate

    def pressed(timeout: int) -> float:
        began = time.perf_counter()
        page.keyboard.press("ArrowRight")
        changed(page, before, 0, timeout)
        return began

    try:
        return pressed(20_000)
    except TooLate:
        return pressed(120_000)


def changed(page: Any, before: list[str], place: int, timeout: int = 120_000) -> None:
    _wait(page, f"(before) => ({READ})()[{place}] !== before", before[place], timeout)


def opened(page: Any, address: str) -> None:
    page.goto(address)
    drawn(page, None)


def drawn(page: Any, _: None) -> None:
    _wait(page, f"() => ({READ})().every((part) => part && part !== 'undefined')")


def _wait(page: Any, condition: str, argument: str | None = None, timeout: int = 120_000) -> None:
    page.wait_for_function(condition, arg=argument, polling=POLLING, timeout=timeout)


if __name__ == "__main__":
    main()
