"""Batches in which an example is not one row: sizes that differ, end to end; rows moved or stacked; no row at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from alone import CLASSES, N, Wrapped, check, covered, loss, noise, objective_of, one_by_one, stage_of, words
from torch import nn
from torch.nn import functional

from influence import Stage, Study, attribute
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.first.tape import Tape
from influence.derivatives.first.watch import Watch

# Different sizes, put end to end


def point_sets(sizes: list[int]) -> list[tuple[torch.Tensor, int]]:
    g = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 4, generator=g, dtype=torch.float64), place % CLASSES) for place, size in enumerate(sizes)
    ]


EQUAL_AT_FIRST = [4] * 4 + [1, 7, 5, 3] + [2, 6, 4, 4]
ONE_AT_FIRST = [1] * 4 + [0, 2, 1, 1] + [3, 0, 0, 1]


def end_to_end(rows):
    return [torch.cat([x for x, _ in rows]), torch.tensor([len(x) for x, _ in rows]), labels(rows)]


def padded(rows):
    return [
        nn.utils.rnn.pad_sequence([x for x, _ in rows], batch_first=True),
        torch.tensor([len(x) for x, _ in rows]),
        labels(rows),
    ]


def labels(rows):
    return torch.tensor([y for _, y in rows])


def segments(sizes):
    return torch.arange(len(sizes)).repeat_interleave(sizes)


def membership(sizes):
    """(B, rows): 1 where the row belongs to the example."""
    return (segments(sizes) == torch.arange(len(sizes))[:, None]).double()


def cut_by_numbers(h, sizes):
    stops = sizes.cumsum(0).tolist()
    return torch.stack([h[stop - size : stop].sum(0) for stop, size in zip(stops, sizes.tolist(), strict=True)])


def differences(h, sizes):
    total, stops = torch.cat([h.new_zeros(1, 4), h.cumsum(0)]), sizes.cumsum(0)
    return total[stops] - total[stops - sizes]


def attended(h, sizes):
    place = segments(sizes)
    mixed = (h @ h.T).masked_fill(place[:, None] != place, -torch.inf).softmax(1) @ h
    return h.new_zeros(len(sizes), 4).index_add(0, place, mixed)


def convolved(h, sizes):
    """A graph convolution along the chain of every example's points."""
    place, first = segments(sizes), torch.arange(len(h))[:-1]
    edges = first[place[:-1] == place[1:]]
    sent = h.index_add(0, edges + 1, h[edges])
    return h.new_zeros(len(sizes), 4).index_add(0, place, torch.tanh(sent))


SUMS = {
    "split": lambda h, sizes: torch.stack([part.sum(0) for part in h.split(sizes.tolist())]),
    "slices": cut_by_numbers,
    "segment_reduce": lambda h, sizes: torch.segment_reduce(h, "sum", lengths=sizes),
    "scatter_add": lambda h, sizes: h.new_zeros(len(sizes), 4).scatter_add(0, segments(sizes)[:, None].expand_as(h), h),
    "differences": differences,
    "matmul": lambda h, sizes: membership(sizes) @ h,
    "einsum": lambda h, sizes: torch.einsum("bn,nd->bd", membership(sizes), h),
    "sparse": lambda h, sizes: torch.sparse.mm(membership(sizes).to_sparse(), h),
    "bags": lambda h, sizes: functional.embedding_bag(torch.arange(len(h)), h, sizes.cumsum(0) - sizes, mode="sum"),
    "attention": attended,
    "graph": convolved,
}


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("sizes", [EQUAL_AT_FIRST, ONE_AT_FIRST], ids=["equal", "one"])
def test_sizes_that_are_equal_in_the_first_batch_only(kind, sizes):
    """As many rows in every batch of four: nothing in their number tells that they are shared out otherwise."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, CLASSES)}).double()

    def forward(m, batch):
        return m["b"](SUMS[kind](torch.tanh(m["a"](batch[0])), batch[1]))

    check(Stage("sets", model, loss, point_sets(sizes), forward=forward, collate=end_to_end), counts=(2,))


def sorting(move):
    """A stage that reads padded point sets in the order into which `move` brings them."""

    def forward(m, batch):
        def read(x, sizes):
            inside = torch.arange(x.shape[1]) < sizes[:, None]
            return (torch.tanh(m["a"](x)) * inside[..., None]).sum(1)

        return m["b"](move(read, batch[0], batch[1]))

    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, CLASSES)}).double()
    return Stage("sets", model, loss, point_sets(EQUAL_AT_FIRST), forward=forward, collate=padded)


def by_indices(read, x, sizes):
    order = sizes.argsort(descending=True, stable=True)
    return read(x[order], sizes[order])[order.argsort()]


def by_a_matrix(read, x, sizes):
    place = torch.arange(len(sizes))
    before = (sizes[:, None] < sizes) | ((sizes[:, None] == sizes) & (place[:, None] > place))
    moves = functional.one_hot(before.sum(1), len(sizes)).to(x)  # row i of the batch to its place among the sorted
    return moves @ read(torch.einsum("ij,i...->j...", moves, x), moves.T @ sizes.to(x))


def by_numbers(read, x, sizes):
    order = sorted(range(len(sizes)), key=lambda i: -int(sizes[i]))
    found = read(torch.stack([x[i] for i in order]), torch.stack([sizes[i] for i in order]))
    return torch.stack([found[order.index(i)] for i in range(len(sizes))])


@pytest.mark.parametrize("move", [by_indices, by_a_matrix, by_numbers])
def test_examples_sorted_by_size_within_a_batch(move):
    torch.manual_seed(0)
    check(sorting(move), counts=(2,))


def test_padding_that_is_left_out():
    """The first batch has none."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, CLASSES)}).double()

    def forward(m, batch):
        inside = torch.arange(batch[0].shape[1]) < batch[1][:, None]
        return m["b"](SUMS["split"](torch.tanh(m["a"](batch[0][inside])), batch[1]))

    check(Stage("sets", model, loss, point_sets(EQUAL_AT_FIRST), forward=forward, collate=padded), counts=(2,))


