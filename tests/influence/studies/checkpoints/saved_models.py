"""Small models in folders and files, as transformers, peft, torchvision and timm leave them."""

from __future__ import annotations

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel, PreTrainedTokenizerFast, logging

logging.set_verbosity_error()
WORDS = ["[PAD]", "[UNK]", *(f"w{i}" for i in range(18))]


def gpt2_config(**changes):
    shape = {"vocab_size": 20, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 2}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    return GPT2Config(**{**shape, **special, **changes})


def seeded(seed, make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def language_model(seed=0, **changes):
    return seeded(seed, lambda: GPT2LMHeadModel(gpt2_config(**changes)))


def classifier_on(language, classes=3, seed=1):
    """A classifier with a language model's body and a new head."""
    config = gpt2_config(num_labels=classes)
    model = seeded(seed, lambda: GPT2ForSequenceClassification(config))
    model.transformer.load_state_dict(language.transformer.state_dict())
    return model


def nudged(model, names, by=0.05, seed=2):
    """Move parameters a little, as training does; `names` says which."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if names(name):
                size = parameter.square().mean().sqrt().clamp(min=0.01)
                parameter += by * size * torch.randn(parameter.shape, generator=draw)
    return model


def tokenizer(words=WORDS):
    whole = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=whole, pad_token="[PAD]", unk_token="[UNK]")


def saved(model, folder, own_tokenizer=None):
    model.save_pretrained(folder)
    if own_tokenizer is not None:
        own_tokenizer.save_pretrained(folder)
    return folder


def lora(base, seed=3):
    """A LoRA adapter on a language model, its weights drawn as if they had been trained."""
    made = seeded(seed, lambda: get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["c_attn"])))
    return nudged(made, lambda name: "lora_" in name, by=1.0)
