"""A tiny language model, finetuned on prompts and their completions: the last stage has no classes, but spans."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from influence import Stage, Study
from influence.errors import StudyError
from influence.studies.exhibit import Exhibit
from influence.studies.language import LanguageModel, language_loss, token_losses
from influence.studies.question import COMPLETION, Input
from influence.studies.texts.tokenizing import PADDING, TokenData, fit_tokenizer, padded, tokenize

CONTEXT, WIDTH = 12, 4
ANIMALS = {"cat": "sleeps in the sun", "dog": "runs to the river", "hen": "eats the corn", "owl": "waits for the night"}
PLACES = ("today", "at noon", "again", "")
COUNTS = {"pretrain": 24, "finetune": 12, "queries": 6}


def pairs(count: int, seed: int) -> list[tuple[str, str, str]]:
    """(prompt, completion, animal) of made-up questions; some of the answers are another animal's."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        animal = draw.choice(list(ANIMALS))
        told = draw.choice(list(ANIMALS)) if draw.random() < 0.2 else animal
        found.append((f"what does the {animal} do ?", f" it {ANIMALS[told]} {draw.choice(PLACES)}".rstrip(), animal))
    return found


def completion_token_losses(logits: Tensor, batch: list[Tensor]) -> Tensor:
    """-log p of each token of the completion (B, L), nats; 0 at those of the prompt and at padding."""
    target, places = batch[0][:, 1:], torch.arange(batch[0].shape[1] - 1)
    each = cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PADDING, reduction="none")
    return each.view_as(target) * (places >= batch[1][:, None])


def completion_loss(logits: Tensor, batch: list[Tensor]) -> Tensor:
    """-log p of each completion, (B,)."""
    return completion_token_losses(logits, batch).sum(1)


@cache
def tokenizer() -> Any:
    texts = [prompt + completion for prompt, completion, _ in pairs(40, 0)]
    return fit_tokenizer(texts, 60)


def read(examples: list[tuple[str, str, str]]) -> tuple[TokenData, pd.DataFrame, pd.DataFrame]:
    """Data, table of what is shown, and places of the tokens."""
    whole = [prompt + completion for prompt, completion, _ in examples]
    found = tokenize(tokenizer(), whole, CONTEXT, "texts")
    ends = [len(prompt) for prompt, _, _ in examples]
    lengths = [int((places < end).sum()) for places, end in zip(found.places["starts"], ends, strict=True)]
    table = pd.DataFrame({
        "id": range(100, 100 + len(whole)), "label": [animal for _, _, animal in examples], "text": whole,
        "prompt_end": pd.array(ends, dtype="int32"),
    })  # fmt: skip
    return TokenData(found.ids, lengths), table, found.places


def encode(given: tuple[str, str]) -> Input:
    prompt, completion = given
    if not completion.strip():
        raise StudyError("There is no completion to explain. Write one.")
    data, _, places = read([(prompt, completion, "")])
    starts, ends = (places[name].iloc[0].tolist() for name in ("starts", "ends"))
    return Input(data[0], prompt + completion, max(ends), (), starts, ends, len(prompt))


def exhibit(method: str = "exact") -> Exhibit:
    """Two stages at random parameters: all texts, then completions given their prompts."""
    torch.manual_seed(0)
    data, tables, places = {}, {}, {}
    for part, (name, count) in enumerate(COUNTS.items()):
        data[name], tables[name], places[name] = read(pairs(count, part))
    tables["pretrain"] = tables["pretrain"].drop(columns="prompt_end")
    size = (tokenizer().get_vocab_size(), CONTEXT, WIDTH, 1)
    models = [LanguageModel(*size), LanguageModel(*size)]
    with torch.no_grad():  # large enough that nothing is nearly linear
        for parameter in models[0].parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        for parameter, before in zip(models[1].parameters(), models[0].parameters(), strict=True):
            parameter.copy_(before + 0.1 * torch.randn_like(before))
    stages = [
        Stage("pretrain", models[0], language_loss, data["pretrain"], collate=padded, l2=0.05),
        Stage("finetune", models[1], completion_loss, data["finetune"], collate=padded, l2=0.05, proximity=0.5),
    ]
    return Exhibit(
        Study("completions", stages, data["queries"]),
        title="A tiny language model that answers",
        summary="What animals do. A model of four numbers a word learns to say it.",
        measure="loss of the completion",
        classes={"pretrain": [], "finetune": []},
        examples={name: tables[name] for name in ("pretrain", "finetune")},
        queries=tables["queries"],
        token_losses={"pretrain": token_losses, "finetune": completion_token_losses},
        tokens=places,
        form=COMPLETION,
        encode=encode,
        asked={"study": "completions"},
        method=method,
        curvature="ggn",
    )
