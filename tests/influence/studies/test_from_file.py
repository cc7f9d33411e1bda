"""`upstream precompute FILE.py:FUNCTION`: what the function returns is taken, and what goes wrong in it is shown."""

from __future__ import annotations

import textwrap

import pytest
import torch
from tiny import tiny_net, tiny_study
from torch.utils.data import Dataset, Subset

from influence import Exhibit, Stage, Study
from influence.errors import StudyError
from influence.run.asked import is_reference
from influence.studies.defaults import class_names, class_of, penultimate, picture_of
from influence.studies.exhibit import default_method
from influence.studies.from_file import from_file


def written(folder, text):
    path = folder / "mine.py"
    path.write_text(textwrap.dedent(text))
    return path


GOOD = """
    from beside import exhibit, study

    def a_study():
        return study()

    def an_exhibit():
        return exhibit()
"""
BESIDE = """
    import sys
    from tiny import tiny_exhibit, tiny_study as study

    def exhibit():
        return tiny_exhibit(train=False, method="cg")
"""


def test_a_study_or_an_exhibit_and_what_lies_beside_the_file(tmp_path):
    (tmp_path / "beside.py").write_text(textwrap.dedent(BESIDE))
    path = written(tmp_path, GOOD)
    exhibit = from_file(f"{path}:a_study", seed=5)
    assert (exhibit.study.name, exhibit.method, exhibit.seed, exhibit.train) == ("tiny", "exact", 5, False)
    assert from_file(f"{path}:an_exhibit").method == "cg"


@pytest.mark.parametrize(
    ("text", "reference", "words"),
    [
        ("", "nowhere.py:f", ["There is no file", "nowhere.py. Give FILE.py:FUNCTION."]),
        ("def f(): pass\ndef g(): pass", "mine.py", ["Which function of", "It has f, g.", "mine.py:FUNCTION"]),
        ("def f(): pass", "mine.py:h", ["has no function 'h'; it has f."]),
        ("f = 3", "mine.py:f", ["has no function 'f'; it has none."]),
        ("def f(): return 3", "mine.py:f", ["mine.py:f returned a int, expected a Study or an Exhibit."]),
        ("def f(:", "mine.py:f", ["failed while upstream is read", "line 1", "SyntaxError"]),
        ("import nothing_of_that_name", "mine.py:f", ["line 1, in <module>", "ModuleNotFoundError"]),
        ("def g():\n    return 1 / 0\ndef f():\n    return g()", "mine.py:f",
         ["line 4, in f", "line 2, in g", "return 1 / 0", "ZeroDivisionError: division by zero"]),
        ("def f(path): return 3", "mine.py:f", ["runs f()", "missing 1 required positional argument: 'path'"]),
        ("import sys\ndef f(): sys.exit(7)", "mine.py:f", ["line 2, in f", "SystemExit: 7"]),
        ("from influence import Stage\ndef f(): return Stage('a b', None, None, [])", "mine.py:f",
         ["line 2, in f", "StudyError: Stage name 'a b'"]),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_shown_with_the_users_lines_and_none_of_ours(tmp_path, text, reference, words):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(StudyError) as error:
        from_file(f"{tmp_path}/{reference}")
    message = str(error.value)
    assert [word for word in words if word not in message] == []
    assert "userfile.py" not in message


BAD_DATA = """
from tiny import tiny_study

class Broken:
    def __len__(self):
        return 2

    def __getitem__(self, position):
        raise KeyError("no such row")

def broken():
    study = tiny_study()
    study.queries = Broken()
    return study

def unlabelled():
    study = tiny_study()
    study.queries = [study.queries[0][:1]]
    return study
"""


def test_data_that_fails_when_it_is_looked_at(tmp_path):
    path = written(tmp_path, BAD_DATA)
    with pytest.raises(
        StudyError, match=r"(?s)looks at its examples:.*line 9, in __getitem__.*KeyError: 'no such row'"
    ):
        from_file(f"{path}:broken")
    with pytest.raises(StudyError, match=r"^The queries: example 0 has no integer class"):
        from_file(f"{path}:unlabelled")


def test_what_counts_as_a_file():
    assert [is_reference(t) for t in ("a.py", "a/b.py:f", "C:\\x.py:f", "digits", "x.pyc")] == [True] * 3 + [False] * 2


# What an Exhibit finds by itself


class Examples(Dataset):
    classes = ("yes", "no")

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, position):
        return self.items[position]


def plain_loss(outputs, batch):
    return torch.nn.functional.cross_entropy(outputs, batch[1], reduction="none")


def exhibit_of(items, collate=None, forward=None, **options):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))
    model(torch.zeros(1, 12))
    data = Examples(items)
    stage = Stage("only", model, plain_loss, data, collate=collate, forward=forward)
    return Exhibit(Study("s", [stage], data), **options)


