"""Scores of other tools as a run: every form gives the same scores, and what is not in order leaves nothing behind."""

from __future__ import annotations

import io
import json
import zipfile

import foreign_scores as made
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from influence import Run
from influence.errors import RunError, ScoresError, StudyError
from influence.foreign import Request, import_scores, name_of
from influence.foreign.importing import fill
from influence.foreign.matrix import Matrix
from influence.run import ORDER_ONLY, asked_of


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return made.write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture
def imported(tables, tmp_path):
    def run(scores, examples=tables[0], queries=tables[1], name="run", **options):
        return import_scores(Request(scores, examples, queries, **options), tmp_path / "runs", name)

    return run


@pytest.mark.parametrize("form", made.FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_same_scores(imported, tmp_path, form):
    run = Run.open(imported(form(tmp_path)).path)
    found = run.scores()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:], made.SCORES, rtol=1e-2 if form is made.one_tensor else 1e-6, atol=1e-6)
    assert run.queries()["id"].tolist() == made.QUERY_IDS
    assert run.examples("training")["id"].tolist() == made.EXAMPLE_IDS
    assert run.queries()["text"].iloc[0] == "query, 5"
    assert run.unit(run.manifest.default_method) == ORDER_ONLY
    assert run.problems() == run.unlisted() == []


@pytest.mark.parametrize(("kind", "off"), [("float64", 1e-7), ("bfloat16", 1e-2)])
def test_bergson_writes_other_kinds_of_numbers(imported, tmp_path, kind, off):
    np.testing.assert_allclose(imported(made.bergson(tmp_path, kind)).scores()[:], made.SCORES, rtol=off)


@pytest.mark.parametrize(
    ("higher", "helpful", "sign", "doubted"),
    [("true", None, 1, False), ("false", None, -1, False), ("", None, 1, True), ("", "smaller", -1, False)],
)
def test_the_sign_is_what_a_person_says_or_the_tool(imported, tmp_path, higher, helpful, sign, doubted):
    run = imported(made.bergson(tmp_path, higher=higher), helpful=helpful)
    np.testing.assert_array_equal(run.scores()[:], sign * made.SCORES)
    assert any("MAGIC" in warning for warning in run.manifest.warnings) is doubted
    assert run.methods("training") == ["bergson"]


def test_a_run_without_models_says_so_wherever_they_are_asked_for(imported, tmp_path):
    run = imported(made.numpy(tmp_path), stage="pretrain", method="tracin")
    assert (run.stages, run.methods("pretrain"), run.classes) == (["pretrain"], ["tracin"], ())
    assert run.embedding() is None
    assert run.tokens("queries") is None
    assert run.curvature("pretrain", "tracin") == {}
    for ask in (run.models, lambda: run.shapes("pretrain"), lambda: asked_of(run), lambda: asked_of(run, "a.py:f")):
        with pytest.raises(RunError, match="imported from another tool's scores: it has no models"):
            ask()


def test_many_rows_are_written_in_whole_chunks(tmp_path):
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(130, 2100)).astype(np.float32)
    for turned in (False, True):
        array = _Blocks(scores.shape)
        rows = scores.T if turned else scores

        def blocks(height, rows=rows):
            return (rows[start : start + height] for start in range(0, len(rows), height))

        matrix = Matrix(rows.shape, blocks, rows="examples" if turned else "queries")
        fill(array, matrix, "larger", "f", list(range(130)), list(range(2100)))
        np.testing.assert_array_equal(array.held, scores)
        assert array.written == 3  # 1024 and 64 at a time


class _Blocks:
    """An array that counts how often it is written to."""

    chunks = (64, 1024)

    def __init__(self, shape):
        self.held, self.written = np.zeros(shape, np.float32), 0

    def __setitem__(self, place, block):
        self.held[place] = block
        self.written += 1


# What is refused


def nothing_left(tmp_path):
    runs = tmp_path / "runs"
    return not runs.exists() or [path.name for path in runs.iterdir()] == []


def bad(values, place=(1, 2)):
    scores = made.SCORES.astype(np.float64)
    scores[place] = values
    return scores


def objects(path):
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.array([[1, "a"]], dtype=object), allow_pickle=True)


