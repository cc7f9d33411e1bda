"""Runs as a stranger might send them: copies of a small one, to be changed, read in limited memory."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from situation import EXPLORER, small_runs

PICTURES, TEXTS = "pictures", "texts"


@cache
def template(kind: str) -> Path:
    """A folder with a finished run named "odd" that was checked, of pictures or texts; nobody changes it."""
    root = Path(tempfile.mkdtemp(prefix="upstream-template-"))
    run = small_runs().write_run(root, "odd", text=kind == TEXTS)
    if kind == PICTURES:
        sys.path.append(str(EXPLORER))
        from small_checks import checked

        checked(run)
    return root


def copied(kind: str, folder: Path) -> Path:
    """The same in a folder of runs of this situation, which is returned."""
    return Path(shutil.copytree(template(kind), folder / "runs"))


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """This process gets no more memory than it has now and `more` bytes, where the system can see to that."""
    if sys.platform != "linux":
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
