"""Edits of a run's training data: what is predicted, measured, said and kept."""

from __future__ import annotations

import types

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import NEW, OLD

from influence import edit_effect, edits, targets
from influence.errors import RunError, StudyError
from influence.live.alterations import LEAVE_OUT, MASK, RELABEL, STRIKE, UPWEIGHT, Alteration, addition
from influence.live.edits import edits_of
from influence.live.tables import altered_tables
from influence.run.reading import Run
from influence.studies.images.digit_drawing import digit
from influence.studies.images.digits import Digits
from influence.training.retraining import Retrainer
from influence.validation.bench import bench_of
from influence.validation.preview import NAME, row_of, what_if
from influence.validation.slices import Slice


def other_label(run: Run, row: int) -> str:
    return next(name for name in OLD if name != run.examples("pretrain")["label"].iloc[row])


def some(run: Run) -> list[Alteration]:
    """Ids begin at 100."""
    return [
        Alteration(LEAVE_OUT, "pretrain", 103),
        Alteration(RELABEL, "pretrain", 107, other_label(run, 7)),
        Alteration(UPWEIGHT, "pretrain", 101, 1.0),
    ]


def test_it_is_what_the_study_gives_and_training_again(run):
    found, _ = what_if(run, some(run), really=True, progress=False)
    row = row_of(found.validation(NAME), some(run)[::-1], "solution")
    bench = bench_of(run, "pretrain")
    made = [
        edits.leave_out("pretrain", [3]),
        edits.relabel("pretrain", [7], [OLD.index(other_label(run, 7))]),
        edits.upweight("pretrain", [1], 1),
    ]
    options = {"method": bench.exhibit.method, "curvature": bench.exhibit.curvature, "progress": False}
    expected = edit_effect(bench.study, made, steps=3, **options)
    np.testing.assert_allclose(row["first"], expected.first, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(row["together"], expected.total, rtol=1e-4, atol=1e-6)
    retrainer = Retrainer(bench.study)
    measured = retrainer.retrain(edits=made)
    np.testing.assert_allclose(row["measured"], measured.losses - retrainer.retrain().losses, atol=1e-5)
    np.testing.assert_array_equal(row["class_after"], measured.predicted)


def test_nothing_is_computed_twice_and_a_measurement_joins_its_prediction(run, monkeypatch):
    found, _ = what_if(run, some(run), progress=False)
    assert np.isnan(found.validation(NAME)["measured"].iloc[0]).all()
    found, _ = what_if(found, some(run), really=True, progress=False)
    assert len(found.validation(NAME)) == 1
    assert np.isfinite(found.validation(NAME)["measured"].iloc[0]).all()
    monkeypatch.setattr("influence.validation.preview.edit_effect", lambda *a, **k: pytest.fail("computed again"))
    assert what_if(found, some(run)[::-1], really=True, progress=False)[0].manifest == found.manifest
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        what_if(found, some(run)[:1], progress=False)


def test_numbers_of_all_queries(run, monkeypatch):
    queries, changes = run.queries(), np.arange(len(run.queries()), dtype=float)
    assert Slice(run, "loss").of(changes) == pytest.approx(changes.mean())
    label = queries["label"].iloc[0]
    chosen = (queries["label"] == label).to_numpy()
    wide = queries.assign(sex=[f"s{row % 2}" for row in range(len(queries))], flag=1)
    monkeypatch.setattr(run, "queries", lambda: wide)
    assert Slice(run, "gap:sex").of(changes) == pytest.approx(changes[::2].mean() - changes[1::2].mean())
    assert Slice(run, f"class:{label}").of(changes) == pytest.approx(changes[chosen].mean())
    for target, message in {
        "class:gnu": "No query has the label 'gnu'",
        "gap:colour": "no column 'colour'",
        "gap:id": "values, expected two groups",
        "gap:flag": r"has 1 values, expected two groups. Columns with two values are 'sex'\.",
        "speed": "expected loss, class:NAME, gap:COLUMN or error:NAME",
        "error:gnu": "No query has the label 'gnu'",
        "class:": "expected loss, class:NAME",
    }.items():
        with pytest.raises(RunError, match=message):
            Slice(run, target)


def test_the_error_of_a_class_is_that_of_the_target(run):
    """Its first order is the target's own, and its change with the losses that of the probabilities."""
    bench, made = bench_of(run, "pretrain"), [edits.leave_out("pretrain", [3])]
    number = int(run.queries()["label"].map(NEW.index).iloc[0])
    summed = Slice(run, f"error:{NEW[number]}")
    options = {"method": "exact", "curvature": "hessian", "steps": 0, "progress": False}
    losses = edit_effect(bench.study, made, **options).first
    exact = edit_effect(bench.study, made, targets=[targets.error(number)], **options).first[0]
    assert summed.first(losses) == pytest.approx(exact, rel=1e-3)
    retrainer = Retrainer(bench.study)
    outcomes = [retrainer.retrain(), retrainer.retrain(edits=made)]
    chosen = (run.queries()["label"] == NEW[number]).to_numpy()
    before, after = (1 - np.exp(-each.losses[chosen]).mean() for each in outcomes)
    assert summed.of(outcomes[1].losses - outcomes[0].losses) == pytest.approx(after - before, rel=1e-3)
    with pytest.raises(RunError, match="is not minus the logarithm of their label's probability"):
        Slice(
            types.SimpleNamespace(queries=lambda: run.queries().assign(loss=3.0), classes=NEW), f"error:{NEW[number]}"
        )


def test_the_edited_examples_keep_their_ids(run):
    tables = altered_tables(run, some(run))
    left = tables["pretrain"].set_index("id")
    assert 103 not in left.index
    assert len(left) == 39
    assert left.loc[107, "label"] == other_label(run, 7)
    assert left.loc[101, "weight"] == 2
    changes = tables["pretrain-changes"].set_index("id")["change"]
    assert changes.to_dict() == {103: "leave out", 107: f"relabel as {other_label(run, 7)!r}", 101: "upweight to 1+1"}


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        ([], RunError, "Nothing is to be altered"),
        ([Alteration(LEAVE_OUT, "pretrain", 5)], RunError, "no example with id 5 in stage 'pretrain'"),
        ([Alteration(RELABEL, "pretrain", 101, "gnu")], StudyError, "has no class 'gnu'; its classes are 'ant'"),
        ([Alteration(MASK, "pretrain", 101, (0, 0, 1, 1))], StudyError, "A mask needs pictures"),
        ([Alteration(LEAVE_OUT, "pretrain", 101)] * 2, RunError, "altered twice"),
        ([Alteration(UPWEIGHT, "pretrain", 101, -3.0)], StudyError, "by is -3.0"),
    ],
)  # fmt: skip
def test_alterations_that_cannot_be(run, made, error, message):
    with pytest.raises(error, match=message):
        what_if(run, made, progress=False)
    assert Run.open(run.path).validations == []