def packed(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scores.npy", b"0" * 100)


@pytest.mark.parametrize(
    ("file", "write", "words"),
    [
        ("s.npy", lambda p: np.save(p, bad(np.nan)), ["query 3 and example 1002", "row 1, column 2", "nan", "finite"]),
        ("s.npy", lambda p: np.save(p, bad(-np.inf)), ["-inf", "finite"]),
        ("s.npy", lambda p: np.save(p, bad(1e300)), ["1e+300", "of 32 bits"]),
        ("s.npy", lambda p: np.save(p, made.SCORES[:, 1:]), ["3 x 69", "3 queries and 70 examples"]),
        ("s.npy", lambda p: np.save(p, np.zeros((2, 3, 4))), ["2 x 3 x 4", "tokens"]),
        ("s.npy", lambda p: np.save(p, np.array([["a"]])), ["<U1", "real numbers"]),
        ("s.npy", lambda p: np.save(p, made.SCORES * 1j), ["complex"]),
        ("s.npy", objects, ["Python objects", "never unpickled"]),
        ("s.npy", lambda p: p.write_bytes(b"\x93NUMPY\x01\x00"), ["cannot be read"]),
        ("s.npy", lambda p: p.write_bytes(b"\x80\x04N."), ["cannot be read"]),
        ("s.npy", lambda p: p.write_bytes(b""), ["is empty"]),
        ("s.npz", packed, ["Packed files are not opened"]),
        ("s.csv", lambda p: p.write_text("1,2"), ["no form that is known", ".safetensors"]),
        ("s.pt", lambda p: torch.save(np.zeros(3), p), ["without running what it holds"]),
        ("s.pt", lambda p: torch.save({"a": 1}, p), ["holds a dict"]),
        ("s.safetensors", lambda p: p.write_bytes(b"\xff" * 64), ["cannot be read"]),
        ("s.safetensors", lambda p: save_file({"a": torch.ones(2), "b": torch.ones(2)}, p), ["'a', 'b'", "--key"]),
        ("s.jsonl", lambda p: p.write_text("[1, 2]\n[3]\n"), ["3 queries"]),
        ("s.jsonl", lambda p: p.write_text('{"a": 1}\n'), ["line 1", "'scores'"]),
        ("s.jsonl", lambda p: p.write_text("[1,\n"), ["line 1", "no JSON"]),
        ("s.jsonl", lambda p: p.write_text('{"query": 5, "example": 0, "score": 1}'), ["line 1", "no pair of ids"]),
        ("s.jsonl", lambda p: p.write_text(2 * '{"query": 5, "example": 1000, "score": 1}\n'), ["line 2", "twice"]),
        ("s.jsonl", lambda p: p.write_text('{"query": 5, "example": 1000, "score": 1}\n'), ["lacks 209 of 210 pairs"]),
        ("s.parquet", lambda p: p.write_bytes(b"PAR1"), ["cannot be read"]),
        ("s.parquet", lambda p: pd.DataFrame({"a": ["x"]}).to_parquet(p), ["column 'a'", "expected numbers"]),
        ("folder", lambda p: p.mkdir(), ["no scores of a form that is known", "bergson"]),
        ("s.npy", lambda p: None, ["does not exist"]),
    ],
)
def test_scores_that_are_not_in_order_are_named(imported, tmp_path, file, write, words):
    write(tmp_path / file)
    with pytest.raises(ScoresError) as caught:
        imported(tmp_path / file)
    assert [word for word in words if word not in str(caught.value)] == []
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told, raw: told.update(num_items=71), ["1,680 bytes", "expected 1,704"]),
        (lambda told, raw: told.update(num_items=2**45), ["num_items"]),
        (lambda told, raw: told["dtype"].update(formats=["O", "bool"] * 3), ["does not say how"]),
        (lambda told, raw: told["dtype"].update(offsets=[900] * 6), ["outside the record"]),
        (lambda told, raw: told.update(dtype="float99"), ["does not say how"]),
        (lambda told, raw: raw.__setitem__(4 + 24 * 7, 0), ["example 7 and query 0 was not written"]),
    ],
)
def test_bergson_folders_that_are_not_in_order_are_named(imported, tmp_path, change, words):
    folder = made.bergson(tmp_path)
    told, raw = json.loads((folder / "info.json").read_text()), bytearray((folder / "scores.bin").read_bytes())
    change(told, raw)
    (folder / "info.json").write_text(json.dumps(told))
    (folder / "scores.bin").write_bytes(raw)
    with pytest.raises(ScoresError) as caught:
        imported(folder)
    assert [word for word in words if word not in str(caught.value)] == []
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", "id,text\n1,a\n1,b\n", ["the id 1 more than once"]),
        ("t.csv", "id,text\nx,a\n", ["line 2", "the id is 'x'", "whole number"]),
        ("t.csv", "id,text\n", ["no rows"]),
        ("t.csv", "a,b\n1,2\n", ["'a', 'b'", "--text-column"]),
        ("t.jsonl", '{"text": ["a"]}\n', ["line 1", "is a list"]),
        ("t.jsonl", '{"image": "nowhere.png"}\n', ["nowhere.png"]),
        ("t.xls", "a", ["suffix '.xls'"]),
        ("t.csv", "", ["is empty"]),
    ],
)
def test_tables_that_are_not_in_order_are_named(imported, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises((ScoresError, StudyError)) as caught:
        imported(made.numpy(tmp_path), examples=tmp_path / name)
    assert [word for word in words if word not in str(caught.value)] == []
    assert nothing_left(tmp_path)


def test_as_many_queries_as_examples_need_to_be_told_apart(imported, tables, tmp_path):
    np.save(tmp_path / "s.npy", made.SCORES[:, :3])
    with pytest.raises(ScoresError, match="--rows queries or --rows examples"):
        imported(tmp_path / "s.npy", examples=tables[1])
    turned = imported(tmp_path / "s.npy", examples=tables[1], rows="examples")
    np.testing.assert_array_equal(turned.scores()[:], made.SCORES[:, :3].T)


def test_rows_that_are_said_to_be_what_they_cannot_be(imported, tmp_path):
    with pytest.raises(ScoresError, match="cannot be the examples"):
        imported(made.numpy(tmp_path), rows="examples")
    with pytest.raises(ScoresError, match="wrong way round"):
        imported(made.trak(tmp_path), *reversed(made.write_tables(tmp_path)))


def test_rows_with_ids_of_another_order_are_refused(imported, tmp_path):
    rows = [{"id": i, "scores": row.tolist()} for i, row in zip([3, 5, 9], made.SCORES, strict=True)]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ScoresError, match="row 0 is of id 3, the table has 5 there"):
        imported(tmp_path / "s.jsonl")


