"""run.json: what is missing, unfinished, changed or of another format is named."""

from __future__ import annotations

import json

import pytest
from two_stages import SETTINGS, rewrite

from influence.errors import RunError
from influence.run import manifest
from influence.run.additions import add_tables
from influence.run.draft import Draft
from influence.run.manifest import read_json, read_manifest
from influence.run.reading import Run, runs_in


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested more than 100 deep"),
        ('{"format": 1, "title": "\\ud800"}', "surrogates not allowed"),
    ],
)
def test_a_strangers_run_json_that_python_cannot_hold_or_print_is_named(folder, text, why):
    (folder / "run.json").write_text(text)
    ((path, found),) = runs_in(folder.parent)
    assert path == folder
    assert isinstance(found, RunError)
    assert why in str(found)


def test_missing_run(tmp_path, folder):
    for path in (tmp_path / "nowhere", folder / "run.json", tmp_path / ("x" * 300)):
        with pytest.raises(RunError, match=r"There is no run at .*`upstream runs` lists what is there"):
            Run.open(path)


def test_folder_that_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"is not a run: it holds no run.json"):
        Run.open(tmp_path)


def test_unfinished_run(tmp_path):
    draft = Draft(tmp_path, "half", SETTINGS)
    draft.mark("fit")
    for path in (tmp_path / "half", draft.folder):
        with pytest.raises(RunError, match=r"is not finished. Run the same `upstream precompute` command to resume it"):
            Run.open(path)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (2, "has format 2; this version of upstream reads format 1. Update upstream"),
        (0, "has format 0; this version of upstream reads format 1. Compute the run again"),
        ("1", "names no format version"),
    ],
)
def test_other_formats(folder, found, message):
    rewrite(folder, format=found)
    with pytest.raises(RunError, match=message):
        Run.open(folder)


def test_a_manifest_is_parsed_once_as_long_as_it_is_the_same(folder, monkeypatch):
    read_manifest(folder)
    parsed, real = [], manifest.parsed_json
    monkeypatch.setattr(manifest, "parsed_json", lambda text: parsed.append(text) or real(text))
    for _ in range(3):
        assert read_manifest(folder).title == "t"
        assert [run.manifest.title for _, run in runs_in(folder.parent)] == ["t"]
    assert parsed == []
    rewrite(folder, title="u")
    assert [read_manifest(folder).title for _ in range(2)] == ["u", "u"]
    (folder / "run.json").write_text("5")
    for _ in range(2):
        with pytest.raises(RunError, match="names no format version"):
            read_manifest(folder)
    assert len(parsed) == 2


def test_changed_manifest(folder):
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"title": "t"', '"title": "u"'))
    with pytest.raises(RunError, match=r"run.json in .* was changed after it was written"):
        Run.open(folder)
    (folder / "run.json").write_text(json.dumps(json.loads(text), indent=7, sort_keys=True))
    Run.open(folder)  # layout is not content


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ("[]", "names no format"), ("\udcff", "cannot be read")]
)
def test_damaged_manifest(folder, text, message):
    (folder / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match=f"run.json in .*{message}"):
        Run.open(folder)


def test_unknown_fields_and_files_are_ignored(folder):
    rewrite(folder, later={"more": 1})
    (folder / "notes.txt").write_text("mine")
    assert Run.open(folder).name == "r"
    assert read_json(add_tables(Run.open(folder), {}).path)["later"] == {"more": 1}
