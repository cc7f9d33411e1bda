"""Study -> run: complete and repeatable; nothing finished is computed again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FINETUNE, NEW, OLD, PRETRAIN, QUERIES, tiny_exhibit, tiny_net, two_exhibits
from tiny_runs import NAMES, assert_equal_runs, compute, counted_fits

from influence import Study, attribute
from influence.errors import LossError, RunError, StudyError
from influence.precompute import runs as package
from influence.run.manifest import read_json
from influence.run.records import manifest_of
from influence.training.minimum import Trainer

pytestmark = pytest.mark.usefixtures("quick_map")
CONTRACT = (Path(package.__file__).parents[1] / "CONTRACT.md").read_text()


# What is in a run


def test_manifest_has_every_field_of_the_contract(runs):
    section = CONTRACT.split("## run.json")[1].split("A stage record")[0]
    fields = {name for row in re.findall(r"^\| (`.+?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert len(fields) >= 20
    for run in runs:
        told = read_json(run.path)
        assert fields == told.keys()
        record = CONTRACT.split("A stage record:")[1].split("A score record")[0]
        for stage in told["stages"]:
            assert all(f"`{key}`" in record for key in stage)
            assert stage["training"].keys() >= {"gradient_norm", "iterations", "converged", "seconds"}
            assert stage["training"]["gradient_norm"] <= 1e-8
            assert stage["training"]["converged"] is True
        assert manifest_of(told, run.path) == run.manifest


def test_manifest_says_what_was_done(runs):
    frozen, updated = (read_json(run.path) for run in runs)
    assert (frozen["name"], frozen["study"], frozen["variant"]) == ("tiny-frozen", "tiny", "frozen")
    assert (frozen["title"], frozen["measure"], frozen["seed"]) == ("Tiny, frozen", "loss of the true class", 0)
    body, head = ["body.0.weight", "body.0.bias"], ["head.weight", "head.bias"]
    pretrain = {"frozen": [], "proximity": [], "new": body + head, "constant": []}
    assert [s["parameters"] for s in frozen["stages"]] == [
        pretrain,
        {"frozen": body, "proximity": [], "new": head, "constant": []},
    ]
    assert updated["stages"][1]["parameters"] == {"frozen": [], "proximity": body, "new": head, "constant": []}
    assert [s["proximity"] for s in updated["stages"]] == [0.0, 0.1]
    assert [(s["name"], s["examples"], s["classes"]) for s in frozen["stages"]] == [
        ("pretrain", PRETRAIN, OLD),
        ("finetune", FINETUNE, NEW),
    ]
    of = "the pretrain model's embedding"
    assert frozen["map"] == {"stage": "pretrain", "algorithm": "two coordinates", "of": of}
    assert [(r["stage"], r["method"]) for r in frozen["scores"]] == [
        (stage, method) for method in ("exact", "identity") for stage in ("pretrain", "finetune")
    ]
    assert [s["test_accuracy"] is None for s in frozen["stages"]] == [True, False]
    assert frozen["warnings"] == []


def test_files_are_those_of_the_contract(runs):
    for run in runs:
        there = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file()}
        assert there == {*run.manifest.files, "run.json"}
        assert {name for name in there if ".zarr" not in name} == {
            "run.json",
            "queries.parquet",
            "map/pretrain.parquet",
            "map/queries.parquet",
            *(f"stages/{s}.safetensors" for s in run.stages),
            *(f"examples/{s}.parquet" for s in run.stages),
        }


def test_tables_follow_the_contract_column_by_column(runs):
    both = {"id": "int64", "label": "str", "image": "object", "prediction": "str", "confidence": "float32",
            "label_probability": "float32", "loss": "float32"}  # fmt: skip
    place, influence = {"x": "float32", "y": "float32"}, {"self_influence": "float32", "gradient_norm": "float32"}
    for run in runs:
        for table, expected in (
            (run.examples("pretrain"), {**both, **place, **influence}),
            (run.examples("finetune"), {**both, **influence}),
            (run.queries(), {**both, **place, "probabilities": "object"}),
        ):
            assert {name: str(kind) for name, kind in table.dtypes.items()} == expected
            assert table["id"].is_unique
            assert not table.isna().any().any()
            assert all(image.startswith(b"\x89PNG") for image in table["image"])
        assert run.queries()["probabilities"][0].dtype == np.float32


def test_what_tables_say_of_each_example_is_what_the_model_says(runs):
    """Recomputed from the stored parameters with plain torch."""
    exhibits = two_exhibits()
    for run, exhibit in zip(runs, exhibits, strict=True):
        for stage in exhibit.study.stages:
            table, classes = run.examples(stage.name), exhibit.classes[stage.name]
            stage.model.load_state_dict(run.models()[stage.name])
            stage.model.eval()
            x, y = stage.data.tensors
            logs = stage.model(x).log_softmax(1).detach()
            assert list(table["prediction"]) == [classes[i] for i in logs.argmax(1)]
            np.testing.assert_allclose(table["confidence"], logs.exp().max(1).values, rtol=1e-6)
            np.testing.assert_allclose(table["label_probability"], logs.exp()[range(len(x)), y], rtol=1e-6)
            np.testing.assert_allclose(table["loss"], -logs[range(len(x)), y], rtol=1e-5)
            record = run.stage(stage.name)
            assert record.loss == pytest.approx(-logs[range(len(x)), y].mean().item(), rel=1e-5)
            assert record.accuracy == pytest.approx((logs.argmax(1) == y).double().mean().item())
            assert (table["self_influence"] > 0).all()
        probabilities = np.stack(run.queries()["probabilities"])
        expected = stage.model(exhibit.study.queries.tensors[0]).softmax(1).detach()
        np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
        assert run.stage("finetune").test_accuracy == (run.queries()["prediction"] == run.queries()["label"]).mean()


def test_self_influence_is_the_score_of_an_example_for_itself(runs):
    exhibit = two_exhibits()[0]
    pretrain = exhibit.study.stages[0]
    pretrain.model.load_state_dict(runs[0].models()["pretrain"])
    own = attribute(Study("own", [pretrain], pretrain.data), method="exact", curvature="hessian", progress=False)
    np.testing.assert_allclose(runs[0].examples("pretrain")["self_influence"], np.diag(own.values), rtol=1e-5)


@pytest.mark.parametrize("method", ["exact", "identity"])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_scores_are_those_of_attribute(runs, stage, method):
    for run, exhibit in zip(runs, two_exhibits(), strict=True):
        for each in exhibit.study.stages:
            each.model.load_state_dict(run.models()[each.name])
        asked = attribute(exhibit.study, stage=stage, method=method, curvature="hessian", progress=False)
        np.testing.assert_allclose(run.scores(stage, method)[:], asked.values, rtol=1e-6, atol=1e-12)


def test_map_is_made_in_evaluation_mode_and_leaves_the_model_in_its_mode(runs, tmp_path):
    exhibit = tiny_exhibit()  # its embedding ends in dropout
    run = compute(tmp_path, [exhibit], ["one"])[0]
    assert exhibit.study.stages[0].model.training
    np.testing.assert_array_equal(run.examples("pretrain")[["x", "y"]], runs[0].examples("pretrain")[["x", "y"]])


def test_smallest_curvature_is_only_told_of_a_hessian(runs, tmp_path):
    assert all(s.smallest_curvature > 0.01 for s in runs[0].manifest.stages)
    run = compute(tmp_path, [tiny_exhibit(curvature="ggn")], ["one"])[0]
    assert [s.smallest_curvature for s in run.manifest.stages] == [None, None]


def test_residuals_in_the_report_are_those_of_the_queries(tmp_path):
    run = compute(tmp_path, [tiny_exhibit(method="cg")], ["one"])[0]
    for record in run.manifest.scores[:2]:
        assert record.method == "cg"
        assert len(record.report["residuals"]) == QUERIES
        assert 0 < max(record.report["score_error"]) < 5e-3
        assert len(record.report["score_error"]) == QUERIES


# The same command again


def test_same_command_gives_the_same_run(runs, tmp_path):
    for one, other in zip(runs, compute(tmp_path), strict=True):
        assert_equal_runs(one, other)


def test_other_seed_of_the_start_gives_another_run(runs, tmp_path):
    """So that equality above means something."""
    exhibit = tiny_exhibit()
    torch.nn.init.constant_(exhibit.study.stages[0].model.body[0].bias, 3.0)
    run = compute(tmp_path, [exhibit], ["one"])[0]
    assert not torch.equal(run.models()["pretrain"]["body.0.bias"], runs[0].models()["pretrain"]["body.0.bias"])


def test_finished_run_is_opened_not_computed_again(runs, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    before = {p: p.stat().st_mtime_ns for p in runs[0].path.parent.rglob("*")}
    again = compute(runs[0].path.parent)
    assert [run.name for run in again] == NAMES
    assert {p: p.stat().st_mtime_ns for p in runs[0].path.parent.rglob("*")} == before


def test_settings_that_json_changes_are_the_same_settings(tmp_path):
    for _ in range(2):
        compute(tmp_path, [tiny_exhibit(settings={"size": (4, 4)})], ["one"])


def test_other_settings_are_refused_before_anything_is_computed(tmp_path, monkeypatch):
    compute(tmp_path, [tiny_exhibit("updated")], ["tiny-updated"])
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained all the same"))
    with pytest.raises(RunError, match=r"tiny-updated exists with other settings: seed is 0, asked for 1.*--name"):
        compute(tmp_path, two_exhibits(seed=1))


def test_damaged_run_is_not_taken_for_finished(tmp_path):
    run = compute(tmp_path, [tiny_exhibit()], ["one"])[0]
    (run.path / "queries.parquet").write_bytes(b"x")
    with pytest.raises(RunError, match=r"damaged: queries.parquet has other contents"):
        compute(tmp_path, [tiny_exhibit()], ["one"])


# Sharing


def test_variants_share_the_pretrained_model(tmp_path, monkeypatch):
    fitted = counted_fits(monkeypatch)
    frozen, updated = compute(tmp_path)
    assert fitted == ["pretrain", "finetune", "finetune"]
    for name, tensor in frozen.models()["pretrain"].items():
        assert torch.equal(tensor, updated.models()["pretrain"][name])
    assert not torch.equal(frozen.models()["finetune"]["body.0.bias"], updated.models()["finetune"]["body.0.bias"])
    for column in ("x", "y"):
        assert list(frozen.queries()[column]) == list(updated.queries()[column])
    assert frozen.stage("pretrain").training == updated.stage("pretrain").training


def test_second_variant_takes_the_first_from_disk(runs, tmp_path, monkeypatch):
    """In a new process, with the first run finished and the second not."""
    exhibits = two_exhibits()
    compute(tmp_path, exhibits[:1], NAMES[:1])
    fitted = counted_fits(monkeypatch)
    again = compute(tmp_path)
    assert fitted == ["finetune"]
    assert_equal_runs(again[1], runs[1])


def test_a_model_of_equal_settings_but_other_data_is_not_taken(tmp_path):
    """Another study of the same name and sizes: its model is its own."""
    compute(tmp_path, [tiny_exhibit(curvature="ggn")], ["one"])
    exhibit = tiny_exhibit("updated", train=False, curvature="ggn")
    own = {name: tensor.clone() for name, tensor in exhibit.study.stages[0].model.state_dict().items()}
    run = compute(tmp_path, [exhibit], ["two"])[0]
    for name, tensor in own.items():
        assert torch.equal(run.models()["pretrain"][name], tensor)


# Bad input


def test_folder_that_cannot_be_written_is_found_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained all the same"))
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"Cannot write runs to .*file/below: Not a directory. Choose another folder"):
        compute(tmp_path / "file" / "below")


def retold(exhibit, stage, **columns):
    exhibit.examples[stage] = exhibit.examples[stage].assign(**columns)


def bad_loss(outputs, batch):
    losses = torch.nn.functional.cross_entropy(outputs, batch[1], reduction="none")
    return torch.where(batch[0][:, 0] == batch[0][:, 0].max(), torch.nan, losses)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda e: e.examples.update(pretrain=e.examples["pretrain"][:-1]), StudyError, "has 39 rows for 40 examples"),
        (lambda e: retold(e, "pretrain", title=7), StudyError, "column 'title' holds int64, expected text"),
        (lambda e: retold(e, "finetune", image="a"), StudyError, "column 'image' holds .*, expected bytes"),
        (
            lambda e: retold(e, "pretrain", id=["a", *range(39)]),
            StudyError,
            "cannot be kept: its column 'id' holds values of several kinds",
        ),
        (lambda e: e.classes.update(finetune=NEW[:2]), StudyError, r"outputs have shape \(20, 3\), expected \(20, 2\)"),
        (lambda e: e.classes.update(finetune=["cat", "dog", "elk"]), StudyError, "label 'eel' is none of the classes"),
        (lambda e: setattr(e.study.stages[1], "loss", bad_loss), LossError, r"loss of example \d+ is nan"),
        (lambda e: setattr(e.study, "measure", lambda o, b: o.sum()), LossError, "Use reduction='none'"),
    ],
)
def test_what_does_not_fit_is_found_before_training(tmp_path, monkeypatch, change, error, message):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained all the same"))
    exhibit = tiny_exhibit()
    change(exhibit)
    with pytest.raises(error, match=message):
        compute(tmp_path, [exhibit], ["one"])


def test_labels_may_be_categories(tmp_path):
    exhibit = tiny_exhibit(train=False, curvature="ggn")
    labels = exhibit.examples["pretrain"]["label"]
    retold(exhibit, "pretrain", label=labels.astype("category"))
    (run,) = compute(tmp_path, [exhibit], ["one"])
    assert run.examples("pretrain")["label"].tolist() == labels.tolist()


def test_models_that_are_not_to_be_trained_stay_as_they_are(tmp_path):
    run = compute(tmp_path, [tiny_exhibit(train=False, curvature="ggn")], ["one"])[0]
    for stage, classes in (("pretrain", 2), ("finetune", 3)):
        for name, tensor in tiny_net(classes).state_dict().items():
            assert torch.equal(run.models()[stage][name], tensor)


def test_what_torch_cannot_differentiate_is_named(tmp_path):
    exhibit = tiny_exhibit(train=False, curvature="ggn")
    for stage in exhibit.study.stages:
        stage.loss = lambda o, b: torch.nn.functional.multi_margin_loss(o, b[1], reduction="none")
    with pytest.raises(LossError, match="Study 'tiny': torch cannot differentiate .*multi_margin_loss_backward"):
        compute(tmp_path, [exhibit], ["one"])