def test_only_the_study_is_required():
    exhibit = Exhibit(tiny_study())
    assert exhibit.classes == {"pretrain": ["0", "1"], "finetune": ["0", "1", "2"]}
    labels = [str(int(y)) for y in exhibit.study.queries.tensors[1]]
    assert list(exhibit.queries["label"]) == labels
    assert list(exhibit.queries.columns) == ["id", "label"]  # four numbers are no picture
    assert "40 examples" in exhibit.summary
    assert exhibit.embedding(tiny_net(2), exhibit.study.queries.tensors).shape == (6, 3)


def test_pictures_texts_and_class_names_are_found():
    grey = exhibit_of([(torch.rand(1, 4, 3 * 4)[:, :, :4].repeat(1, 1, 1)[:, :4, :4], 1)] * 2,
                      forward=lambda m, b: m(b[0].flatten(1)[:, :12]))  # fmt: skip
    assert list(grey.examples["only"]["label"]) == ["no", "no"]
    assert grey.queries["image"][0].startswith(b"\x89PNG")

    def collate(rows):
        return [torch.zeros(len(rows), 12), torch.tensor([r["label"] for r in rows])]

    texts = exhibit_of([{"text": "<b>hi</b>", "label": 0}] * 2, collate=collate)
    assert list(texts.queries["text"]) == ["<b>hi</b>"] * 2
    assert "image" not in texts.queries


def test_classes_are_known_through_a_subset_and_only_if_they_fit():
    data = Examples([(torch.zeros(12), 0)] * 3)
    stage = exhibit_of([(torch.zeros(12), 0)]).study.stages[0]
    assert class_names(stage, Subset(data, [0, 1])) == ["yes", "no"]
    data.classes = ("one", "two", "three")
    assert class_names(stage, data) == ["0", "1"]


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ((0.5, 3), 3), ([None, torch.tensor(2)], 2), ({"x": 1, "labels": 4}, 4), ((7,), None), (torch.zeros(3), None),
        ((0, torch.zeros(2)), None), ((0, 1.5, 2), 2), ({"x": 1}, None),
    ],
)  # fmt: skip
def test_class_of(example, expected):
    assert class_of(example) == expected


def test_what_looks_like_a_picture():
    assert picture_of((torch.rand(3, 8, 8), 1)) is not None
    assert picture_of((torch.full((1, 8, 8), 7, dtype=torch.uint8), 1)) is not None
    assert picture_of((torch.randn(3, 8, 8) * 9, 1)) is not None
    for other in (torch.rand(4, 8, 8), torch.rand(3, 2, 9), torch.rand(8, 8), "text"):
        assert picture_of((other, 1)) is None


def test_what_cannot_be_found_is_asked_for():
    with pytest.raises(StudyError, match=r"Stage 'only': example 1 has class 2, expected one of 0 to 1"):
        exhibit_of([(torch.zeros(12), 0), (torch.zeros(12), 2)])
    with pytest.raises(StudyError, match=r"has no integer class.*Give the Exhibit a table of id and label"):
        exhibit_of([(torch.zeros(12), 0.5)])
    with pytest.raises(StudyError, match=r"a run shows classifiers.*this model's have shape \(1, 3, 4\)"):
        exhibit_of([(torch.zeros(12), 0)], forward=lambda m, b: b[0].view(-1, 3, 4))


def test_default_embedding_of_tokens_is_their_mean():
    model = torch.nn.Linear(4, 2)
    vectors = penultimate(lambda m, b: m(b[0]))(model, [torch.ones(5, 7, 4)])
    assert torch.equal(vectors, torch.ones(5, 4))
    assert not model._forward_pre_hooks


def test_method_goes_by_size():
    assert default_method(tiny_study()) == "exact"
    big = Stage("big", torch.nn.Linear(12, 200), plain_loss, Examples([(torch.zeros(12), 0)]))
    assert default_method(Study("s", [big], big.data)) in ("ekfac", "cg")
