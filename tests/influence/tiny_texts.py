"""A tiny text study: a language model of one layer and its classifier, in float64, on made-up sentences."""

from __future__ import annotations

import random

import torch

from influence import Stage, Study
from influence.studies.language import LanguageModel, TextClassifier, class_loss, language_loss
from influence.studies.texts.tokenizing import TokenData, fit_tokenizer, padded, tokenize

CONTEXT, WIDTH = 8, 4
SUBJECTS = {"pet": ["cat", "dog", "hen"], "tool": ["saw", "axe", "pen"]}
ENDINGS = {"pet": ["eats", "runs home", "sleeps in the sun"], "tool": ["cuts", "lies here", "is sold in the shop"]}


def sentences(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of two to six words, and their topics, two of which are never in doubt."""
    draw = random.Random(seed)
    topics = [draw.choice(list(SUBJECTS)) for _ in range(count)]
    words = [["a", draw.choice(SUBJECTS[topic]), draw.choice(ENDINGS[topic])] for topic in topics]
    return [" ".join(each[draw.randrange(2) :]) for each in words], topics


def text_study(
    seed: int = 0, counts: tuple[int, int, int] = (24, 12, 5), l2: float = 0.05, measure=None, **finetuning
) -> Study:
    """Two stages at random parameters."""
    torch.manual_seed(seed)
    texts = [sentences(count, seed + part) for part, count in enumerate(counts)]
    tokenizer = fit_tokenizer(texts[0][0], 40)
    data = [
        TokenData(tokenize(tokenizer, each, CONTEXT, "texts").ids, [list(SUBJECTS).index(t) for t in topics])
        for each, topics in texts
    ]
    sizes = (tokenizer.get_vocab_size(), CONTEXT, WIDTH, 1)
    models = [LanguageModel(*sizes).double(), TextClassifier(*sizes, 2).double()]
    for model in models:  # large enough that nothing is nearly linear
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
    models[1].body.load_state_dict(models[0].body.state_dict())
    pretraining = Stage("pretrain", models[0], language_loss, data[0], collate=padded, l2=l2)
    finetuning = {"frozen": ["body.*"], "proximity": 0.1, "l2": l2, **finetuning}
    last = Stage("finetune", models[1], class_loss, data[1], collate=padded, **finetuning)
    return Study("texts", [pretraining, last], data[2], measure=measure)