def test_by_the_command_line(upstream, run, tmp_path):
    asked = ("--leave-out", 103, 104, "--relabel", f"107={other_label(run, 7)}", "--upweight", "101=0.5")
    code, out, _ = upstream("what-if", run.path, *asked, "--really", "--export", tmp_path / "out", "--quiet")
    assert code == 0
    assert "With these 4 edits the mean loss of all queries is predicted to change by" in out
    assert "Trained again it changed by" in out
    assert len(pd.read_parquet(tmp_path / "out" / "pretrain.parquet")) == 38
    code, _, errors = upstream("what-if", run.path, *asked, "--export", tmp_path / "out", "--quiet")
    assert code == 2
    assert "pretrain.parquet is there already" in errors
    edited = ("--relabel", f"107={other_label(run, 7)}")
    for order in (
        ("--leave-out", 103, 104, run.path, *edited, "--upweight=101=0.5"),
        ("--leave-out", 103, "pretrain:104", *edited, "--upweight", "101=0.5", "--", run.path),
        ("--upweight", "pretrain:101=0.5", "--start", "solution", *edited, "--leave-out", 104, 103, run.path),
    ):
        again = upstream("what-if", "--quiet", *order)
        assert again[:2] == (0, out.partition(" Written")[0]), again
    for odd, message in {
        ("--relabel", "107"): "--relabel is '107', expected ID=CLASS",
        ("--mask", "107=1,2"): "--mask is '107=1,2', expected ID=LEFT,TOP,WIDTH,HEIGHT",
        ("--upweight", "107=much"): "expected ID=BY",
        ("--leave-out", "x"): "valid integer",
        ("--leave-out", "--relabel", "107=ant"): "--leave-out has no value, expected ID after it",
        ("--relabel",): "--relabel has no value, expected ID=CLASS after it",
        ("--leave-out", 101, "--target", "speed"): "expected loss, class:NAME, gap:COLUMN or error:NAME",
        ("--leave-out", 101, "--stage", "third"): "no stage 'third'",
        ("--leave-out", 101, "--start", "nowhere"): "expected solution or scratch",
        ("--leave-out", "third:101"): "--leave-out is 'third:101', expected ID or STAGE:ID",
        ("--relabel", "finetune:107=ant"): "no example with id 107 in stage 'finetune'",
        (): "Nothing is to be altered",
    }.items():
        code, _, errors = upstream("what-if", run.path, *odd, "--quiet")
        assert code == 2
        assert message in errors


