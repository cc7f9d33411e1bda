"""The HTML that pages begin with, and the files that are answered from memory."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from explorer.jobs import shell


async def elsewhere(scope, receive, send):
    await send({"type": "http.response.start", "status": 418, "headers": []})


def asked(path, method="GET", kind="http"):
    """Status, headers and body of an answer; 418 is what the server behind the shell says."""
    messages = []

    async def send(message):
        messages.append(message)

    answer = shell.Shell(elsewhere)({"type": kind, "method": method, "path": path}, None, send)
    with ThreadPoolExecutor() as thread:  # a browser's tests leave an event loop in this one
        thread.submit(asyncio.run, answer).result()
    headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return messages[0]["status"], headers, b"".join(message.get("body", b"") for message in messages)


def test_streamlits_own_files_are_answered_as_they_are_and_kept_for_good():
    for kind, name in (("text/javascript", "js/*.js"), ("text/css", "css/*.css"), ("font/woff2", "media/*.woff2")):
        path = next((shell.STATIC / "static").glob(name))
        status, headers, body = asked(f"/static/{name.split('/')[0]}/{path.name}")
        assert (status, body) == (200, path.read_bytes())
        assert headers["content-type"].startswith(kind)
        assert "immutable" in headers["cache-control"]


@pytest.mark.parametrize("path", ["/", "/item", "/a-page-that-is-not-there"])
def test_a_page_is_streamlits_html_that_knows_where_its_server_is(path):
    status, headers, body = asked(path)
    assert (status, headers["cache-control"]) == (200, "no-cache")
    assert b"BACKEND_BASE_URL: window.location.origin" in body
    assert b'<div id="root"></div>' in body


def test_the_first_page_names_scripts_that_exist_and_no_other_page_does():
    named = re.findall(rb'(?:preload"|script") crossorigin (?:href|src)="[.]?(/static/js/[^"]+)"', asked("/")[2])
    assert len(named) == len(set(named)) > len(shell.scripts()) > len(shell.ELEMENTS)
    assert all(asked(path.decode())[0] == 200 for path in named)
    for element in shell.ELEMENTS:
        assert any(f"/{element}." in path for path in shell.scripts()), element
    assert shell.scripts()[0].encode() not in asked("/item")[2]


@pytest.mark.parametrize(
    ("path", "method", "kind"),
    [
        ("/_stcore/health", "GET", "http"),
        ("/item/_stcore/health", "GET", "http"),
        ("/app/static/a.points", "GET", "http"),
        ("/static/../index.html", "GET", "http"),
        ("/static/js/none.js", "GET", "http"),
        ("/favicon.png", "GET", "http"),
        ("//elsewhere", "GET", "http"),
        ("/", "POST", "http"),
        ("/_stcore/stream", "", "websocket"),
    ],
)
def test_all_else_is_streamlits(path, method, kind):
    assert asked(path, method, kind)[0] == 418
