"""Layouts of examples and batches, and forms of data sets."""

from __future__ import annotations

from collections import UserDict, namedtuple
from dataclasses import dataclass, replace

import torch
import transformers
from comparison import Row, Setup
from torch import Tensor, nn
from torch.nn import functional as fn
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, default_collate

KIND = "Batches and data"
M, Q, WIDTH, CLASSES = 9, 3, 4, 3
Pair = namedtuple("Pair", ("x", "y"))


def network(inputs=WIDTH, outputs=CLASSES):
    return nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, outputs))


def over_classes(o, b):
    return fn.cross_entropy(o, b[1], reduction="none")


def rows():
    return [(x, torch.tensor(i % CLASSES)) for i, x in enumerate(torch.randn(M + Q, WIDTH))]


def setup(model, loss, examples, **rest):
    return Setup(model, loss, examples[:M], examples[M:], **rest)


def plain(**rest):
    return setup(network(), over_classes, rows(), **rest)


def dicts(key="x", kind=dict, **rest):
    """Batches of a mapping, which the user's forward takes apart."""
    examples = [{key: x, "y": y} for x, y in rows()]
    return setup(
        network(),
        lambda o, b: fn.cross_entropy(o, b["y"], reduction="none"),
        examples,
        forward=lambda m, b: m(b[key]),
        collate=None if kind is dict else lambda e: kind(default_collate(e)),
        **rest,
    )


def of_fields(kind):
    """Batches with fields."""
    return setup(
        network(),
        lambda o, b: fn.cross_entropy(o, b.y, reduction="none"),
        rows(),
        forward=lambda m, b: m(b.x),
        collate=lambda e: kind(*default_collate(e)),
    )


@dataclass
class Fields:
    x: Tensor
    y: Tensor


class Movable:
    """Knows how to move, as batches of torch_geometric do."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def to(self, *where, **how):
        return Movable(self.x.to(*where, **how), self.y.to(*where, **how))


def default_with_labels():
    """A model of Hugging Face called with its labels, and a loss of its logits."""
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=5, num_labels=CLASSES
    )
    examples = [
        {
            "input_ids": torch.randint(1, 9, (5,)),
            "attention_mask": torch.ones(5).long(),
            "labels": torch.tensor(i % CLASSES),
        }
        for i in range(M + Q)
    ]
    return setup(
        transformers.BertForSequenceClassification(config),
        lambda o, b: fn.cross_entropy(o.logits, b["labels"], reduction="none"),
        examples,
    )


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


def ragged_words():
    """Padded to the longest of each batch, so that shapes differ from batch to batch."""

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = nn.Embedding(7, WIDTH, padding_idx=0), nn.Linear(WIDTH, CLASSES)

        def forward(self, x):
            seen = (x > 0)[..., None]
            return self.out((torch.tanh(self.table(x)) * seen).sum(1) / seen.sum(1))

    def collate(examples):
        words, labels = zip(*examples, strict=True)
        return pad_sequence(words, batch_first=True), torch.stack(labels)

    examples = [(torch.randint(1, 7, (1 + i % 5,)), torch.tensor(i % CLASSES)) for i in range(M + Q)]
    return setup(Tagger(), over_classes, examples, collate=collate)


def nested():
    """Batches of tuples in lists in dicts."""
    examples = [{"in": (x, [x.flip(0)]), "y": {"class": y}} for x, y in rows()]
    return setup(
        network(),
        lambda o, b: fn.cross_entropy(o, b["y"]["class"], reduction="none"),
        examples,
        forward=lambda m, b: m(b["in"][0] + b["in"][1][0].square()),
    )


class Parts(Dataset):
    """A data set of the user's own that reads when it is asked."""

    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, i):
        return self.examples[i]


def held(kind):
    """The same examples in another container."""
    made = plain()
    return replace(made, data=kind(made.examples))


def tensors(examples):
    return TensorDataset(*map(torch.stack, zip(*examples, strict=True)))


def weighted():
    """A weight an example, as a third entry."""
    examples = [(x, y, torch.rand(())) for x, y in rows()]
    return setup(network(), lambda o, b: b[2] * fn.cross_entropy(o, b[1], reduction="none"), examples)


def mixing():
    """A loss against the other examples of the batch has no value an example."""
    model = nn.Linear(WIDTH, WIDTH)
    return setup(model, lambda o, b: fn.cross_entropy(o @ o.T, torch.arange(len(o)), reduction="none"), rows())


BATCHES = {
    "tuples": plain,
    "dicts": dicts,
    "dicts by name": lambda: setup(
        Named(), lambda o, b: fn.cross_entropy(o, b["y"], reduction="none"), [{"x": x, "y": y} for x, y in rows()]
    ),
    "UserDict": lambda: dicts(kind=UserDict),
    "BatchEncoding": lambda: dicts(kind=transformers.BatchEncoding),
    "named tuples": lambda: of_fields(Pair),
    "dataclasses": lambda: of_fields(Fields),
    "objects that know .to(device)": lambda: of_fields(Movable),
    "nested": nested,
    "a weight an example": weighted,
    "Hugging Face, labels in the batch": default_with_labels,
    "padded to the longest": ragged_words,
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
    "TensorDataset": lambda: held(tensors),
    "Dataset": lambda: held(Parts),
    "Subset": lambda: held(lambda e: Subset(Parts(e), range(len(e)))),
    "ConcatDataset": lambda: held(lambda e: ConcatDataset([Parts(e[:4]), Parts(e[4:])])),
}
TOLD = {"a loss over the batch": (mixing, "batch|other examples")}


class Named(nn.Module):
    """Called by the names of the batch's entries, as models of Hugging Face are."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x, y):
        return self.body(x)


QUICK = {
    "tuples",
    "dicts",
    "dicts by name",
    "named tuples",
    "nested",
    "padded to the longest",
    "graphs",
    "choices, flattened",
    "TensorDataset",
    "ConcatDataset",
    "BatchEncoding",
    "objects that know .to(device)",
    "Hugging Face, labels in the batch",
    "point sets, split, equal sizes first",
    "point sets, a matrix, equal sizes first",
    "one packed row",
    "time first",
    "chosen and rejected, end to end",
    "siamese, end to end",
}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in BATCHES.items()]
ROWS += [Row(KIND, name, make, name in QUICK, told) for name, (make, told) in TOLD.items()]