def test_a_prediction_of_the_run_is_added_by_its_id(upstream, run, tmp_path):
    number = int(run.queries()["id"].iloc[3])
    code, out, _ = upstream(
        "what-if", "--add", f"finetune:{number}", run.path, "--really", "--export", tmp_path / "out", "--quiet"
    )
    assert code == 0
    assert "Trained again it changed by" in out
    found = pd.read_parquet(tmp_path / "out" / "finetune.parquet")
    assert found["label"].iloc[-1] == run.queries()["label"].iloc[3]
    assert found["id"].is_unique
    for odd, message in {
        ("--add", "finetune:99999"): "no query with id 99999",
        ("--add", str(number)): "cannot be added to stage 'pretrain', expected 'finetune'",
    }.items():
        code, _, errors = upstream("what-if", run.path, *odd, "--quiet")
        assert code == 2, odd
        assert message in errors


def test_edits_of_several_stages_and_their_export(upstream, run, tmp_path):
    asked = ("--leave-out", 103, "finetune:501", "--upweight", "finetune:502=1", "--target", f"error:{NEW[0]}")
    code, out, _ = upstream("what-if", *asked, "--export", tmp_path / "out", "--format", "csv", run.path, "--quiet")
    assert code == 0
    assert f"With these 3 edits the error of class {NEW[0]!r}" in out
    assert "Written to" in out
    made = [Alteration(LEAVE_OUT, "pretrain", 103), Alteration(LEAVE_OUT, "finetune", 501)]
    made.append(Alteration(UPWEIGHT, "finetune", 502, 1.0))
    assert row_of(Run.open(run.path).validation(NAME), made, "solution") is not None
    table = pd.read_csv(tmp_path / "out" / "finetune.csv", index_col="id")
    assert 501 not in table.index
    assert table.loc[502, "weight"] == 2
    picture = (tmp_path / "out" / table.loc[502, "image"]).read_bytes()
    assert picture == run.examples("finetune").set_index("id").loc[502, "image"]
    code, _, errors = upstream("what-if", run.path, *asked, "--export", tmp_path / "out", "--format", "csv", "--quiet")
    assert code == 2
    assert "is there already" in errors
    assert upstream("what-if", run.path, *asked, "--export", tmp_path / "out", "--format", "xlsx", "--quiet")[0] == 2


def test_pictures_come_in_from_class_folders(tmp_path):
    """As the study reads a picture of the same form."""
    exhibit = Digits().exhibit("frozen")
    folder = tmp_path / "more"
    (folder / "3").mkdir(parents=True)
    picture = Image.new("L", (40, 40))
    picture.paste(255, (10, 5, 20, 35))
    picture.save(folder / "3" / "a.png")
    shown = types.SimpleNamespace(
        examples=lambda stage: exhibit.examples[stage],
        votes=lambda stage: None,
        stage=lambda stage: types.SimpleNamespace(name=stage, classes=tuple(exhibit.classes[stage])),
    )
    (made,) = edits_of(shown, exhibit, [addition("pretrain", folder)])
    ((pixels, label),) = made.examples
    np.testing.assert_array_equal(pixels, digit(picture).item[0])
    assert int(label) == 3
    table = altered_tables(shown, [addition("pretrain", folder)])["pretrain"]
    assert table["label"].iloc[-1] == "3"
    assert table["id"].is_unique
    (folder / "3").rename(folder / "gnu")
    with pytest.raises(
        StudyError, match=r"has the class 'gnu', which stage 'pretrain' does not have; its classes are '0'"
    ):
        edits_of(shown, exhibit, [addition("pretrain", folder)])
    with pytest.raises(StudyError, match="Stage 'pretrain' has no texts, so there is no word to strike"):
        edits_of(shown, exhibit, [Alteration(STRIKE, "pretrain", int(exhibit.examples["pretrain"]["id"].iloc[0]), "a")])
