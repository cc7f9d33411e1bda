"""`python -m explorer`: what it refuses, and what it leaves behind."""

import http.client
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from explorer import __main__ as launch


def test_taken_port_is_refused(capsys, small_root):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert launch.main(["--runs", str(small_root), "--port", str(port), "--no-browser"]) == 2
    message = capsys.readouterr().err
    assert f"Port {port} is in use" in message
    assert "--port" in message


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_bad_port_is_refused(port, capsys):
    with pytest.raises(SystemExit) as stopped:
        launch.main(["--port", port])
    assert stopped.value.code == 2
    assert "1 to 65535" in capsys.readouterr().err


def test_bad_run_is_refused(small_root, capsys):
    assert launch.main(["--runs", str(small_root), "--run", "nobody"]) == 2
    assert "There is no run at" in capsys.readouterr().err


def test_run_by_name_or_path(small_root):
    assert launch.folder_and_run(small_root, "small") == (small_root, "small")
    assert launch.folder_and_run(small_root / "elsewhere", str(small_root / "small")) == (small_root, "small")


def test_launch_folder_that_cannot_be_made_is_refused(monkeypatch, capsys, small_root):
    def no_folder(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(launch.tempfile, "TemporaryDirectory", no_folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert launch.main(["--runs", str(small_root), "--port", str(port)]) == 2
    assert "TMPDIR" in capsys.readouterr().err


def test_launch_folder_holds_everything(tmp_path):
    entry = launch.prepare(tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"upstream.py", ".streamlit/config.toml", f"static/{launch.vendor.PLOTLY}"}
    assert len(entry.read_text().splitlines()) == 2
    assert "gatherUsageStats = false" in (tmp_path / ".streamlit/config.toml").read_text()


def test_logo_in_assets_is_the_apps_logo():
    assets = launch.HERE.parent / "assets" / "logo.svg"
    assert not os.path.exists(assets) or assets.read_bytes() == (launch.HERE / "logo.svg").read_bytes()


TRAPS = ("explorer", "influence", "streamlit", "numpy", "pandas", "tornado", "zarr", "sitecustomize")
GUARD = """
import sys

ASKED = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
REACHED = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind")

def told(event, given):
    if event in ASKED:
        host = given[0]
    elif event in REACHED and isinstance(given[1], tuple):  # no tuple: a socket of this machine's files
        host = given[1][0]
    else:
        return
    if host not in ("localhost", b"localhost", "127.0.0.1", "::1", None):
        open({log!r}, "a").write(f"{{event}} {{host}}\\n")

sys.addaudithook(told)
"""
"""A sitecustomize.py: every process of ours writes down whom it asks for, connects to, sends to or listens to beyond
this machine."""
REACHES = """
import socket

packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for reach in (
    lambda: socket.getaddrinfo("asked.invalid", 80),
    lambda: socket.gethostbyname("named.invalid"),
    lambda: packets.connect(("192.0.2.1", 9)),
    lambda: packets.sendto(b"", ("192.0.2.2", 9)),
    lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
):
    try:
        reach()
    except OSError:
        pass
"""


def test_the_guard_sees_every_way_out(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(GUARD.format(log=str(tmp_path / "reached")))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", REACHES], env=environment, check=True)
    seen = [line.split()[-1] for line in (tmp_path / "reached").read_text().splitlines()]
    assert seen == ["asked.invalid", "named.invalid", "192.0.2.1", "192.0.2.2"]


@pytest.fixture(scope="module")
def served(small_root, tmp_path_factory):
    """(process, port, folder) of `upstream explore`, typed in a folder full of traps; its address is printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("served")
    for name in ("here", "temporary", "guard"):
        (folder / name).mkdir()
    for trap in TRAPS:
        (folder / "here" / f"{trap}.py").write_text(f"open({str(folder / 'executed')!r}, 'a').write({trap!r})\n")
    (folder / "guard" / "sitecustomize.py").write_text(GUARD.format(log=str(folder / "connects")))
    upstream = [sys.executable, "-P", "-c", "from influence.cli import main; main()"]
    command = [*upstream, "explore", "--runs", str(small_root), "--port", str(port), "--no-browser"]
    path = os.pathsep.join([str(folder / "guard"), str(launch.HERE.parent)])
    environment = {**os.environ, "TMPDIR": str(folder / "temporary"), "PYTHONPATH": path}
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=folder / "here")
    try:
        assert str(port) in next(line for line in started.stdout if "Upstream is at" in line)
        yield started, port, folder
    finally:
        for process in psutil.Process(started.pid).children():
            process.terminate()
        started.wait(timeout=30)


def test_first_page_is_drawn_without_torch_when_the_address_is_printed(served):
    started, _, folder = served
    assert list(folder.glob("temporary/upstream-*/static/*.points")), "the drawn page wrote what its map shows"
    for process in [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]:
        assert not [file.path for file in process.memory_maps() if "libtorch" in file.path]


def test_a_small_file_does_not_wait_until_its_beginning_is_confirmed(served):
    """On a socket without TCP_NODELAY an answer of two parts takes 40 ms, but for the first few of a connection."""
    client = http.client.HTTPConnection("127.0.0.1", served[1], timeout=30)
    waits = []
    for _ in range(40):
        began = time.perf_counter()
        client.request("GET", "/_stcore/health")
        assert client.getresponse().read() == b"ok"
        waits.append(time.perf_counter() - began)
    assert min(waits[30:]) < 0.03


def test_nothing_of_the_current_folder_is_executed(served):
    assert not (served[2] / "executed").exists()


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost", "http://localhost", 101),
        ("127.0.0.1", "http://127.0.0.1", 101),
        ("rebound.example", "http://rebound.example", 403),  # a name that was pointed to this machine
        ("localhost", "http://foreign.example", 403),
        ("localhost", "null", 403),
    ],
)
def test_pages_of_others_are_not_connected_and_nobody_outside_is_asked(served, host, origin, status):
    _, port, folder = served
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request(
        "GET",
        "/_stcore/stream",
        headers={
            "Host": f"{host}:{port}",
            "Origin": origin if origin == "null" else f"{origin}:{port}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    )
    assert client.getresponse().status == status
    client.close()
    asked = folder / "connects"
    assert not asked.exists(), asked.read_text()
