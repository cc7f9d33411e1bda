"""Texts as numbers: places in the text, unknown words, what is cut off, the same vocabulary every time."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from influence.errors import StudyError
from influence.studies.texts.tokenizing import PADDING, START, UNKNOWN, TokenData, fit_tokenizer, padded, tokenize

TEXTS = ["The cat sat.", "the dog, the cat!", "a café in Köln", "猫在家", "emoji 👩‍👩‍👧 here"]


def pieces(text, tokens, row=0):
    places = tokens.places.iloc[row]
    return [text[a:b] for a, b in zip(places.starts, places.ends, strict=True)]


def test_words_and_signs_keep_their_places():
    tokenizer = fit_tokenizer(TEXTS, 100)
    found = tokenize(tokenizer, TEXTS, 20, "texts")
    assert pieces(TEXTS[1], found, 1) == ["the", "dog", ",", "the", "cat", "!"]
    assert pieces(TEXTS[0], found) == ["The", "cat", "sat", "."]
    assert found.ids[0][0] == found.ids[1][0], "case is ignored"
    assert pieces(TEXTS[2], found, 2) == ["a", "café", "in", "Köln"]
    assert pieces(TEXTS[3], found, 3) == ["猫", "在", "家"]
    assert found.unknown == 0
    assert found.cut == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_any_text_has_tokens_within_it(text):
    tokenizer = fit_tokenizer(TEXTS, 100)
    try:
        found = tokenize(tokenizer, [text], 30, "texts")
    except StudyError:
        assert not Tokenizer.from_str(tokenizer.to_str()).encode(text).ids
        return
    places = found.places.iloc[0]
    assert len(found.ids[0]) == len(places.starts) <= 30
    assert (places.starts <= places.ends).all()
    assert places.ends.max() <= len(text)
    assert (places.starts[1:] >= places.ends[:-1]).all()


def test_rare_words_are_unknown_and_long_texts_are_cut():
    tokenizer = fit_tokenizer(["a a a b b c"], 5)  # three tokens that no text has, and two words
    found = tokenize(tokenizer, ["a b c zebra", "a"], 3, "texts")
    assert found.ids[0].tolist()[2] == UNKNOWN
    assert (found.cut, found.unknown) == (1, 0.25)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_a_text_without_tokens_is_refused(text):
    with pytest.raises(StudyError, match=r"queries: text 1 \(.*\) has no token; leave out empty texts"):
        tokenize(fit_tokenizer(TEXTS, 100), ["fine", text], 10, "queries")


def test_batches_are_padded_at_the_end():
    data = TokenData([torch.tensor([5]), torch.tensor([6, 7, 8])], [1, 0])
    tokens, classes = padded([data[0], data[1]])
    assert tokens.tolist() == [[START, 5, PADDING, PADDING], [START, 6, 7, 8]]
    assert classes.tolist() == [1, 0]
    assert data.lengths.tolist() == [1, 3]


def test_every_process_learns_the_same_vocabulary():
    code = (
        "from influence.studies.texts.tokenizing import fit_tokenizer\n"
        "texts = [' '.join(f'w{(i * j) % 97}' for j in range(9)) for i in range(200)]\n"
        "print(fit_tokenizer(texts, 60).to_str())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert len({run.stdout for run in runs}) == 1
