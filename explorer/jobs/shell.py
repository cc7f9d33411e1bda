"""What every page begins with, Streamlit's HTML and scripts: answered from memory, and named before they are needed."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import streamlit
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from explorer import vendor

STATIC = Path(streamlit.__file__).parent / "static"
SCRIPT = Path(__file__).with_name("shell.js")
ELEMENTS = ("Html", "Selectbox", "BidiComponent", "ButtonGroup", "Button", "TextInput", "DownloadButton")
"""Streamlit's elements in Explore's first view."""
_PLOTLY = f"/app/static/{vendor.PLOTLY}"
_FOREVER = {"Cache-Control": "public, immutable, max-age=31536000"}


class Shell:
    """ASGI middleware that answers for every page's HTML and for files that never change; Streamlit has the rest."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self.files = {f"/{path.relative_to(STATIC).as_posix()}": path for path in (STATIC / "static").rglob("*.*")}
        self.files[_PLOTLY] = vendor.FOLDER / vendor.PLOTLY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" and scope["method"] == "GET" else ""
        answer = self.app
        if path in self.files:
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            answer = Response(_content(self.files[path]), headers=_FOREVER, media_type=kind)
        elif path.count("/") == 1 and "." not in path:
            answer = Response(page(path), headers={"Cache-Control": "no-cache"}, media_type="text/html")
        await answer(scope, receive, send)


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


def page(path: str) -> str:
    """Streamlit's HTML for the page at `path`, with `shell.js`; Explore's names all scripts of its first view."""
    html, links = _content(STATIC / "index.html").decode(), ""
    if path == "/":
        links = "".join(f'<link rel="modulepreload" crossorigin href="/{file}">\n' for file in scripts())
        links += f'<link rel="preload" as="script" href="{_PLOTLY}">\n'
    script = _content(SCRIPT).decode()
    return html.replace("<head>", f"<head>\n<script>\n{script}</script>", 1).replace("</head>", f"{links}</head>", 1)


@cache
def scripts() -> tuple[str, ...]:
    """Paths of the scripts that `ELEMENTS` need, without those that Streamlit's HTML names itself."""
    parts = json.loads(_content(STATIC / "manifest.json"))
    elements = [key for key in parts if key.endswith(tuple(f"/{name}.tsx" for name in ELEMENTS))]
    needed = dict.fromkeys(part for key in elements for part in _needs(parts, key))
    return tuple(parts[key]["file"] for key in needed if key not in set(_needs(parts, "index.html")))


def _needs(parts: dict[str, Any], key: str) -> Iterator[str]:
    """A part of Streamlit's page, and all that it imports, each once."""
    found, waiting = set[str](), [key]
    while waiting:
        if (part := waiting.pop()) not in found:
            found.add(part)
            waiting += parts[part].get("imports", ())
            yield part
