"""Odd addresses, and crowds: what a server answers to whoever asks for whatever, and to fifty at once."""

from __future__ import annotations

import atexit
import os
import random
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, urlencode

import psutil
from pages import ADDRESSES
from situation import Situation, small_runs
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

REPOSITORY = Path(__file__).parents[3]
RUNS = ("small", "other", "words")
SLOWEST = 60.0
"""Seconds that an answer may take, to one visitor of fifty, on two processors that others use, too."""
LARGEST_GROWTH = 150
"""MB by which the server may grow while fifty look at it, and again fifty."""
OPEN_FILES = 256
"""That the server may have: as many as macOS gives."""
NAMES = """run show of k order colour ranking shading by explained against query cell group region example bar slice
side basket trained whose tag lesson plane words run_b query_b method method_b explain explain_b model find
find_example criterion gap class repair together again review pool way start text sheet basket_items slice_choice
nobody_knows"""
KEYS = NAMES.split()
PLAIN = """0 -1 1007 1e309 nan 99999999999999999999 0x10 true null None [] {} [1,2 {"a":[1]} a,b 1,2,3,4 0.1,nan,2,inf
pretrain pretrain:0 Pretraining finetune small other words ../small /etc/passwd small/../other C:\\x . ..
<script>alert(1)</script> {{7*7}} %00 Draw Upload Margin helpful iVBORw0KGgo= AAAA a-b-c 7-8 0:10 1000.0..2"""
VALUES = (
    *PLAIN.split(),
    *("", "\0", "\n\r\t", "\u202eabc", "\uff11\uff10\uff10\uff17", "\U0001f600", "Test item", "All three", "8\u21929"),
    *("**b** $x$ `c` [l](javascript:x)", "' OR 1=1 --", "x" * 5000, "9" * 5000, "(" * 3000, "[" * 100_000),
)


@dataclass
class Answer:
    """What the server sent to a visitor's question: the elements of the page, and seconds until it was whole."""

    elements: list[Element]
    seconds: float

    @property
    def shown(self) -> list[str]:
        """Texts of the page; in which order they come depends on how busy the server is."""
        kinds = [(each, each.WhichOneof("type")) for each in self.elements]
        return sorted(getattr(each, kind).body for each, kind in kinds if kind in ("markdown", "html"))

    def refuse_falls(self) -> None:
        """Raise AssertionError if an exception, or a callout that no page foresaw, stands on the page."""
        for each in self.elements:
            kind = each.WhichOneof("type")
            assert kind != "exception", each.exception.message
            assert kind != "alert" or "This page cannot be drawn" not in each.alert.body, each.alert.body
        assert self.elements, "the page is empty"
        assert self.seconds < SLOWEST, f"the answer took {self.seconds:.0f} s"


class Server:
    """An explorer of its own on three small runs; `files` may be open in it, default as many as in this process."""

    def __init__(self, files: int | None = None) -> None:
        self._home = TemporaryDirectory(prefix="upstream-visitors-")
        root, small = Path(self._home.name), small_runs()
        for number, name in enumerate(RUNS):
            small.write_run(root, name, seed=number, text=name == "words")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files})); " if files else ""
        start = f"{limit}import sys; from explorer.__main__ import main; sys.exit(main(sys.argv[1:]))"
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-c", start, "--runs", str(root), "--port", str(self.port), "--no-browser"],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert any("http://localhost" in line for line in iter(self._process.stdout.readline, "")), "no server"

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(15)
        self._home.cleanup()

    @property
    def served_by(self) -> psutil.Process:
        """The process that draws pages."""
        children = psutil.Process(self._process.pid).children()
        return next(child for child in children if "explorer.jobs.server" in child.cmdline())

    def visit(self) -> ClientConnection:
        # Without the name of a browser nothing is loaded ahead, which would grow the server while it is measured.
        address = f"ws://localhost:{self.port}/_stcore/stream"
        return connect(address, max_size=None, open_timeout=SLOWEST, user_agent_header=None)


@cache
def server() -> Server:
    """One for all situations of a process."""
    found = Server()
    atexit.register(found.end)
    return found