def test_rows_taken_in_their_order_are_not_moved():
    """As masks of attention are read, and the last word of each text."""
    every = torch.arange(4)
    with Tape({}, 4) as tape:
        noise(4, 3)[every[:, None, None, None], torch.arange(3)]
        noise(4, 3, 2)[every, torch.tensor([2, 0, 1, 1])]
    assert not tape.loose


@pytest.mark.parametrize(
    "index",
    [torch.tensor([1, 0, 2, 3]), [0, 1, 1, 2], (None, torch.tensor([3, 2, 1, 0])), torch.tensor([3, 2, 1, 0]).numpy()],
)
def test_rows_taken_in_another_order_are_moved(index):
    with Tape({}, 4) as tape:
        noise(4, 3)[index]
    assert tape.loose


@torch.jit.script
def in_order(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return x[by.argsort()]


@torch.jit.script
def put_back(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return x[by.argsort().argsort()]


def moving_study():
    """A scripted function, into which nothing sees, moves rows in the eighth batch of four for the first time."""

    def run(m, x):
        return m.b(put_back(torch.tanh(m.a(in_order(x, x[:, 0]))), x[:, 0]))

    torch.manual_seed(0)
    x = noise(36, 4)
    x[:28, 0] = torch.arange(28)
    x[28:, 0] = -torch.arange(8)
    stage = stage_of(Wrapped(run, a=nn.Linear(4, 4), b=nn.Linear(4, 3)), x)
    return Study("moved", [stage], stage.data)


def test_rows_moved_unseen_are_found_late_and_warned_about():
    (stage,) = moving_study().stages
    objective = objective_of(stage, 4)
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.all)])
    torch.testing.assert_close(found, one_by_one(stage))
    assert any("may be those of their neighbours" in warning for warning in objective.remarks.warnings)


def test_scores_of_rows_moved_unseen_are_begun_again_one_by_one():
    study = moving_study()
    found = attribute(study, method="identity", batch_size=4, progress=False)
    assert found.report["warnings"] == []
    assert any("one example at a time" in note for note in found.report["notes"])
    rows = one_by_one(study.stages[0])
    np.testing.assert_allclose(found.values, rows @ rows.T / len(rows), rtol=1e-4, atol=1e-6)


# Several places an example


