"""What commands print of a stranger's run: lines stay lines, and a terminal obeys none of it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from influence import cli, errors, validation
from influence.run.additions import add_tables
from influence.run.manifest import read_manifest
from influence.run.reading import Run
from influence.run.records import json_of

OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal does something at, besides beginning a line."""
HOSTILE = "\x1b]0;owned\x07\x1b[2J [red]a[/red] [/] \\[b] \r\n\nrun2  all fine\x08\x9b31m\x7f\u202etfel\u2028end"
SHOWN = r"\x1b]0;owned\x07\x1b[2J [red]a[/red] [/] \[b] \r\n\nrun2  all fine\x08\x9b31m\x7f\u202etfel\u2028end"


@pytest.fixture
def restated(runs_folder):
    """Write other texts into the run's manifest."""

    def write(**fields):
        folder = runs_folder / "tiny-frozen"
        told = json_of(dataclasses.replace(read_manifest(folder), **fields))
        (folder / "run.json").write_text(json.dumps(told))
        return folder

    return write


@pytest.fixture
def printed(capsys, monkeypatch, tmp_path):
    """Run `upstream ...`: output and errors together, letter by letter."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["upstream", *map(str, arguments)])
        with pytest.raises(SystemExit):
            cli.main()
        return "".join(capsys.readouterr())

    return call


def test_a_title_is_one_cell_of_the_list(printed, restated):
    folder = restated(title=HOSTILE)
    out = printed("runs", "--runs", folder.parent)
    assert not OBEYED.search(out)
    assert len(out.splitlines()) == 2, "a heading, and the run"
    assert SHOWN in out


def test_a_warning_is_one_line_of_check(printed, restated):
    folder = restated(warnings=(HOSTILE, "second"), pending=("map",))
    out = printed("check", folder)
    assert not OBEYED.search(out)
    assert [line[:9] for line in out.splitlines()][1:] == ["Warning: "] * 2
    assert f"Warning: {SHOWN}\n" in out


def test_an_error_that_quotes_a_value_is_one_line(printed, runs_folder):
    folder = runs_folder / "odd\x1b[31m\nname"
    (runs_folder / "tiny-frozen").rename(folder)
    (folder / "run.json").write_text('{"format": 1, "name": "\\u001b[2J"}')
    for arguments in (("check", folder), ("runs", "--runs", folder.parent), ("runs", "--runs", f"{folder}\x1b")):
        assert not OBEYED.search(printed(*arguments))


def test_findings_are_cells(finished, tmp_path, runs_folder, printed, capsys):
    import numpy as np
    import pandas as pd

    from influence.cli.console import say_table

    row = {"check": "noise", "start": "solution", "what": "noise, seed", "value": 1.0, "low": np.nan, "high": np.nan}
    table = pd.DataFrame([row | {"count": 1, "words": HOSTILE}]).astype(
        {"value": "f4", "low": "f4", "high": "f4", "count": "i4"}
    )
    run = add_tables(Run.open(runs_folder / "tiny-frozen"), {"summary": table})
    say_table(*validation.findings_table(run))
    out = capsys.readouterr().out
    assert not OBEYED.search(out)
    assert "[red]a[/red] [/] \\[b]" in out


def test_steps_and_words_of_a_computation_are_lines(capsys):
    from influence.progress import Progress

    with Progress() as bars, bars.step(HOSTILE, total=1):
        bars.say(HOSTILE)
    assert not OBEYED.search(capsys.readouterr().err)


def test_a_terminal_that_lacks_letters_is_no_error(restated):
    folder = restated(title="schön 深い")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "200", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "influence", "runs", "--runs", str(folder.parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sch\\xf6n" in done.stdout


def test_commands_print_by_one_function():
    # start.py has one line of its own, which it writes before anything is imported.
    others = [path for path in Path(cli.__file__).parent.glob("*.py") if path.name not in ("console.py", "start.py")]
    wrong = re.compile(r"typer\.(echo|secho)|\bprint\(|Console|std(out|err)\.write")
    assert [path.name for path in others if wrong.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b\x7f\x85", r"\x1b\x7f\x85"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("half \ud83d", r"half \ud83d"),
        (Path("é/שלום"), "é/שלום"),
    ],
)
def test_printable(text, shown):
    assert errors.printable(text) == shown
