"""Which stage an edit on the command line is of, where names of stages hold colons."""

from types import SimpleNamespace

import pytest

from influence.cli.edits import what_if


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12=3", ("first", "12=3")),
        ("first:12", ("first", "12")),
        ("step:12=3", ("step", "12=3")),
        ("step:two:12=3", ("step:two", "12=3")),
        ("12=a:b", ("first", "12=a:b")),
        ("other:12", ("first", "other:12")),
    ],
)
def test_the_longest_name_before_a_colon_is_the_stage(text, expected):
    run = SimpleNamespace(stages=["first", "step", "step:two"])
    assert what_if._staged(run, "first", text) == expected
