"""Batches whose rows are not one an example: sets, graphs, packed rows, time first, pairs end to end."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as fn
from torch.nn.utils.rnn import pack_sequence

from families.batches.parts import CLASSES, WIDTH, M, Q, network, over_classes, setup


class Sets(nn.Module):
    """Point sets of different sizes put end to end; a sum or a mean over each."""

    def __init__(self, how):
        super().__init__()
        self.body, self.head, self.how = nn.Linear(2, WIDTH), nn.Linear(WIDTH, CLASSES), how

    def forward(self, points, sizes):
        return self.head(self.how(torch.tanh(self.body(points)), sizes))


def by_split(h, sizes):
    return torch.stack([part.sum(0) for part in h.split(sizes.tolist())])


def by_matrix(h, sizes):
    owner = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    return fn.one_hot(owner, len(sizes)).T.to(h) @ h / 3


def by_index(h, sizes):
    owner = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    return torch.zeros(len(sizes), h.shape[1], dtype=h.dtype).index_add(0, owner, h)


def sets(how, sizes):
    """The first batch may have equal sizes, where a later one has not."""

    def collate(examples):
        points, labels = zip(*examples, strict=True)
        return torch.cat(points), torch.tensor([len(p) for p in points]), torch.stack(labels)

    return lambda: setup(
        Sets(how),
        lambda o, b: fn.cross_entropy(o, b[2], reduction="none"),
        [(torch.randn(sizes[i % len(sizes)], 2), torch.tensor(i % CLASSES)) for i in range(M + Q)],
        forward=lambda m, b: m(b[0], b[1]),
        collate=collate,
    )


class Graphs(nn.Module):
    """Two rounds of messages along edges, a mean over each graph."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(2, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x, edges, owner, count):
        for layer in (self.first, self.second):
            h = layer(x)
            x = torch.tanh(h + torch.zeros_like(h).index_add(0, edges[1], h[edges[0]]))
        sums = torch.zeros(count, WIDTH, dtype=x.dtype).index_add(0, owner, x)
        return self.head(sums / owner.bincount(minlength=count)[:, None])


def graphs():
    def graph(i):
        count = 3 + i % 3
        return torch.randn(count, 2), torch.randint(0, count, (2, 2 * count)), torch.tensor(i % CLASSES)

    def collate(examples):
        nodes, edges, labels = zip(*examples, strict=True)
        sizes = torch.tensor([len(n) for n in nodes])
        starts = sizes.cumsum(0) - sizes
        owner = torch.repeat_interleave(torch.arange(len(nodes)), sizes)
        joined = torch.cat([e + s for e, s in zip(edges, starts, strict=True)], 1)
        return torch.cat(nodes), joined, owner, torch.stack(labels)

    return setup(
        Graphs(),
        lambda o, b: fn.cross_entropy(o, b[3], reduction="none"),
        [graph(i) for i in range(M + Q)],
        forward=lambda m, b: m(b[0], b[1], b[2], len(b[3])),
        collate=collate,
    )


class Recurrent(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.body, self.head = nn.GRU(2, WIDTH, batch_first=batch_first), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.body(x)[0])


def time_first():
    """Logits (time, batch, classes) of a tagger that knows no other layout."""
    examples = [(torch.randn(5, 2), torch.randint(0, CLASSES, (5,))) for _ in range(M + Q)]
    return setup(
        Recurrent(batch_first=False),
        lambda o, b: fn.cross_entropy(o.permute(1, 2, 0), b[1], reduction="none").mean(1),
        examples,
        forward=lambda m, b: m(b[0].transpose(0, 1)),
    )


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.LSTM(2, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.body(x)[1][0][-1])


def packed():
    examples = [(torch.randn(2 + i % 3, 2), torch.tensor(i % CLASSES)) for i in range(M + Q)]

    def collate(examples):
        series, labels = zip(*examples, strict=True)
        return list(series), torch.stack(labels)

    return setup(
        Packed(),
        over_classes,
        examples,
        forward=lambda m, b: m(pack_sequence(b[0], enforce_sorted=False)),
        collate=collate,
    )


class Chained(nn.Module):
    """All texts in one row, attention within each by a mask."""

    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(7, WIDTH), nn.Linear(WIDTH, 7)
        self.q, self.k = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, ids, owner):
        h = self.table(ids)
        near = self.q(h) @ self.k(h).transpose(-1, -2)
        near = near.masked_fill(owner[..., :, None] != owner[..., None, :], -torch.inf)
        return self.out(near.softmax(-1) @ h)


def one_row():
    """Outputs (1, all words, vocabulary)."""
    examples = [torch.randint(0, 7, (3 + i % 3,)) for i in range(M + Q)]

    def collate(examples):
        sizes = torch.tensor([len(e) for e in examples])
        owner = torch.repeat_interleave(torch.arange(len(examples)), sizes)
        return torch.cat(examples)[None], owner[None], sizes

    def loss(o, b):
        each = fn.cross_entropy(o[0], b[0][0], reduction="none")
        return torch.stack([part.mean() for part in each.split(b[2].tolist())])

    return setup(Chained(), loss, examples, forward=lambda m, b: m(b[0], b[1]), collate=collate)


class Stacked(nn.Module):
    """Chosen and rejected put end to end along the batch, as preference losses do."""

    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(7, WIDTH), nn.Linear(WIDTH, 7)

    def forward(self, x):
        both = torch.cat([x[:, 0], x[:, 1]])
        words = self.out(torch.tanh(self.table(both[:, :-1]))).log_softmax(-1)
        first, second = words.gather(-1, both[:, 1:, None])[..., 0].sum(1).chunk(2)
        return first - second


def preferences():
    examples = [(torch.randint(0, 7, (2, 4)), torch.tensor(0)) for _ in range(M + Q)]
    return setup(Stacked(), lambda o, b: -fn.logsigmoid(0.5 * o), examples)


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network(2, 3)

    def forward(self, x):
        first, second = self.body(torch.cat([x[:, :2], x[:, 2:]])).chunk(2)
        return (first - second).square().sum(1)


def siamese():
    examples = [(x, torch.tensor(i % 2)) for i, x in enumerate(torch.randn(M + Q, WIDTH))]
    return setup(Siamese(), lambda o, b: torch.where(b[1] == 0, o, fn.softplus(1 - o)), examples)


class Choices(nn.Module):
    """Four candidates an example, flattened into the batch: multiple choice, reranking."""

    def __init__(self):
        super().__init__()
        self.body = network(WIDTH, 1)

    def forward(self, x):
        return self.body(x.flatten(0, 1)).view(len(x), -1)


def choices():
    examples = [(x, torch.tensor(i % 4)) for i, x in enumerate(torch.randn(M + Q, 4, WIDTH))]
    return setup(Choices(), over_classes, examples)


BATCHES = {
    "point sets, split": sets(by_split, (2, 4, 3, 5)),
    "point sets, split, equal sizes first": sets(by_split, (3, 3, 3, 3, 2, 4, 3, 1)),
    "point sets, a matrix of the batch": sets(by_matrix, (2, 4, 3, 5)),
    "point sets, a matrix, equal sizes first": sets(by_matrix, (3, 3, 3, 3, 2, 4, 3, 1)),
    "point sets, index_add": sets(by_index, (2, 4, 3, 5)),
    "point sets, index_add, equal sizes first": sets(by_index, (3, 3, 3, 3, 2, 4, 3, 1)),
    "graphs": graphs,
    "packed sequences": packed,
    "one packed row": one_row,
    "time first": time_first,
    "chosen and rejected, end to end": preferences,
    "siamese, end to end": siamese,
    "choices, flattened": choices,
}
