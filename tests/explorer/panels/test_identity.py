"""The run's identity card: its line, its case, its layers."""

from __future__ import annotations

import pytest
from small_run import restaged

from explorer.panels.header import identity
from influence.errors import RunError
from influence.run.records import ParameterNames


@pytest.fixture
def run(small, tmp_path):
    return small.write_run(tmp_path, "small")


def test_the_line_says_study_method_damping_sizes_seed_and_date(run):
    assert identity.line(run) == (
        "small frozen · exact, damping 0.001 · 60 pretraining + 20 finetuning examples, 40 predictions · seed 0 · "
        "23 Nov 2026"
    )


@pytest.mark.parametrize(
    ("frozen", "trained", "said"),
    [
        (["w"], [], "the paper's case 1"),
        ([], ["w"], "the paper's case 2"),
        (["w"], ["v"], "partly frozen"),
        ([], [], ""),
    ],
)
def test_the_case_is_told_from_what_became_of_inherited_parameters(run, frozen, trained, said):
    restaged(run, -1, parameters=ParameterNames(frozen=tuple(frozen), proximity=tuple(trained), new=("weight",)))
    assert identity.case(run) == said
    assert (f"({said})" in identity.line(run)) is bool(said)


def test_layers_are_listed_with_shapes_and_what_became_of_them(run):
    rows = identity.layers(run).to_numpy().tolist()
    assert rows == [["pretrain", "weight", "2", "new"], ["finetune", "weight", "2", "new"]]
    (run.path / "stages" / "finetune.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="stages/finetune.safetensors of run small cannot be read"):
        identity.layers(run)
