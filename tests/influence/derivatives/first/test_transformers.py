"""Models of Hugging Face's `transformers`, made small and at random."""

from __future__ import annotations

import pytest
import torch
from alone import CLASSES, check, loss
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import TensorDataset

from influence import Stage

transformers = pytest.importorskip("transformers")
g = torch.Generator().manual_seed(0)
SMALL = {"vocab_size": 20, "num_labels": CLASSES, "pad_token_id": 0}
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
ROWS = [torch.randint(1, 20, (n,), generator=g) for n in (5, 3, 6, 4, 2, 6, 5, 7, 3, 4)]


def padded(rows):
    return {
        "input_ids": pad_sequence(rows, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
    }


def over_tokens(outputs, batch):
    words, weights = batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:]
    each = cross_entropy(outputs.logits[:, :-1].transpose(1, 2), words, reduction="none")
    return (each * weights).sum(1) / weights.sum(1)


def over_classes(outputs, batch):
    return cross_entropy(outputs.logits, batch["input_ids"].sum(1) % CLASSES, reduction="none")


GPT2 = {"n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {
    "GPT-2, all tokens": ("GPT2LMHeadModel", "GPT2Config", GPT2, over_tokens),
    "GPT-2, classes": ("GPT2ForSequenceClassification", "GPT2Config", GPT2, over_classes),
    "BERT, classes": ("BertForSequenceClassification", "BertConfig", SIZES, over_classes),
    "BERT, all tokens": ("BertForMaskedLM", "BertConfig", SIZES, over_tokens),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", SIZES | {"num_key_value_heads": 1}, over_tokens),
}


@pytest.mark.parametrize("kind", TEXT)
def test_text(kind):
    model, config, sizes, loss_of = TEXT[kind]
    torch.manual_seed(0)
    made = getattr(transformers, model)(getattr(transformers, config)(**SMALL, **sizes)).double()
    stage = Stage("text", made, loss_of, ROWS, collate=padded)
    # Llama's norms and positions are in single precision whatever the model is in.
    assert check(stage, tolerance=1e-4 if kind == "Llama" else 1e-7).remarks.without_rule == set()


def test_pictures():
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SIZES, image_size=6, patch_size=2, num_channels=1, num_labels=CLASSES)
    data = TensorDataset(torch.randn(10, 1, 6, 6, dtype=torch.float64), torch.arange(10) % CLASSES)
    stage = Stage(
        "pictures",
        transformers.ViTForImageClassification(config).double(),
        lambda outputs, batch: loss(outputs.logits, batch),
        data,
    )
    assert check(stage).remarks.without_rule == set()
