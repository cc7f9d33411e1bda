"""`python -m explorer`: what it refuses, and what it leaves behind."""

import os
import socket
import subprocess
import sys

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


def test_first_page_is_drawn_without_torch_or_the_current_folder_when_the_address_is_printed(small_root, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    for trap in TRAPS:
        (here / f"{trap}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write({trap!r})\n")
    upstream = [sys.executable, "-P", "-c", "from influence.cli import main; main()"]
    command = [*upstream, "explore", "--runs", str(small_root), "--port", port, "--no-browser"]
    code = str(launch.HERE.parent)
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": code}
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=here)
    try:
        assert port in next(line for line in started.stdout if "Upstream is at" in line)
        assert list(temporary.glob("upstream-*/static/*.points")), "the page that was drawn wrote what its map shows"
        for process in [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]:
            assert not [file.path for file in process.memory_maps() if "libtorch" in file.path]
        assert not (tmp_path / "executed").exists()
    finally:
        for process in psutil.Process(started.pid).children():
            process.terminate()
        started.wait(timeout=30)