class Preference(nn.Module):
    """How much likelier one of two texts is than the other."""

    def __init__(self, pairs, **options):
        super().__init__()
        self.pairs, self.first = pairs, options.get("batch_first", False)
        self.embed, self.place = nn.Embedding(7, 4), nn.Parameter(torch.ones(1, 5, 4))
        self.read, self.write = nn.TransformerEncoderLayer(4, 2, 6, **options), nn.Linear(4, 7)
        self.look = nn.Conv1d(4, 4, 2, padding="same")

    def likelihood(self, x):
        h = self.embed(x) + self.place
        h = self.read(h) if self.first else self.read(h.transpose(0, 1)).transpose(0, 1)
        h = self.look(h.mT).mT
        return self.write(h).log_softmax(-1).gather(-1, x[..., None]).sum((1, 2))

    def forward(self, x):
        if self.pairs == "stacked":
            one, other = self.likelihood(torch.cat([x[:, 0], x[:, 1]])).chunk(2)
        elif self.pairs == "halves":
            both = self.likelihood(torch.cat([x[:, 0], x[:, 1]]))
            one, other = both[: len(x)], both[len(x) :]
        elif self.pairs == "in turn":
            one, other = self.likelihood(x.flatten(0, 1)).view(-1, 2).T
        else:
            one, other = (self.likelihood(part) for part in x.unbind(1))
        return one - other


def preferred(outputs, batch):
    return -functional.logsigmoid(outputs)


@pytest.mark.parametrize("pairs", ["stacked", "halves", "in turn", "two calls"])
@pytest.mark.parametrize("options", [{"batch_first": True}, {}])
def test_pairs_stacked_along_the_batch(pairs, options, monkeypatch):
    """As fast as two calls: each layer has a rule, and no output is copied for every example."""
    shares = []
    monkeypatch.setattr("influence.derivatives.first.layers.Use.share", lambda self, count: shares.append(self.names))
    torch.manual_seed(0)
    texts = torch.stack([words(), words().flip(0)], 1)
    covered(stage_of(Preference(pairs, **options), texts, loss=preferred), counts=(2,))
    assert not shares


def test_pairs_are_checked_no_more_often_than_others(monkeypatch):
    """The first batch, the eighth, and the last, which is shorter; no second backward pass."""
    checked, weighted = [], []
    plain, again = Watch._by_autograd, Tape.misaligned
    monkeypatch.setattr(Watch, "_by_autograd", lambda self, *a: checked.append(self.batches) or plain(self, *a))
    torch.manual_seed(0)
    texts = torch.randint(7, (50, 2, 5), generator=torch.Generator().manual_seed(0))
    objective = objective_of(stage_of(Preference("stacked"), texts, loss=preferred), 4)
    watch = Watch(objective, objective.all)
    for positions, batch in objective.batches(objective.stage.data):
        if watch.checked:
            monkeypatch.setattr(Tape, "misaligned", lambda self, *a: weighted.append(self) or again(self, *a))
        watch.factors(batch, positions.stop - positions.start)
    assert checked == [1, 8, 13]
    assert not weighted


@pytest.mark.parametrize("batch_size", [2, 4, 8])
def test_learned_queries_as_many_as_examples(batch_size):
    """(k, 1, d) expanded to (k, n, d), where n is k in each batch, or in the last one."""

    def run(m, x):
        queries = m.queries.expand(-1, len(x), -1)
        return m.b(torch.tanh(m.attend(queries, x.transpose(0, 1), x.transpose(0, 1))[0]).mean(0))

    torch.manual_seed(0)
    parts = {"queries": nn.Parameter(torch.ones(2, 1, 4)), "attend": nn.MultiheadAttention(4, 2), "b": nn.Linear(4, 3)}
    covered(stage_of(Wrapped(run, **parts), noise(N, 3, 4)), batch_size=batch_size, counts=(2,))


# No place at all


class Experts(nn.Module):
    """Every row goes to the expert that its data name; some experts get none."""

    def __init__(self, bias):
        super().__init__()
        self.enter, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4, bias=bias), nn.LayerNorm(4), nn.Linear(4, 4, bias=bias)) for _ in range(6)
        )

    def forward(self, x):
        chosen, h = (x[:, 0].abs() * 2).long().clamp(max=5), torch.tanh(self.enter(x))
        mixed = torch.zeros_like(h)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:, 0]
            mixed = mixed.index_add(0, rows, expert(h[rows]))
        return self.head(torch.tanh(mixed))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_experts_to_which_no_row_goes(bias, batch_size):
    torch.manual_seed(0)
    check(stage_of(Experts(bias), noise(N, 4)), batch_size=batch_size)


def test_layers_of_width_0():
    def run(m, x):
        return m.b(torch.cat([torch.tanh(m.a(x)), m.narrow(x)], 1)) + m.from_nothing(m.narrow(x))

    torch.manual_seed(0)
    parts = {"a": nn.Linear(4, 4), "narrow": nn.Linear(4, 0), "from_nothing": nn.Linear(0, 3), "b": nn.Linear(4, 3)}
    covered(stage_of(Wrapped(run, **parts), noise(N, 4)))
