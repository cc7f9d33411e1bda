"""What edits of a run's data would do to a criterion, as the study's own functions and training again give it."""

from __future__ import annotations

import dataclasses
import threading
import types
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
from tiny import FINETUNE, NEW, OLD, QUERIES, tiny_data, tiny_net, tiny_stages
from tiny_runs import TinyBuilt

from influence import Exhibit, Study, attribute, edit_effect, edit_scores, edits, relabel_scores, scores_after, targets
from influence.errors import MethodError, RunError, StudyError
from influence.live import (
    ADD,
    LEAVE_OUT,
    MASK,
    RELABEL,
    STRIKE,
    UPWEIGHT,
    Alteration,
    Contrast,
    Criterion,
    Live,
    altered_tables,
)
from influence.live.way_back import WayBack
from influence.live.what_if import WhatIf
from influence.run.reading import Run
from influence.studies.built_in import STUDIES
from influence.training.retraining import Retrainer

ROWS, OTHERS = (0, 2, 3), (1, 4)
DOG, EEL = NEW.index("dog"), NEW.index("eel")


def of_class(number):
    return lambda outputs: -outputs.log_softmax(1)[1, number]


def difference(outputs):
    return of_class(DOG)(outputs) - of_class(EEL)(outputs)


CRITERIA = {
    "one": (Criterion((1,)), targets.mean([1])),
    "mean": (Criterion(ROWS), targets.mean(ROWS)),
    "gap": (Criterion(ROWS, against=OTHERS), targets.gap(ROWS, OTHERS)),
    "error": (Criterion((), error_of="dog"), targets.error(DOG)),
    "class": (Criterion((1,), contrast=Contrast("dog")), of_class(DOG)),
    "contrast": (Criterion((1,), contrast=Contrast("dog", "eel")), difference),
}


@pytest.fixture(scope="module")
def both(tiny_folders):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "tiny", TinyBuilt)
        return [Live(Run.open(folder)) for folder in tiny_folders]


@pytest.fixture(params=[0, 1], ids=["frozen", "updated"])
def live(request, both):
    return both[request.param]


@pytest.fixture
def frozen(both):
    return both[0]


@pytest.fixture(params=CRITERIA)
def judged(request):
    """A criterion, and the same as a target."""
    return CRITERIA[request.param]


def options(live):
    exhibit = live.exhibit
    return {"method": exhibit.method, "curvature": exhibit.curvature, "progress": False}


def other(live, row, stage="pretrain"):
    """A label that an example does not have, and its number."""
    own, names = live.run.examples(stage)["label"].iloc[row], OLD if stage == "pretrain" else NEW
    name = next(name for name in names if name != own)
    return name, names.index(name)


def some(live):
    """Alterations of both stages, and the same as edits; ids begin at 100 and at 500."""
    (old, old_number), (new, new_number) = other(live, 7), other(live, 2, "finetune")
    asked = [
        Alteration(LEAVE_OUT, "pretrain", 103),
        Alteration(RELABEL, "pretrain", 107, old),
        Alteration(RELABEL, "finetune", 502, new),
        Alteration(UPWEIGHT, "finetune", 505, 1.0),
    ]
    made = [
        edits.leave_out("pretrain", [3]),
        edits.relabel("pretrain", [7], [old_number]),
        edits.relabel("finetune", [2], [new_number]),
        edits.upweight("finetune", [5], 1.0),
    ]
    return asked, made


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_scores_are_those_of_the_target(live, judged, stage):
    criterion, target = judged
    close(
        live.what_if.scores(criterion, stage),
        attribute(live.exhibit.study, stage=stage, targets=[target], **options(live)).values[0],
    )


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_labels_are_those_of_the_target(live, judged, stage):
    criterion, target = judged
    expected = relabel_scores(live.exhibit.study, stage, targets=[target], **options(live)).values[0]
    close(live.what_if.labels(criterion, stage), expected)
    close(live.what_if.labels(criterion, stage, [5, 0]), expected[[5, 0]])