def test_a_run_of_that_name_stays_as_it_is(imported, tmp_path):
    first = imported(made.numpy(tmp_path))
    with pytest.raises(RunError, match="There is a run run in"):
        imported(made.one_row_an_example(tmp_path))
    assert Run.open(first.path).problems() == []


def test_scores_of_bfloat16_and_a_key(imported, tmp_path):
    save_file({"a": torch.tensor(made.SCORES), "b": torch.tensor(made.SCORES)}, tmp_path / "two.safetensors")
    run = imported(tmp_path / "two.safetensors", keys=("a", "b"))
    np.testing.assert_allclose(run.scores()[:], 2 * made.SCORES, rtol=1e-6)
    assert any("2 modules were summed" in note for note in run.manifest.notes)
    with pytest.raises(ScoresError, match="no tensor 'c'"):
        imported(tmp_path / "two.safetensors", name="other", keys=("c",))


# Tables


def test_pictures_are_read_from_folders_paths_and_bytes(imported, tmp_path):
    for i, kind in enumerate("aab"):
        file = tmp_path / "pictures" / kind / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (80 * i, 0, 0)).save(file)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (0, 0, 9)).save(buffer, "PNG")
    images = [
        {"bytes": buffer.getvalue(), "path": None},
        {"bytes": None, "path": "pictures/a/0.png"},
        {"bytes": None, "path": "pictures/b/2.png"},
    ]
    pd.DataFrame({"image": images}).to_parquet(tmp_path / "pictures.parquet")
    np.save(tmp_path / "s.npy", np.eye(3))
    run = imported(
        tmp_path / "s.npy", tmp_path / "pictures", tmp_path / "pictures.parquet", rows="queries", name="pictures"
    )
    assert run.examples("training")["label"].tolist() == ["a", "a", "b"]
    assert run.examples("training")["source"].tolist() == ["a/0.png", "a/1.png", "b/2.png"]
    shown = [Image.open(io.BytesIO(png)).getpixel((0, 0)) for png in run.queries()["image"]]
    assert shown == [(0, 0, 9), (0, 0, 0), (160, 0, 0)]


def test_no_row_of_a_table_is_left_out(imported, tmp_path):
    (tmp_path / "t.txt").write_text("one\n\nthree\n")
    np.save(tmp_path / "s.npy", made.SCORES[:, :3])
    run = imported(tmp_path / "s.npy", examples=tmp_path / "t.txt", rows="queries")
    assert run.examples("training")["text"].tolist() == ["one", "", "three"]
    assert run.examples("training")["id"].tolist() == [0, 1, 2]


def test_columns_of_other_names_and_prompts(imported, tmp_path):
    lines = [{"nr": 7 - i, "prompt": "2+2=", "completion": str(i), "loss": 0.5} for i in range(3)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run = imported(made.numpy(tmp_path), queries=tmp_path / "q.jsonl", columns={"id": "nr"}, name="b")
    table = run.queries()
    assert table["id"].tolist() == [7, 6, 5]
    assert table["text"].tolist() == ["2+2=0", "2+2=1", "2+2=2"]
    assert pd.read_parquet(run.path / "queries.parquet")["prompt_end"].tolist() == [4, 4, 4]
    assert run.examples("training")["id"].tolist() == made.EXAMPLE_IDS
    assert table["loss"].tolist() == [0.5, 0.5, 0.5]
    with pytest.raises(ScoresError, match="No table has a column 'number'; they have 'id', "):
        imported(made.numpy(tmp_path), columns={"id": "number"})


def test_a_run_is_called_after_what_its_scores_are_of(tmp_path):
    assert name_of(tmp_path / "my scores (2).npy") == "my-scores-2"
    assert name_of(tmp_path / "ekfac" / "pairwise_scores.safetensors") == "ekfac-pairwise_scores"
