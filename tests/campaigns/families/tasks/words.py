"""Tasks of words: masks, padding, bags, tied tables."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as fn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from families.tasks.parts import (
    CLASSES,
    WIDTH,
    WORDS,
    M,
    Module,
    Q,
    but_last,
    classified,
    cross_entropy,
    every,
    over_classes,
    setup,
)


def texts():
    """Of two to five words."""
    return classified([torch.randint(1, WORDS, (2 + i % 4,)) for i in range(M + Q)])


def padded(examples):
    words, labels = zip(*examples, strict=True)
    return pad_sequence(words, batch_first=True), torch.stack(labels)


def of_words(o, targets, **options):
    """Mean over the words that are no padding."""
    each = cross_entropy(o.transpose(1, 2), targets, ignore_index=0, **options)
    return each.sum(1) / (targets > 0).sum(1)


def smoothed_words():
    """Class weights, label smoothing and ignored places at once."""
    weights = torch.linspace(0.5, 1.5, WORDS)
    model = nn.Sequential(nn.Embedding(WORDS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WORDS))

    def loss(o, b):
        return of_words(o[:, :-1], b[0][:, 1:], weight=weights.to(o), label_smoothing=0.1)

    return setup(model, loss, texts(), collate=padded)


def tied_language_model():
    """Causal encoder layers, a padding mask, and the table of words as the output layer."""

    def call(m, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]).to(m.table.weight)
        padding = torch.where(x == 0, -torch.inf, 0.0).to(mask)
        return fn.linear(m.body(m.table(x), mask, padding), m.table.weight)

    layer = nn.TransformerEncoderLayer(WIDTH, 2, 6, batch_first=True)
    model = Module(
        call, table=nn.Embedding(WORDS, WIDTH), body=nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    )
    return setup(model, lambda o, b: of_words(o[:, :-1], b[0][:, 1:]), texts(), collate=padded)


def translation():
    """`nn.Transformer` with masks on both sides."""

    def call(m, x, y):
        mask = m.body.generate_square_subsequent_mask(y.shape[1]).to(m.table.weight)
        seen = {name: torch.where(x == 0, -torch.inf, 0.0).to(mask) for name in ("src", "memory")}
        masks = {f"{name}_key_padding_mask": padding for name, padding in seen.items()}
        return m.out(m.body(m.table(x), m.table(y), tgt_mask=mask, **masks))

    body = nn.Transformer(WIDTH, 2, 1, 1, 6, batch_first=True, norm_first=True)
    model = Module(call, table=nn.Embedding(WORDS, WIDTH), body=body, out=nn.Linear(WIDTH, WORDS))
    pairs = [(x, torch.randint(1, WORDS, (2 + i % 3,))) for i, (x, _) in enumerate(texts())]
    return setup(
        model,
        lambda o, b: of_words(o[:, :-1], b[1][:, 1:]),
        pairs,
        collate=lambda e: tuple(pad_sequence(part, batch_first=True) for part in zip(*e, strict=True)),
        forward=every,
    )


def masked_attention():
    """Causal and padding masks at once, and the attention's weights beside the logits."""

    def call(m, x):
        h, later = m.table(x), torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        h, weights = m.mix(h, h, h, attn_mask=later, key_padding_mask=x == 0, average_attn_weights=False)
        seen = (x > 0)[..., None]
        return {"logits": m.head((h * seen).sum(1) / seen.sum(1)), "weights": weights}

    mix = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
    model = Module(call, table=nn.Embedding(WORDS, WIDTH), mix=mix, head=nn.Linear(WIDTH, CLASSES))
    return setup(model, lambda o, b: cross_entropy(o["logits"], b[1]), texts(), collate=padded)


def packed_both_ways():
    """An LSTM in both directions on padded texts, whose lengths are a part of the batch."""

    def call(m, x, lengths):
        packed = pack_padded_sequence(m.table(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        return m.head(pad_packed_sequence(m.body(packed)[0], batch_first=True)[0].sum(1) / lengths[:, None])

    body = nn.LSTM(3, 3, bidirectional=True, batch_first=True)
    model = Module(call, table=nn.Embedding(WORDS, 3), body=body, head=nn.Linear(6, CLASSES))

    def collate(examples):
        words, labels = padded(examples)
        return words, torch.tensor([len(row) for row, _ in examples]), labels

    return setup(model, lambda o, b: cross_entropy(o, b[2]), texts(), collate=collate, forward=but_last)


def bags(sizes):
    """Bags of words in one row, with the place where each begins."""

    def collate(examples):
        words, labels = zip(*examples, strict=True)
        counts = torch.tensor([len(row) for row in words])
        return torch.cat(words), counts.cumsum(0) - counts, torch.stack(labels)

    def make():
        model = Module(
            lambda m, x, starts: m.head(torch.tanh(m.table(x, starts))),
            table=nn.EmbeddingBag(WORDS, WIDTH),
            head=nn.Linear(WIDTH, CLASSES),
        )
        examples = classified([torch.randint(0, WORDS, (sizes[i % len(sizes)],)) for i in range(M + Q)])
        return setup(model, lambda o, b: cross_entropy(o, b[2]), examples, collate=collate, forward=but_last)

    return make


def raw_texts():
    """Strings in the batch, taken apart in the forward pass."""

    def call(m, given):
        ids = [torch.tensor([ord(letter) % WORDS for letter in text]) for text in given]
        return m.head(torch.stack([torch.tanh(m.table(row)).mean(0) for row in ids]))

    model = Module(call, table=nn.Embedding(WORDS, WIDTH), head=nn.Linear(WIDTH, CLASSES))
    return setup(model, over_classes, [("abcdefgh"[i % 4 : i % 4 + 2 + i % 3], i % CLASSES) for i in range(M + Q)])


RIGHT = {
    "next words: weights, smoothing, padding": smoothed_words,
    "tied language model, padding mask": tied_language_model,
    "nn.Transformer, masks of both sides": translation,
    "attention with two masks, weights returned": masked_attention,
    "LSTM both ways, lengths in the batch": packed_both_ways,
    "bags of words with offsets": bags((2, 4, 3, 5)),
    "bags of words with offsets, equal sizes first": bags((3, 3, 3, 3, 3, 3, 3, 3, 2, 4, 1, 5, 3, 2, 4)),
    "texts as strings": raw_texts,
}
