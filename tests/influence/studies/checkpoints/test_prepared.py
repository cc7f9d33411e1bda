from __future__ import annotations

import pytest
import tiny_checkpoints as tiny
import torch

from influence.errors import StudyError
from influence.studies.checkpoints.texts.labels import Head
from influence.studies.checkpoints.texts.objectives import CAUSAL, CLASSIFICATION, IGNORED, MASKED, TAGS, TextObjective
from influence.studies.checkpoints.texts.prepared import Preparation, context_of, refuse_other_tokenizer
from influence.studies.checkpoints.texts.rows import Item


def items(*texts, **more):
    return [Item(i, f"data.csv, line {i + 2}", text, **more) for i, text in enumerate(texts)]


def parts(examples, row=0):
    """The characters of every token of a text."""
    text, places = examples.table["text"][row], examples.tokens.iloc[row]
    return [text[start:end] for start, end in zip(places["starts"], places["ends"], strict=True)]


def test_places_of_tokens_are_characters_of_the_text():
    words, of_bytes = tiny.words_tokenizer(), tiny.bytes_tokenizer()
    head = Head(CLASSIFICATION, ("pet", "tool"))
    pairs = Preparation(words, TextObjective(CLASSIFICATION), head).examples(
        items("a cat", label="pet", pair="the sun"), "texts"
    )
    assert pairs.table["text"][0] == "a cat\nthe sun"
    assert parts(pairs) == ["a", "cat", "the", "sun"]
    assert pairs[0]["token_type_ids"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    completed = Preparation(of_bytes, TextObjective(CAUSAL)).examples(items(" eats", prompt="a cat"), "texts")
    assert "".join(parts(completed)) == "acateats"
    assert completed.table["prompt_end"][0] == 5
    said = completed[0]["labels"] != IGNORED
    assert int(completed[0]["places"][said].min()) == int(completed[0]["places"][~said].max()) + 1
    tagged = Preparation(words, TextObjective(TAGS), Head(TAGS, ("O", "B"))).examples(
        items(["a", "cat-like", "hen"], label=["O", "B", 0]), "texts"
    )
    assert parts(tagged) == ["a", "cat", "-", "like", "hen"]
    assert tagged[0]["labels"].tolist() == [IGNORED, 0, 1, IGNORED, IGNORED, 0, IGNORED]


def test_masks_are_drawn_once_from_the_text_alone():
    tokenizer, long = tiny.words_tokenizer(), "a cat sleeps in the sun and the dog runs home in the sun " * 3
    prepare = Preparation(tokenizer, TextObjective(MASKED), seed=3)
    one, other = prepare.examples(items("a hen", long), "x"), prepare.examples(items(long), "x")
    for key in ("input_ids", "labels"):
        assert torch.equal(one[1][key], other[0][key])
    chosen = one[1]["labels"] != IGNORED
    assert int(chosen.sum()) == round(0.15 * 42)
    assert int((one[0]["labels"] != IGNORED).sum()) == 1, "a short text has one too"
    assert (one[1]["input_ids"][~chosen] == torch.tensor(tokenizer(long)["input_ids"])[~chosen]).all()
    seeded = Preparation(tokenizer, TextObjective(MASKED), seed=4).examples(items(long), "x")
    assert not torch.equal(seeded[0]["labels"], other[0]["labels"])


def test_a_text_has_the_token_that_begins_it_once():
    tokenizer = tiny.bytes_tokenizer(begin=True)
    prepare = Preparation(tokenizer, TextObjective(CAUSAL))
    plain, templated = prepare.examples(items("a cat", "<s>a cat"), "texts")
    assert plain["input_ids"].tolist() == templated["input_ids"].tolist()
    assert plain["input_ids"][0] == 0
    assert parts(prepare.examples(items("a cat"), "texts"))[0] == "a"
    assert plain["places"].tolist()[:2] == [0, 0]


def test_texts_are_cut_at_the_context_and_that_is_said():
    tokenizer = tiny.words_tokenizer()
    model = tiny.bert("BertForMaskedLM", tokenizer)
    assert context_of(model, tokenizer) == tiny.CONTEXT
    long = "a cat eats " * 20
    prepare = Preparation(tokenizer, TextObjective(MASKED), context=8)
    found = prepare.examples(items("a cat", long), "'pretrain'")
    assert found[1]["input_ids"].shape == (8,)
    assert "1 of 2 texts of 'pretrain' are longer than the model's context and were cut after 8 tokens." in found.notes
    with pytest.raises(StudyError, match="every text is longer than the model's context of 8 tokens"):
        prepare.examples(items(long, long), "'pretrain'")
    Preparation(tokenizer, TextObjective(MASKED), context=8, cut=True).examples(items(long), "'pretrain'")


def test_a_prompt_that_fills_the_context_leaves_nothing_to_predict():
    prepare = Preparation(tiny.bytes_tokenizer(), TextObjective(CAUSAL), context=6)
    given = [Item(0, "line 1", " eats", prompt="a cat"), Item(1, "line 2", " eats", prompt="a cat in the sun here")]
    found = prepare.examples(given, "'queries'")
    assert found.table["id"].tolist() == [0]
    assert any("1 texts of 'queries' were left out" in note for note in found.notes)
    with pytest.raises(StudyError, match="every prompt fills the model's context of 6 tokens"):
        prepare.examples(given[1:], "'queries'")


def test_roberta_counts_places_from_behind_its_padding():
    tokenizer = tiny.words_tokenizer()
    config = tiny.transformers.RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=18, pad_token_id=1, **tiny.BERT
    )
    assert context_of(tiny.transformers.RobertaForMaskedLM(config), tokenizer) == 16


def test_a_tokenizer_of_another_model_is_refused():
    words, of_bytes = tiny.words_tokenizer(), tiny.bytes_tokenizer()
    refuse_other_tokenizer(tiny.gpt2("GPT2LMHeadModel", of_bytes), of_bytes, "gpt2")
    with pytest.raises(StudyError, match=r"token ids up to \d+, the model embeds \d+ tokens .* do not belong together"):
        refuse_other_tokenizer(tiny.bert("BertForMaskedLM", words), of_bytes, "bert")


def test_labels_that_the_head_has_not_are_named():
    head = Head(CLASSIFICATION, ("pet", "tool"))
    assert [head.number(value, "") for value in ("pet", "tool", 1, "0", 1.0, True)] == [0, 1, 1, 0, 1, 1]
    prepare = Preparation(tiny.words_tokenizer(), TextObjective(CLASSIFICATION), head)
    with pytest.raises(StudyError, match=r"data.csv, line 2: the label is 'plant', which the model's head has not: it"):
        prepare.examples(items("a cat", label="plant"), "texts")
    with pytest.raises(StudyError, match="differs from 'pet' only by case"):
        prepare.examples(items("a cat", label="Pet"), "texts")
    with pytest.raises(StudyError, match="the label is '2', which"):
        prepare.examples(items("a cat", label=2), "texts")
    with pytest.raises(StudyError, match="there are 2 labels for 3 words"):
        Head(TAGS, ("O", "B")).tags([0, 1], 3, "line 4")
    with pytest.raises(StudyError, match=r"expected 1 finite number"):
        Head("regression", ("LABEL_0",)).target("much", "line 4")
