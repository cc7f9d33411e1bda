"""The documentation site: built strictly as `make docs` builds it, complete, and nothing in it comes from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?([^\"' >]+)"
    r"|<link\b[^>]*\bhref=[\"']?([^\"' >]+)"
    r"|@import\s+(?:url\()?[\"']?([^\"');]+)"
    r"|url\([\"']?([^\"')]+)",
    re.IGNORECASE,
)
"""Addresses of what a browser loads by itself for a page or a style sheet."""


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, built by the environment that runs the tests."""
    pytest.importorskip("zensical", reason="the extra `docs` is not installed")
    folder = Path(sys.executable).parent
    done = subprocess.run(
        ["make", "docs", f"BIN={folder}", "READY="], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    complaints = re.findall(r"^(?:griffe|mkdocstrings): .*", done.stdout + done.stderr, re.MULTILINE)
    assert not complaints, "every docstring is understood, every name found"
    return ROOT / "build" / "docs"


def named(nav: Any) -> Iterator[str]:
    """The pages of a navigation."""
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from named(part)


def test_every_page_is_in_the_navigation():
    nav = set(named(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert nav == pages | {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "influence/CONTRACT.md"}


def test_nothing_is_loaded_from_elsewhere(site):
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 20
    loaded = {a for path in files for found in LOADED.findall(path.read_text(encoding="utf-8")) for a in found if a}
    assert any(address.endswith(".css") for address in loaded), "style sheets are among what is looked at"
    assert not {address for address in loaded if re.match(r"(https?:)?//", address)}


def test_formulas_are_drawn_by_the_browser_alone(site):
    text = (site / "docs" / "method.html").read_text(encoding="utf-8")
    assert text.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"') == 8
    assert "arithmatex" not in text
    assert not re.search(r"\\(frac|lVert|alpha|nabla)", re.sub(r"<[^>]+>", "", text))


def test_the_reference_has_what_the_package_exports(site):
    import influence

    text = "".join(path.read_text(encoding="utf-8") for path in (site / "docs" / "api").glob("*.html"))
    for name in influence.__all__:
        assert re.search(rf'id="influence\.(?:\w+\.)*{name}"', text), name


def test_pages_open_from_the_disk_without_a_request(site, watched):
    for name in ("index.html", "docs/method.html", "docs/api/influence.html"):
        watched.page.goto((site / name).as_uri())
        watched.page.wait_for_selector("h1")
    watched.page.goto((site / "docs" / "method.html").as_uri())
    assert watched.page.locator("math mfrac").first.bounding_box()["height"] > 10, "a fraction stands in two lines"
    watched.page.wait_for_timeout(500)
    assert [url for url in watched.left if not url.startswith("file:")] == []
