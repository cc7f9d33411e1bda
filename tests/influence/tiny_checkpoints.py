"""Tiny models of `transformers` at random values, their tokenizers, and checkpoints of them as Trainer leaves them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CONTEXT = 16
BERT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
GPT2 = {"n_positions": CONTEXT, "n_embd": 8, "n_layer": 1, "n_head": 2}
SUBJECTS = {"pet": ["cat", "dog", "hen"], "tool": ["saw", "axe", "pen"]}
ENDINGS = {"pet": ["eats", "runs home", "sleeps in the sun"], "tool": ["cuts", "lies here", "is sold in the shop"]}


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(text, topic) of three to seven words."""
    draw = random.Random(seed)
    topics = [draw.choice(list(SUBJECTS)) for _ in range(count)]
    return [(f"a {draw.choice(SUBJECTS[topic])} {draw.choice(ENDINGS[topic])}", topic) for topic in topics]


def words_tokenizer():
    """Of whole words, with BERT's special tokens."""
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(
        [text for text, _ in sentences(60, 0)], trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, **{f"{kind}_token": token for kind, token in names.items()}
    )


def bytes_tokenizer(begin: bool = False):
    """Of bytes and pairs of them, as GPT-2's; `begin`: with a token that begins every text, as Llama's."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [text for text, _ in sentences(60, 0)],
        trainers.BpeTrainer(vocab_size=280, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False),
    )
    made.post_processor = (
        processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        if begin
        else processors.ByteLevel(trim_offsets=True)
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="<s>")


def bert(model: str, tokenizer, seed: int = 0, **config):
    torch.manual_seed(seed)
    made = transformers.BertConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=CONTEXT,
        **BERT,
        **config,
    )
    return getattr(transformers, model)(made).eval()


def gpt2(model: str, tokenizer, seed: int = 0, **config):
    torch.manual_seed(seed)
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return getattr(transformers, model)(
        transformers.GPT2Config(vocab_size=len(tokenizer), **ids, **GPT2, **config)
    ).eval()


def saved(folder: Path, model, tokenizer) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