def ask(visitor: ClientConnection, page: str, query: str) -> Answer:
    """Ask for a page, as a browser does, and wait until it is whole."""
    message = BackMsg()
    message.rerun_script.query_string, message.rerun_script.page_name = query, page
    began, elements = time.monotonic(), []
    visitor.send(message.SerializeToString())
    while (left := began + 3 * SLOWEST - time.monotonic()) > 0:
        answer = ForwardMsg.FromString(visitor.recv(left, decode=False))
        kind = answer.WhichOneof("type")
        if kind == "delta" and answer.delta.WhichOneof("type") == "new_element":
            elements.append(answer.delta.new_element)
        if kind == "script_finished":
            assert answer.script_finished != ForwardMsg.FINISHED_WITH_COMPILE_ERROR
            break
    return Answer(elements, time.monotonic() - began)


def address(page: str, query: str) -> None:
    """One odd address: a page, or words about what is odd in it."""
    with server().visit() as visitor:
        ask(visitor, page, query).refuse_falls()


def queries() -> list[tuple[str, str]]:
    """500 pages with their queries: every key with odd values, then several keys at once, drawn by a seed."""
    rng, found = random.Random(20), []
    for number, key in enumerate(KEYS):
        for value in rng.sample(VALUES, 6):
            run = RUNS[number % 3] if key != "run" else value
            found.append(
                (ADDRESSES[len(found) % len(ADDRESSES)], urlencode([("run", run), (key, value)], errors="replace"))
            )
    while len(found) < 470:
        pairs = [(rng.choice(KEYS), rng.choice(VALUES)) for _ in range(rng.randint(2, 8))]
        found.append(
            (rng.choice(ADDRESSES), urlencode([("run", rng.choice(RUNS)), *pairs, *pairs[:2]], errors="replace"))
        )
    while len(found) < 500:  # no such page; no pairs at all; no UTF-8
        page = rng.choice(("nowhere", "../explore", "explore/explore", "x" * 3000, "%2e%2e", "", "item"))
        found.append(
            (page, rng.choice(("&&&", "=", "run", "%ff%fe=%c0", "run=small&run=other", quote("a=b&c"), "?" * 50)))
        )
    return found


def tour(number: int, together: threading.Barrier | None = None) -> list[list[str]]:
    """What a visitor of that number sees on three pages, each with a choice of its own."""
    shown = []
    with server().visit() as visitor:
        if together is not None:
            together.wait(3 * SLOWEST)
        for step in range(3):
            page = ADDRESSES[(number + step) % 6]
            chosen = {"run": RUNS[number % 3], "query": 1000 + number % 40, "example": (number + step) % 20}
            answer = ask(visitor, page, urlencode(chosen))
            answer.refuse_falls()
            shown.append(answer.shown)
    return shown


def crowd(count: int) -> None:
    """So many visitors at once, each with views of its own: everybody sees what somebody sees who is alone."""
    alone = [tour(number) for number in range(count)]
    process, together = server().served_by, threading.Barrier(count)
    before = process.memory_info().rss
    problems: list[str] = []

    def look(number: int) -> None:
        try:
            if tour(number, together) != alone[number]:
                problems.append(f"visitor {number} sees other things than alone")
        except Exception as error:  # of whatever kind: the list says it
            problems.append(f"{type(error).__name__}: {error}")

    visitors = [threading.Thread(target=look, args=(number,)) for number in range(count)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert not problems, f"{len(problems)} problems: {problems[:3]}"
    grown = (process.memory_info().rss - before) / 2**20
    assert grown < LARGEST_GROWTH, f"the server grew by {grown:.0f} MB"


def one_after_the_other(count: int) -> None:
    """So many visits, each closed, where few files may be open: the number is bounded, and all are answered."""
    few = Server(OPEN_FILES)
    try:
        for number in range(count):
            with few.visit() as visitor:
                ask(visitor, ADDRESSES[number % len(ADDRESSES)], f"run={RUNS[number % 3]}").refuse_falls()
        held = few.served_by.num_fds()
        assert held < OPEN_FILES / 2, f"{held} files are open after {count} visits"
    finally:
        few.end()


SITUATIONS = [
    *(
        Situation(
            "addresses",
            f"{number}: {page[:20] or 'explore'}?{query[:60]}",
            lambda _, page=page, query=query: address(page, query),
            quick=number % 12 == 0,
        )
        for number, (page, query) in enumerate(queries())
    ),
    Situation("visitors", "150, one after the other", lambda _: one_after_the_other(150)),
    Situation("visitors", "50 at once", lambda _: crowd(50)),
    Situation("visitors", "50 at once, again", lambda _: crowd(50)),
    Situation("visitors", "8 at once", lambda _: crowd(8), quick=True),
]
