"""The explorer on large runs of made-up numbers: how soon a view stands, and what is sent for it.

    python benchmarks/large_runs.py            # 60,000 pictures x 10,000 queries, 1,000,000 points x 200, and 1,000,000
                                               # points x 1,000 of which the strongest scores are kept
    python benchmarks/large_runs.py --smoke    # 3,000 x 200, to see that it runs
    python benchmarks/large_runs.py --run runs/mine     # a run that is there

Needs Chromium on the path, and playwright; the runs take about 4 GB of disk (--folder says where).
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from influence.precompute.pieces.keeping import SAMPLE
from influence.run import Draft, Run
from influence.run.files import scores_file, slices_method
from influence.run.kept.histogram import counted, exponents
from influence.run.plain import bytes_in
from influence.run.records import Manifest, MapRecord, ParameterNames, ScoreRecord, StageRecord, Training

PORT = 8979
FLAGS = ["--no-sandbox", "--use-gl=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
POLLING = 30
"""Milliseconds between looks at the page, which cost it time too."""
VIEWS = 5
"""Visitors after the first, of whose views the median counts."""
SIZES = {
    "small": {"examples": 3_000, "queries": 200, "pictures": True},
    "pictures": {"examples": 60_000, "queries": 10_000, "pictures": True},
    "points": {"examples": 1_000_000, "queries": 200, "pictures": False},
    "strongest": {"examples": 1_000_000, "queries": 1_000, "pictures": False, "keep": 1_000},
    "strongest-pictures": {"examples": 1_000_000, "queries": 1_000, "pictures": True, "keep": 1_000},
}
CLASSES = [f"class {i}" for i in range(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one run of 3,000 examples and 200 queries")
    parser.add_argument("--folder", type=Path, help="where the runs go; default a temporary folder")
    parser.add_argument("--run", type=Path, nargs="+", help="folders of runs that are there, instead")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[*SIZES][1:], help="of made-up runs")
    given = parser.parse_args()
    seconds_of, bytes_of = ("opened, s", "view", "new query: cards", "map", "server"), ("sent, MB", "memory", "disk")
    table = Table("run", *seconds_of, *bytes_of)
    steps = 3 if given.smoke else 10
    for run in given.run or ():
        table.add_row(run.name, *(f"{figure:.2f}" for figure in measured(run.parent, run.name, steps)))
    for name in () if given.run else ["small"] if given.smoke else given.sizes:
        size = SIZES[name]
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            write_run(Path(folder), name, **size)
            row = f"{size['examples']:,} {name}, {size['queries']:,} queries"
            table.add_row(row, *(f"{figure:.2f}" for figure in measured(Path(folder), name, steps)))
    Console(width=140).print(table)


def write_run(root: Path, name: str, examples: int, queries: int, pictures: bool, keep: int = 0) -> Run:
    """Scores are noise, places lie in clouds, one a class. With `keep`, so many of either sign are kept of a query."""
    rng = np.random.default_rng(0)
    draft = Draft(root, name, {"seed": 0})
    sample = np.sort(rng.permutation(examples)[:SAMPLE]) if keep else np.arange(examples)
    for file, places, count, placed in (
        ("queries", "map/queries", queries, np.arange(queries)),
        ("examples/pretrain", "map/pretrain", examples, sample),
    ):
        table = table_of(rng, count, pictures)
        draft.write_table(places, table[["x", "y"]].loc[placed].reindex(table.index))
        draft.write_table(file, table.drop(columns=["x", "y"]))
    draft.write_model("pretrain", {"weight": torch.zeros(2)})
    if keep:
        write_strongest(draft, rng, queries, table["label"], sample, keep)
    else:
        _, scores = draft.create_scores("pretrain", "exact", (queries, examples))
        rows = max(scores.chunks[0], 2**26 // examples)
        for start in range(0, queries, rows):
            count = min(rows, queries - start)
            scores[start : start + count] = noise(rng, (count, examples))
    draft.mark("everything")
    slices = ("all", "wrong") if keep else ()
    record = ScoreRecord("pretrain", "exact", scores_file("pretrain", "exact"), {"damping": 0.01}, keep, slices)
    stage = StageRecord(
        "pretrain", examples, tuple(CLASSES), ParameterNames(new=("weight",)), l2=0.01, proximity=0.0, loss=0.1,
        accuracy=0.9, training=Training(gradient_norm=1e-6, iterations=10, converged=True, seconds=0.1),
    )  # fmt: skip
    return draft.finish(Manifest(
        study="made-up", variant="", title="Made up", summary="Noise.", created="2026-01-01T00:00:00Z", seed=0,
        measure="loss of the true class", stages=(stage,), default_method="exact",
        scores=(record,),
        map=MapRecord("pretrain", "clouds", "noise"),
    ))  # fmt: skip


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3, shape).astype("float32") * 1e-3


def write_strongest(
    draft: Draft, rng: np.random.Generator, queries: int, labels: pd.Series, sample: np.ndarray, keep: int
) -> None:
    """The files of a run that keeps the strongest. One draw of scores serves all queries, each by another rotation."""
    scores = noise(rng, (len(labels),))
    order = np.argsort(-scores, kind="stable")
    rows = np.concatenate([order[:keep], order[-keep:][::-1]])
    turns = rng.integers(0, len(labels), queries)
    every = {"query": np.repeat(np.arange(queries, dtype="int32"), 2 * keep)}
    every["example"] = ((rows + turns[:, None]) % len(labels)).ravel().astype("int32")
    draft.write_table("strongest/pretrain-exact", pd.DataFrame(every | {"score": np.tile(scores[rows], queries)}))
    draft.write_table("sample/pretrain", pd.DataFrame({"example": sample}))
    sampled = np.stack([scores[(sample - turn) % len(labels)] for turn in turns])
    draft.write_array(scores_file("pretrain", "exact").removesuffix(".zarr"), sampled)
    _, sums = draft.create_scores("pretrain", slices_method("exact"), (2, len(labels)))
    sums[:] = noise(rng, (2, len(labels)))
    groups = [("", "", len(labels)), *(("label", name, int((labels == name).sum())) for name in CLASSES)]
    draft.write_table("groups/pretrain", pd.DataFrame(groups, columns=["by", "group", "count"]))
    exponent = exponents(scores[None])
    helpful = np.array([scores[scores > 0].sum(dtype=float)] * len(groups))
    totals = {
        "width": [float(np.ldexp(1.0, exponent[0]))],
        "counts": [counted(scores[None], exponent)[0].astype("int32")],
    }
    totals |= {"helpful": [helpful], "harmful": [-helpful]}
    draft.write_table("totals/pretrain-exact", pd.DataFrame({name: each * queries for name, each in totals.items()}))


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
        # Bytes after a picture's end are not drawn, and keep a file from packing equal pictures as one.
        table["image"] = [drawn[place % 256] + place.to_bytes(4, "big") for place in range(count)]
    return table


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def measured(root: Path, run: str, steps: int) -> list[float]:
    """What `main` prints: a server's first visitor's view, another's, a new query, megabytes sent for it and held."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("There is no Chromium on this machine: install `chromium` to measure the explorer.")
    with served(root, PORT) as server:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            received: list[int] = []
            address, views = f"http://localhost:{PORT}/?run={run}", []
            # The first visitor's opens files and makes what all visitors share.
            for _ in range(1 + VIEWS):
                page = browser.new_page(viewport={"width": 1440, "height": 1000})
                page.on("websocket", lambda socket: socket.on("framereceived", lambda data: received.append(len(data))))
                views.append(seconds(partial(opened, page, address)))
                if len(views) <= VIEWS:
                    page.close()
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
        views[0],
        statistics.median(views[1:]),
        *map(statistics.median, (cards, maps)),
        server_seconds(root, run),
        statistics.median(sent),
        memory / 1e6,
        bytes_in(root / run) / 1e6,
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
