"""Votes of rules in a run: kept, checked when read, taken back one by one, together and by the command line."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import OLD, PRETRAIN, QUERIES, tiny_data, tiny_exhibit
from tiny_runs import TinyBuilt
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

from influence import Run, Votes, edit_effect, targets, vote_scores
from influence.cli.app import app
from influence.errors import RunError, StudyError
from influence.live import (
    LEAVE_OUT,
    NONE,
    RELABEL,
    SWITCH_OFF,
    TAKE_BACK,
    Alteration,
    Criterion,
    Live,
    altered_tables,
    as_json,
    from_json,
)
from influence.live.edits import edits_of
from influence.precompute.runs import precompute
from influence.run.files import checksum, votes_file
from influence.run.parquet.votes import votes_problem
from influence.run.records import json_of, manifest_of
from influence.studies.built_in import STUDIES
from influence.studies.request import exhibits_for
from influence.training.retraining import Retrainer

RULES = ["stripes", "wings", "says: buzz, or = hums"]
ALL = Criterion(tuple(range(QUERIES)))
OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}


def votes():
    """The first is often right, the second less so, the third seldom speaks; on example 0 the first alone."""
    rng, truth = np.random.default_rng(0), tiny_data(PRETRAIN, 2, seed=1).tensors[1].numpy()
    table = np.stack([np.where(rng.random(PRETRAIN) < right, truth, 1 - truth) for right in (0.9, 0.7, 0.5)], axis=1)
    table[rng.random(PRETRAIN) < 0.6, 2] = -1
    table[0] = truth[0], -1, -1
    return Votes(table, 2, RULES)


class VotedBuilt(TinyBuilt):
    def __init__(self, seed=0):
        given, plain = votes(), tiny_exhibit()
        stage = plain.study.stages[0]
        stage.data = TensorDataset(stage.data.tensors[0], torch.tensor(given.labels))
        shown = plain.examples["pretrain"].assign(label=[OLD[number] for number in given.labels.argmax(1)])
        examples = {**plain.examples, "pretrain": shown}
        self.exhibits = {"frozen": dataclasses.replace(plain, examples=examples, votes={"pretrain": given})}
        self.variants = ("frozen",)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "tiny", VotedBuilt)
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        exhibits = exhibits_for("tiny", None, None, None, {}, {})
        (run,) = precompute(exhibits, ["voted"], tmp_path_factory.mktemp("runs"), progress=False)
        yield Live(run)


def taken(rule, *rows):
    return [Alteration(TAKE_BACK, "pretrain", 100 + row, RULES[rule]) for row in rows]


def test_the_run_holds_the_votes(live):
    kept = live.run.votes("pretrain")
    assert live.run.votes("finetune") is None
    table = votes().table
    assert len(kept) == (table >= 0).sum()
    for row, rule, vote in zip(kept["example"], kept["rule"], kept["vote"], strict=True):
        assert OLD[table[row, RULES.index(rule)]] == vote


def test_each_vote_is_what_vote_scores_says_and_the_edit_does(live):
    found = live.what_if.votes(ALL, "pretrain")
    expected = vote_scores(live.exhibit.study, votes(), targets=[targets.mean(range(QUERIES))], **OPTIONS).values[0]
    np.testing.assert_allclose(found, expected[votes().table >= 0], rtol=1e-4, atol=1e-9)
    some = taken(0, 0, 3, 4)
    alone = live.what_if.alone(ALL, some)
    kept = live.run.votes("pretrain")
    for change, each in zip(alone, some, strict=True):
        place = ((kept["example"] == each.id - 100) & (kept["rule"] == each.value)).to_numpy()
        np.testing.assert_allclose(change, found[place][0], rtol=1e-4, atol=1e-9)
    off = live.what_if.alone(ALL, [Alteration(SWITCH_OFF, "pretrain", NONE, RULES[1])])
    np.testing.assert_allclose(off[0], found[(kept["rule"] == RULES[1]).to_numpy()].sum(), rtol=1e-4)


def test_votes_taken_back_together_are_one_relabelling_and_one_leaving_out(live):
    rows = [row for row in range(1, PRETRAIN) if votes().table[row, 2] >= 0]
    some = [*taken(0, 0, rows[0]), *taken(1, rows[0]), Alteration(SWITCH_OFF, "pretrain", NONE, RULES[2])]
    made = edits_of(live.run, live.exhibit, some)
    assert [edit.name for edit in made] == ["relabel", "leave_out"]
    assert made[1].rows == (0, rows[0])  # no rule is left on these
    study = live.exhibit.study
    found = live.what_if.together(ALL, some)
    expected = edit_effect(study, made, steps=3, targets=[targets.mean(range(QUERIES))], **OPTIONS).total[0]
    np.testing.assert_allclose(found.total, expected, rtol=1e-4)


def test_training_again_gives_what_is_predicted(live):
    some = [*taken(0, 0), *taken(1, 5)]
    again, found = Retrainer(live.exhibit.study), live.what_if.together(ALL, some)
    really = again.retrain(edits=edits_of(live.run, live.exhibit, some)).losses - again.retrain().losses
    np.testing.assert_allclose(found.total, really.mean(), rtol=0.02)


@pytest.mark.parametrize(
    ("some", "error", "words"),
    [
        ([Alteration(TAKE_BACK, "pretrain", 100, RULES[1])], StudyError, "does not vote on example 100"),
        ([Alteration(TAKE_BACK, "pretrain", 100, "x")], StudyError, "no rule 'x'"),
        ([Alteration(SWITCH_OFF, "finetune", NONE, RULES[1])], StudyError, "come from no votes"),
        ([Alteration(TAKE_BACK, "pretrain", 7, RULES[1])], RunError, "no example with id 7"),
        ([*taken(0, 3), *taken(0, 3)], RunError, "altered twice"),
        ([*taken(0, 3), Alteration(LEAVE_OUT, "pretrain", 103)], RunError, "altered twice"),
        (
            [Alteration(SWITCH_OFF, "pretrain", NONE, RULES[0]), Alteration(RELABEL, "pretrain", 104, "ant")],
            RunError,
            "Example 104 .* a vote on it taken back",
        ),
    ],
)
def test_what_cannot_be_taken_back_is_named(live, some, error, words):
    with pytest.raises(error, match=words):
        edits_of(live.run, live.exhibit, some)


def test_a_class_in_place_of_an_average_is_all_of_that_class(live):
    (edit,) = edits_of(live.run, live.exhibit, [Alteration(RELABEL, "pretrain", 105, "bee")])
    assert torch.as_tensor(edit.labels[0]).tolist() == [0, 1]
    assert np.isfinite(live.what_if.alone(ALL, [Alteration(RELABEL, "pretrain", 105, "bee")])).all()


def test_corrected_data_have_the_votes_that_are_left_and_their_labels(live):
    some = [*taken(0, 0, 3), Alteration(SWITCH_OFF, "pretrain", NONE, RULES[2])]
    tables = altered_tables(live.run, some)
    left, examples = tables["pretrain-votes"], tables["pretrain"]
    assert RULES[2] not in set(left["rule"])
    assert not ((left["id"] == 103) & (left["rule"] == RULES[0])).any()
    assert 100 not in set(examples["id"])  # no rule votes on it any more
    assert examples.set_index("id")["label"][103] == left.set_index("id")["vote"][103]
    assert f"switch off {RULES[2]!r}" in set(tables["pretrain-changes"]["change"])
    assert set(from_json(as_json(some))) == set(some)


def test_the_command_line_takes_votes_back(live):
    given = ["what-if", "--take-back", f"103={RULES[2]}", "--switch-off", RULES[1], "--quiet", str(live.run.path)]
    table = votes().table
    if table[3, 2] < 0:
        given[2] = f"103={RULES[0]}"
    found = CliRunner().invoke(app, given)
    assert found.exit_code == 0, found.output
    assert "With these 2 edits" in " ".join(found.output.split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.assign(vote="wasp"), "a class that the stage does not have"),
        (lambda table: pd.concat([table, table[:1]]), "votes twice"),
        (lambda table: table.assign(rule=""), "a rule without a name"),
        (lambda table: table[table["example"] != 5], "no vote on 1 of"),
    ],
)
def test_odd_votes_of_a_strangers_run_are_named(live, change, words):
    table = live.run.votes("pretrain")
    assert votes_problem(table, OLD, PRETRAIN) == ""
    assert words in votes_problem(change(table), OLD, PRETRAIN)


def test_votes_of_another_form_are_a_named_error_of_the_run(live, tmp_path):
    folder = tmp_path / "voted"
    shutil.copytree(live.run.path, folder)
    odd = live.run.votes("pretrain").assign(example=np.int32(PRETRAIN))
    odd.to_parquet(folder / votes_file("pretrain"), index=False)
    told = json.loads((folder / "run.json").read_text())
    told["files"][votes_file("pretrain")] = checksum(folder / votes_file("pretrain"))
    run = Run(folder, manifest_of(json_of(dataclasses.replace(live.run.manifest, files=told["files"])), folder))
    with pytest.raises(RunError, match=votes_file("pretrain")):
        run.votes("pretrain")


def test_votes_on_other_examples_are_refused_by_the_exhibit():
    with pytest.raises(StudyError, match="votes on 40 examples of stage 'finetune'"):
        tiny_exhibit(votes={"finetune": votes()})


def test_rules_have_names_of_their_own():
    with pytest.raises(StudyError, match="expected 2 names, each another"):
        Votes([[0, 1]], 2, ["a", "a"])
    assert Votes([[0, 1]], 2).rules == ["0", "1"]
