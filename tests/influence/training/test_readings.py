"""Data that change while influence is computed of them: the example or the file is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_exhibit
from torch.utils.data import Subset

from influence import attribute
from influence.errors import StudyError
from influence.precompute import runs, steps
from influence.precompute.scoring import Scorer
from influence.training.readings import EXAMPLES, Readings


class Files:
    """Numbers that are read from files, one each."""

    def __init__(self, folder, count):
        self.files = [folder / f"{i}.npy" for i in range(count)]
        for i, file in enumerate(self.files):
            np.save(file, np.full(3, i))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, place):
        return {"numbers": torch.from_numpy(np.load(self.files[place])), "label": place % 2, "other": object()}


class Rows(list):
    """Examples that can be replaced."""


@pytest.mark.parametrize(
    "example",
    [
        (torch.ones(2), 1),
        {"text": "one", "number": 0.5},
        [np.ones(2), None],
        torch.ones(2, dtype=torch.bfloat16),
        torch.tensor(1.5),
        "a\ud800",
    ],
)
def test_an_example_that_becomes_another_is_named(example):
    data = Rows([example] * (3 * EXAMPLES))
    readings = Readings(data, "Stage 'one'")
    readings.refuse_changed()
    for other in ((torch.zeros(2), 1), {"text": "two", "number": 0.5}, [np.ones(3), None]):
        data[-1] = other
        with pytest.raises(StudyError, match=rf"Stage 'one': example {len(data) - 1} is not what it was"):
            readings.refuse_changed()
    data[-1] = example
    readings.refuse_changed()


def test_a_file_that_is_written_again_or_deleted_is_named_wherever_it_is(tmp_path):
    data = Files(tmp_path, 5 * EXAMPLES)
    unseen = next(i for i in range(len(data)) if i not in Readings(data, "").examples)
    readings = Readings(Subset(data, range(4 * EXAMPLES)), "The queries")
    readings.refuse_changed()
    np.save(data.files[unseen], np.zeros(4))
    with pytest.raises(StudyError, match=rf"The queries: .*{unseen}.npy was changed"):
        readings.refuse_changed()
    data.files[unseen].unlink()
    with pytest.raises(StudyError, match="is not there any more"):
        readings.refuse_changed()


def test_random_examples_are_left_to_their_losses_and_failing_ones_to_who_reads_them():
    class Odd(Rows):
        files = ("no file", 3, None)

        def __getitem__(self, place):
            return torch.randn(2) if place else 1 / 0

    readings = Readings(Odd(range(4)), "")
    assert (readings.examples, readings.files) == ({}, {})
    readings.refuse_changed()


def test_a_picture_is_told_by_its_type_alone():
    data = Rows([(Image.new("L", (2, 2), 0), 1)])
    readings = Readings(data, "")
    data[0] = Image.new("L", (2, 2), 9), 1
    readings.refuse_changed()
    data[0] = "a text", 1
    with pytest.raises(StudyError, match="example 0"):
        readings.refuse_changed()


class Changing(torch.utils.data.Dataset):
    """The examples of another data set; the last one's numbers can be moved."""

    def __init__(self, data):
        self.data, self.moved = data, 0.0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, place):
        numbers, *rest = self.data[place]
        return numbers + self.moved * (place == len(self) - 1), *rest


@pytest.fixture
def changing():
    """The tiny exhibit, and the finetuning data of it that can change."""
    exhibit = tiny_exhibit()
    stage = exhibit.study.stages[1]
    stage.data = Changing(stage.data)
    return exhibit, stage.data


CHANGED = "Stage 'finetune': example .* is not what it was when it was first read"


def test_scores_of_data_that_changed_meanwhile_are_not_given(changing, monkeypatch):
    exhibit, data = changing
    from influence.attribution import scores

    usual = scores.score
    monkeypatch.setattr(scores, "score", lambda *args, **more: (setattr(data, "moved", 1.0), usual(*args, **more))[1])
    with pytest.raises(StudyError, match=CHANGED):
        attribute(exhibit.study, method="identity", progress=False)


def test_a_run_whose_data_changed_in_a_step_cannot_go_on(changing, tmp_path, monkeypatch, quick_map):
    exhibit, data = changing
    usual = Scorer._fill
    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "_fill", lambda *args: (setattr(data, "moved", 1.0), usual(*args)))
        with pytest.raises(StudyError, match=CHANGED):
            runs.precompute([exhibit], ["tiny"], tmp_path, progress=False)
    data.moved = 0.0
    with pytest.raises(StudyError, match=f"{CHANGED}.* To begin anew, delete .*tiny"):
        runs.precompute([exhibit], ["tiny"], tmp_path, progress=False)
    assert not (tmp_path / "tiny").exists()


def test_an_interrupted_run_does_not_go_on_with_other_data(changing, tmp_path, monkeypatch, quick_map):
    exhibit, data = changing
    with monkeypatch.context() as patch:
        patch.setattr(steps.Scorer, "score", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            runs.precompute([exhibit], ["tiny"], tmp_path, progress=False)
    data.moved = 1.0
    with pytest.raises(StudyError, match=CHANGED):
        runs.precompute([exhibit], ["tiny"], tmp_path, progress=False)
    data.moved = 0.0
    (run,) = runs.precompute([exhibit], ["tiny"], tmp_path, progress=False)
    assert not run.pending


class Mapped:
    """What Hugging Face `datasets` promises of a data set on the disk: length, rows as dicts, its cached files."""

    def __init__(self, file):
        self.cache_files = [{"filename": str(file)}]

    def __len__(self):
        return 40

    def __getitem__(self, place):
        return {"text": f"text {place}", "label": place % 2}


def test_files_of_hugging_face_datasets_are_compared(tmp_path):
    file = tmp_path / "data-00000-of-00001.arrow"
    file.write_bytes(b"rows")
    readings = Readings(Mapped(file), "Stage 'one'")
    readings.refuse_changed()
    file.write_bytes(b"other rows")
    with pytest.raises(StudyError, match=r"data-00000-of-00001.arrow was changed"):
        readings.refuse_changed()
