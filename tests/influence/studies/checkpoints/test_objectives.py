"""Losses against those that models of transformers compute themselves."""

from __future__ import annotations

import pytest
import tiny_checkpoints as tiny
import torch
import transformers

from influence.errors import StudyError
from influence.studies.checkpoints.texts.labels import head_of
from influence.studies.checkpoints.texts.objectives import IGNORED, INPUTS, forward_of, mean_state, objective_of
from influence.studies.checkpoints.texts.prepared import Padding, Preparation
from influence.studies.checkpoints.texts.rows import Item

TEXTS = ["a cat eats", "the hen runs home in the sun", "a saw"]
CLASSES = {"num_labels": 3}
LABELS = {
    "classification": [0, "LABEL_2", "1"],
    "regression": [0.5, "-1", 2],
    "multi-label": [["LABEL_0", "LABEL_2"], "LABEL_1", [0, 1, 1]],
    "token-classification": [[0, 1, 2], "0 1 2 0 1 2 2", ["LABEL_1", -100]],
}
MODELS = {
    "causal": lambda b, w: (tiny.gpt2("GPT2LMHeadModel", b), b),
    "masked": lambda b, w: (tiny.bert("BertForMaskedLM", w), w),
    "classification": lambda b, w: (tiny.bert("BertForSequenceClassification", w, **CLASSES), w),
    "regression": lambda b, w: (tiny.gpt2("GPT2ForSequenceClassification", b, num_labels=1), b),
    "multi-label": lambda b, w: (
        tiny.bert("BertForSequenceClassification", w, problem_type="multi_label_classification", **CLASSES),
        w,
    ),
    "token-classification": lambda b, w: (tiny.bert("BertForTokenClassification", w, **CLASSES), w),
}


@pytest.fixture(scope="module")
def tokenizers():
    return tiny.bytes_tokenizer(), tiny.words_tokenizer()


def prepared(model, tokenizer, items):
    objective = objective_of(model)
    head = None if objective.of_language else head_of(model.config, objective.kind)
    examples = Preparation(tokenizer, objective, head).examples(items, "texts")
    return objective, Padding(tokenizer.pad_token_id or 0)([examples[i] for i in range(len(examples))])


@pytest.mark.parametrize("kind", MODELS)
def test_losses_add_up_to_those_of_transformers(kind, tokenizers):
    model, tokenizer = MODELS[kind](*tokenizers)
    labels = LABELS.get(kind, [None] * 3)
    objective, batch = prepared(model, tokenizer, [Item(i, f"line {i}", t, labels[i]) for i, t in enumerate(TEXTS)])
    assert objective.kind == kind
    logits = forward_of(model, objective)(model, batch)
    losses = objective.loss(logits, batch)
    assert losses.shape == (3,)
    own = model(**{name: batch[name] for name in INPUTS if name in batch}, labels=batch["labels"]).loss
    said = batch["labels"][:, 1:] if kind == "causal" else batch["labels"]
    count = {"multi-label": 9}.get(kind, int((said != IGNORED).sum()) if objective.of_tokens else 3)
    assert losses.sum().item() / count == pytest.approx(own.item(), rel=1e-5)
    if objective.of_tokens:
        torch.testing.assert_close(objective.token_losses(logits, batch).sum(1), losses)


@pytest.mark.parametrize("kind", MODELS)
def test_padding_changes_no_loss(kind, tokenizers):
    model, tokenizer = MODELS[kind](*tokenizers)
    labels = LABELS.get(kind, [None] * 3)
    items = [Item(i, f"line {i}", t, labels[i]) for i, t in enumerate(TEXTS)]
    forward = forward_of(model, objective_of(model))
    objective, together = prepared(model, tokenizer, items)
    alone = [prepared(model, tokenizer, [item])[1] for item in items]
    found = torch.cat([objective.loss(forward(model, batch), batch) for batch in alone])
    torch.testing.assert_close(found, objective.loss(forward(model, together), together), rtol=1e-4, atol=1e-5)


def test_a_completion_is_predicted_and_its_prompt_is_not(tokenizers):
    tokenizer = tokenizers[0]
    model = tiny.gpt2("GPT2LMHeadModel", tokenizer)
    objective, batch = prepared(model, tokenizer, [Item(0, "line 0", " cat eats", prompt="a")])
    logits = forward_of(model, objective)(model, batch)
    ids = tokenizer("a cat eats")["input_ids"]
    prompt = len(tokenizer("a")["input_ids"])
    by_hand = -sum(logits[0, i - 1].log_softmax(0)[ids[i]] for i in range(prompt, len(ids)))
    assert objective.loss(logits, batch).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_an_adapter_has_the_objective_of_its_base_and_a_learned_prompt_predicts_nothing(tokenizers):
    peft = pytest.importorskip("peft")
    tokenizer = tokenizers[0]
    for config in (
        peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True),
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    ):
        model = peft.get_peft_model(tiny.gpt2("GPT2LMHeadModel", tokenizer), config).eval()
        objective, batch = prepared(model, tokenizer, [Item(i, "", text) for i, text in enumerate(TEXTS)])
        losses = objective.loss(forward_of(model, objective)(model, batch), batch)
        own = model(**{name: batch[name] for name in INPUTS if name in batch}, labels=batch["labels"]).loss
        count = (batch["labels"][:, 1:] != IGNORED).sum()
        # A learned prompt also predicts the first token, which its texts alone do not.
        first = config.peft_type == "PROMPT_TUNING"
        assert first or losses.sum().item() / count == pytest.approx(own.item(), rel=1e-5)
        assert mean_state(model, batch).shape == (3, 8)


def test_a_class_without_an_objective_is_named(tokenizers):
    with pytest.raises(StudyError, match="is a BertForQuestionAnswering, which has none of the objectives"):
        objective_of(tiny.bert("BertForQuestionAnswering", tokenizers[1]))
    with pytest.raises(StudyError, match="is 'masked', but a GPT2LMHeadModel is trained by 'causal'"):
        objective_of(tiny.gpt2("GPT2LMHeadModel", tokenizers[0]), "masked")
    with pytest.raises(StudyError, match="is 'chat', expected causal, masked, classification"):
        objective_of(transformers.BertModel(transformers.BertConfig(vocab_size=9, **tiny.BERT)), "chat")
