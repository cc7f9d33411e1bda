"""Which warnings a reader has read already."""

from __future__ import annotations

import pytest

from influence.errors import unsaid

TOLD = "Stage 'pretrain': leaving out 1.24 examples moves it as far as 1,200 steps did, gradient norm 3.1e-05."


@pytest.mark.parametrize(
    ("warning", "is_new"),
    [
        (TOLD, False),
        (TOLD.replace("1.24", "1.2").replace("3.1e-05", "3.07e-05"), False),
        (TOLD.replace("1,200", "1,900"), True),
        (TOLD.replace("3.1e-05", "3.1e-04"), True),
        (TOLD.replace("pretrain", "finetune"), True),
        (TOLD.replace("'pretrain'", "'conv1'"), True),
        ("", True),
    ],
)
def test_other_words_and_figures_that_are_far_off_are_new(warning, is_new):
    assert unsaid([warning], ["Another.", TOLD]) == [warning] * is_new


def test_names_with_numbers_are_words():
    assert unsaid(["Parameter layers.1.weight."], ["Parameter layers.0.weight."]) == ["Parameter layers.1.weight."]