def test_edits_alone_and_together_are_those_of_the_target(live, judged):
    criterion, target = judged
    asked, made = some(live)
    alone = edit_scores(live.exhibit.study, made, targets=[target], **options(live)).values[0]
    close(live.what_if.alone(criterion, asked), alone)
    expected = edit_effect(live.exhibit.study, made, targets=[target], steps=3, **options(live))
    found = live.what_if.together(criterion, asked)
    close([found.first, found.total], [expected.first[0], expected.total[0]])
    assert found.warnings == expected.report["warnings"]
    assert live.what_if.together(criterion, asked, steps=0).total == found.first


def test_together_is_what_training_again_gives(live):
    asked, made = ([each[i] for i in (0, 3)] for each in some(live))
    retrainer = Retrainer(live.exhibit.study)
    changes = retrainer.retrain(edits=made).losses - retrainer.retrain().losses
    for criterion, measured in (
        (Criterion(ROWS), changes[list(ROWS)].mean()),
        (Criterion(ROWS, against=OTHERS), changes[list(ROWS)].mean() - changes[list(OTHERS)].mean()),
    ):
        found = live.what_if.together(criterion, asked, steps=10)
        assert found.total == pytest.approx(measured, rel=1e-2)
        assert abs(found.first - measured) > 10 * abs(found.total - measured)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_scores_after_are_those_of_the_study(live, stage):
    """Of one example left out, and one counted twice; two criteria share one fit."""
    asked, made = ([each[i] for i in (0, 3)] for each in some(live))
    for criterion, target in (CRITERIA["gap"], CRITERIA["contrast"]):
        found = live.what_if.after(criterion, stage, asked, steps=10)
        expected = scores_after(live.exhibit.study, made, stage=stage, targets=[target], steps=10, **options(live))
        close(found, expected.values[0])
        assert np.isnan(found).nonzero()[0].tolist() == ([3] if stage == "pretrain" else [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.live.what_if.study_after", lambda *_: pytest.fail("moved again"))
        live.what_if.after(CRITERIA["one"][0], stage, asked, steps=10)


def test_edits_too_strong_to_rank_again(frozen, monkeypatch):
    asked = [Alteration(LEAVE_OUT, "pretrain", 100 + row) for row in range(30)]
    with pytest.raises(MethodError, match="too strong"):
        frozen.what_if.after(Criterion((0,)), "pretrain", asked)
    monkeypatch.setattr(frozen.exhibit, "method", "identity")
    with pytest.raises(MethodError, match="'identity' has no curvature"):
        frozen.what_if.after(Criterion((0,)), "pretrain", asked[:1])


def test_units(frozen):
    units = {name: frozen.what_if.unit(criterion) for name, (criterion, _) in CRITERIA.items()}
    assert units.pop("error") == "probability"
    assert set(units.values()) == {"nat"}


def test_a_criterion_is_pulled_back_once(frozen, monkeypatch):
    frozen.what_if.scores(Criterion((4, 5)), "pretrain")
    monkeypatch.setattr(frozen.way_back.chain, "pull_back", lambda *_: pytest.fail("pulled back again"))
    frozen.what_if.labels(Criterion((4, 5)), "finetune", [0])
    frozen.what_if.alone(Criterion((4, 5)), some(frozen)[0])


def test_vectors_are_kept_as_far_as_there_is_room(frozen, monkeypatch):
    monkeypatch.setattr(frozen.what_if, "_known", OrderedDict())
    for row in range(4):
        frozen.what_if.scores(Criterion((row,)), "pretrain")
    assert len(frozen.what_if._known) == 4
    monkeypatch.setattr("influence.live.what_if.CACHED_BYTES", 0)
    frozen.what_if.scores(Criterion((4,)), "pretrain")
    assert list(frozen.what_if._known) == [Criterion((4,))]


def test_several_threads_get_what_one_gets(frozen):
    asked, found = some(frozen)[0], {}
    criteria = [Criterion((row,)) for row in range(QUERIES)]

    def ask(criterion):
        found[criterion] = frozen.what_if.together(criterion, asked)

    threads = [threading.Thread(target=ask, args=(each,)) for each in criteria]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {each: frozen.what_if.together(each, asked) for each in criteria}


def test_without_curvature_there_are_no_steps(frozen, monkeypatch):
    monkeypatch.setattr(frozen.exhibit, "method", "identity")
    found = frozen.what_if.together(Criterion((0,)), some(frozen)[0])
    assert found.total == found.first
    assert "no steps beyond the first order" in found.warnings[-1]
    assert frozen.what_if.unit(Criterion((0,))) == "order only"


def test_an_edit_that_changes_nothing_is_told(frozen):
    own = frozen.run.examples("pretrain")["label"].iloc[0]
    found = frozen.what_if.together(Criterion((0,)), [Alteration(RELABEL, "pretrain", 100, own)])
    assert found.total == pytest.approx(0, abs=1e-9)
    assert "has the label" in found.warnings[-1]


def test_queries_are_a_pool_for_the_stage_that_is_asked_about_them(live):
    what_if, criterion = live.what_if, Criterion(ROWS, against=OTHERS)
    assert what_if.pool("pretrain") is None
    pool = what_if.pool("finetune")
    assert pool["id"].tolist() == live.run.queries()["id"].tolist()
    some = pool.iloc[[4, 0]]
    made = [edits.add("finetune", [live.exhibit.study.queries[row]]) for row in (4, 0)]
    target = targets.gap(ROWS, OTHERS)
    expected = edit_scores(live.exhibit.study, made, targets=[target], **options(live)).values[0]
    close(what_if.additions(criterion, "finetune", some), expected)
    asked = [Alteration(ADD, "finetune", int(name)) for name in some["id"]]
    close(what_if.alone(criterion, asked), expected)
    together = edit_effect(live.exhibit.study, made, targets=[target], steps=3, **options(live))
    close(what_if.together(criterion, asked).total, together.total[0])
    table = altered_tables(live.run, [*asked, Alteration(LEAVE_OUT, "finetune", 500)])["finetune"]
    assert len(table) == FINETUNE + 1
    assert table["label"].tolist()[-2:] == some["label"].tolist()
    assert table["id"].is_unique


def test_pools_that_cannot_be(frozen, tmp_path):
    what_if, one = frozen.what_if, Criterion((0,))
    with pytest.raises(RunError, match="no query with id 5 to add to stage 'finetune'"):
        what_if.alone(one, [Alteration(ADD, "finetune", 5)])
    with pytest.raises(RunError, match="Query 900, an addition of stage 'finetune' is altered twice"):
        what_if.together(one, [Alteration(ADD, "finetune", 900)] * 2)
    with pytest.raises(RunError, match="no query with id 5"):
        what_if.additions(one, "finetune", what_if.pool("finetune").assign(id=5))
    with pytest.raises(StudyError, match="does not exist"):
        what_if.additions(one, "pretrain", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (Criterion(()), "rows"),
        (Criterion((QUERIES,)), "There is no query 6; they are 0 to 5"),
        (Criterion((-1,)), "There is no query -1"),
        (Criterion((0, 0)), "more than once"),
        (Criterion((0,), against=(0,)), "the same queries"),
        (Criterion((0,), against=(9,)), "There is no query 9"),
        (Criterion((), error_of="gnu"), "no class 'gnu' to judge by; the model has 'cat'"),
        (Criterion((0,), error_of="dog"), "made of all queries"),
        (Criterion((0,), contrast=Contrast("gnu")), "no class 'gnu'"),
        (Criterion((0,), contrast=Contrast("dog", "gnu")), "no class 'gnu'"),
        (Criterion((0, 1), contrast=Contrast("dog")), "A contrast is of one query; 2 are named"),
    ],
)  # fmt: skip
def test_criteria_that_cannot_be(frozen, criterion, message):
    with pytest.raises(StudyError, match=message):
        frozen.what_if.scores(criterion, "pretrain")


def test_alterations_that_cannot_be(frozen):
    what_if, one = frozen.what_if, Criterion((0,))
    for made, error, message in (
        (Alteration(LEAVE_OUT, "pretrain", 5), RunError, "no example with id 5"),
        (Alteration(RELABEL, "pretrain", 101, "gnu"), StudyError, "has no class 'gnu'"),
        (Alteration(MASK, "pretrain", 101, (0, 0, 1, 1)), StudyError, "A mask needs pictures"),
        (Alteration(STRIKE, "pretrain", 101, "a"), StudyError, "no texts"),
        (Alteration(UPWEIGHT, "pretrain", 101, -3.0), StudyError, "by is -3.0"),
    ):
        for ask in (what_if.alone, what_if.together):
            with pytest.raises(error, match=message):
                ask(one, [made])
    with pytest.raises(StudyError, match="A mask needs pictures"):
        what_if.patches(one, "pretrain", [0])
    with pytest.raises(StudyError, match="no stage 'third'"):
        what_if.scores(one, "third")
    with pytest.raises(StudyError, match="no example 40"):
        what_if.labels(one, "pretrain", [40])


def test_losses_of_a_model_without_classes_can_be_judged_by():
    """Here the squared error of a number; its loss is none of classes, and its labels are none to try."""
    stages = tiny_stages()
    model, data = tiny_net(1), [(x, x[:1] - x[1:2]) for x, _ in tiny_data(FINETUNE, 3, seed=2)]
    last = dataclasses.replace(stages[1], model=model, data=data, loss=squared, frozen=["body.*"], inherits=None)
    model.body.load_state_dict(stages[0].model.body.state_dict())
    queries = [(x, x[:1]) for x, _ in tiny_data(QUERIES, 3, seed=3)]
    study = Study("numbers", [stages[0], last], queries)
    shown = {"finetune": FINETUNE, "queries": QUERIES}
    tables = {name: pd.DataFrame({"id": range(n), "label": [""] * n, "text": [""] * n}) for name, n in shown.items()}
    exhibit = Exhibit(study, classes={"finetune": []}, queries=tables.pop("queries"), examples=tables, method="exact")
    what_if = WhatIf(WayBack(types.SimpleNamespace(curvature=lambda stage, method: {}), exhibit))
    target = targets.gap(ROWS, OTHERS)
    settings = {"method": "exact", "curvature": "ggn", "progress": False}
    criterion = Criterion(ROWS, against=OTHERS)
    for stage in ("pretrain", "finetune"):
        expected = attribute(study, stage=stage, targets=[target], **settings).values[0]
        close(what_if.scores(criterion, stage), expected)
    close(
        what_if.labels(criterion, "pretrain"), relabel_scores(study, "pretrain", targets=[target], **settings).values[0]
    )
    with pytest.raises(StudyError, match="Stage 'finetune' has no classes"):
        what_if.labels(criterion, "finetune")
    for asked in (Criterion((), error_of="dog"), Criterion((0,), contrast=Contrast("dog"))):
        with pytest.raises(StudyError, match="no class 'dog' to judge by: the run's last model is no classifier"):
            what_if.scores(asked, "pretrain")


def squared(outputs, batch):
    return (outputs - batch[1]).square().sum(1)


def test_a_stage_without_classes_has_no_labels_to_try(frozen, monkeypatch):
    chain = frozen.way_back.chain
    stage = dataclasses.replace(
        chain.objectives[0].stage, data=[(x, float(y) + 0.5) for x, y in chain.objectives[0].stage.data]
    )
    monkeypatch.setattr(chain.objectives[0], "stage", stage)
    with pytest.raises(StudyError, match="Stage 'pretrain' has no classes"):
        frozen.what_if.labels(Criterion((0,)), "pretrain")
