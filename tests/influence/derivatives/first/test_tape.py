"""What the tape sees of whole models, and what becomes of what it does not see."""

from __future__ import annotations

import pytest
import torch
from alone import N, Wrapped, check, covered, loss, noise, objective_of, one_by_one, stage_of, words
from test_attention import Decoder, Perceiving, Writing
from torch import nn

from influence import Stage
from influence.attribution.products.dots import dots
from influence.derivatives.first import factors
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.first.watch import Watch

g = torch.Generator().manual_seed(0)

# No rule: differentiated by torch.func or one by one

RECURRENT = {
    "LSTM": lambda: nn.LSTM(4, 3, batch_first=True),
    "GRU, two layers": lambda: nn.GRU(4, 3, num_layers=2, batch_first=True),
    "RNN, both ways": lambda: nn.RNN(4, 3, bidirectional=True, batch_first=True),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers(kind):
    torch.manual_seed(0)
    layer = RECURRENT[kind]()
    width = 6 if layer.bidirectional else 3
    model = Wrapped(
        lambda m, x: m.b(torch.tanh(m.cell(m.a(x))[0]).mean(1)), a=nn.Linear(4, 4), cell=layer, b=nn.Linear(width, 3)
    )
    found = check(stage_of(model, noise(N, 3, 4)))
    assert found.remarks.without_rule == {f"cell.{n}" for n, _ in layer.named_parameters()}


def stepwise(self, x):
    h = x.new_zeros(len(x), 3)
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
    return self.b(h)


@pytest.mark.parametrize(
    "model",
    [
        lambda: Wrapped(stepwise, cell=nn.GRUCell(4, 3), b=nn.Linear(3, 3)),
        lambda: Wrapped(lambda m, x: m.b(m.act(m.a(x)).mean(1)), a=nn.Linear(4, 4), act=nn.PReLU(), b=nn.Linear(4, 3)),
        lambda: Wrapped(
            lambda m, x: m.b(m.two(x[:, 0], torch.tanh(m.a(x[:, 1])))),
            two=nn.Bilinear(4, 4, 5),
            a=nn.Linear(4, 4),
            b=nn.Linear(5, 3),
        ),
        lambda: Wrapped(
            lambda m, x: m.b(torch.einsum("nti,io->no", m.a(x), m.w)),
            w=nn.Parameter(torch.ones(4, 4)),
            a=nn.Linear(4, 4),
            b=nn.Linear(4, 3),
        ),
        lambda: Wrapped(
            lambda m, x: m.b(torch.stack([m.a(row) for row in x]).mean(1)), a=nn.Linear(4, 4), b=nn.Linear(4, 3)
        ),
        lambda: Wrapped(
            lambda m, x: m.b(torch.stack([m.a(row[0]) for row in x])), a=nn.Linear(4, 4), b=nn.Linear(4, 3)
        ),
        lambda: Wrapped(
            lambda m, x: m.b((x[:, 0] - m.p) / m.q),
            p=nn.Parameter(torch.ones(4)),
            q=nn.Parameter(torch.ones(4)),
            b=nn.Linear(4, 3),
        ),
        lambda: Wrapped(lambda m, x: torch.tanh(m.b.weight * x[:, :1]).sum(2) + m.b(x[:, 1]), b=nn.Linear(4, 3)),
        lambda: Wrapped(
            lambda m, x: m.b(torch.cat([x, m.p.repeat(len(x), 1, 1)], 1).tanh().mean(1)),
            p=nn.Parameter(torch.ones(1, 2, 4)),
            b=nn.Linear(4, 3),
        ),
    ],
)
def test_what_no_rule_covers_is_right_all_the_same(model):
    torch.manual_seed(0)
    check(stage_of(model(), noise(N, 2, 4)))


def test_embedding_bags():
    torch.manual_seed(0)
    model = Wrapped(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.EmbeddingBag(7, 4), b=nn.Linear(4, 3))
    assert not check(stage_of(model, words())).remarks.without_rule


def test_a_scripted_module():
    torch.manual_seed(0)
    check(
        stage_of(
            Wrapped(
                lambda m, x: m.b(m.a(x)),
                a=torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Tanh())),
                b=nn.Linear(4, 3),
            ),
            noise(N, 4),
        )
    )


def test_checkpoints():
    torch.manual_seed(0)

    def run(m, x):
        return m.b(torch.utils.checkpoint.checkpoint(m.a, m.c(x), use_reentrant=False))

    check(
        stage_of(
            Wrapped(run, a=nn.Sequential(nn.Linear(4, 4), nn.Tanh()), b=nn.Linear(4, 3), c=nn.Linear(4, 4)), noise(N, 4)
        )
    )


# Data that decide


class Experts(nn.Module):
    """Every row goes to the expert that the data name."""

    def __init__(self):
        super().__init__()
        self.enter, self.experts, self.head = (
            nn.Linear(4, 4),
            nn.ModuleList(nn.Linear(4, 4) for _ in range(2)),
            nn.Linear(4, 3),
        )

    def forward(self, x, chosen):
        x = torch.tanh(self.enter(x))
        mixed = torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            mixed[chosen == k] = expert(x[chosen == k])
        return self.head(torch.tanh(mixed))


def routed(model, batch):
    return model(batch[0], batch[1])


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_go_where_the_data_say(seed):
    """First each row is of its own example; later as many are, but not the same."""
    torch.manual_seed(seed)
    chosen = torch.randint(2, (12, 2), generator=torch.Generator().manual_seed(seed))
    chosen[:4] = torch.tensor([0, 1])
    chosen[4:8] = torch.tensor([[0, 0], [1, 1], [0, 0], [1, 1]])
    check(stage_of(Experts(), noise(12, 2, 4), chosen, forward=routed), counts=(2, 5))


def test_rows_sorted_by_the_data():
    def run(m, x):
        order = x[:, 0].argsort()
        return m.b(torch.tanh(m.a(x[order])))[order.argsort()]

    torch.manual_seed(0)
    x = noise(12, 4)
    x[:4, 0] = torch.arange(4)
    check(stage_of(Wrapped(run, a=nn.Linear(4, 4), b=nn.Linear(4, 3)), x), counts=(2, 5))


def test_rows_sorted_by_numbers_of_python():
    """Python puts the rows into an order of its own; the numbers of the rows tell."""

    def run(m, x):
        order = sorted(range(len(x)), key=lambda i: float(x[i, 0].detach()))
        y = torch.tanh(m.a(torch.stack([x[i] for i in order])))
        return m.b(torch.stack([y[order.index(i)] for i in range(len(x))]))

    torch.manual_seed(0)
    x = noise(36, 4)
    x[:28, 0] = torch.arange(28)
    stage = stage_of(Wrapped(run, a=nn.Linear(4, 4), b=nn.Linear(4, 3)), x)
    x[28:, 0] = -torch.arange(8)
    assert not check(stage).remarks.warnings


def test_checks_are_few(monkeypatch):
    """Whatever the lengths of the sequences are: the first batch, the eighth, and the last, which is shorter."""
    checked = []
    plain = Watch._by_autograd
    monkeypatch.setattr(Watch, "_by_autograd", lambda self, *a: checked.append(self.batches) or plain(self, *a))
    torch.manual_seed(0)
    rows = [(torch.randint(7, (int(n),), generator=g), 1) for n in torch.randint(5, 9, (50,), generator=g)]
    stage = Stage(
        "lengths", Decoder(batch_first=True).double(), loss, rows,
        collate=lambda some: [
            nn.utils.rnn.pad_sequence([x for x, _ in some], batch_first=True), torch.tensor([y for _, y in some])
        ],
    )  # fmt: skip
    objective = objective_of(stage, 4)
    for _ in dots(objective, stage.data, objective.all, torch.ones(2, objective.all.size)):
        pass
    assert checked == [1, 8, 13]
    assert not objective.remarks.without_rule


def test_a_part_that_only_some_batches_use():
    def run(m, x):
        x = torch.tanh(m.a(x))
        if len(x) > 1 and bool((x[:, 0].sum() > 0) | (x[0, 0] > 0)):
            return m.b(x)
        return m.b(torch.tanh(m.c(x))) if bool(x[0, 1] > 0) else m.b(x)

    torch.manual_seed(0)
    stage = stage_of(Wrapped(run, a=nn.Linear(4, 4), b=nn.Linear(4, 3), c=nn.Linear(4, 4)), noise(N, 4))
    check(stage, batch_size=1)


def centred(outputs, batch):
    return loss(outputs - outputs.mean(0), batch)


@pytest.mark.parametrize("counts", [(1,), (2, 5)])
def test_a_loss_that_mixes_examples_is_differentiated_within_its_batch(counts):
    stage = stage_of(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)), noise(8, 4), loss=centred)
    objective = objective_of(stage, 4)
    parameters = list(stage.model.parameters())
    expected = []
    for start in (0, 4):
        batch = [t[start : start + 4] for t in stage.data.tensors]
        for value in centred(stage.model(batch[0]), batch):
            parts = torch.autograd.grad(value, parameters, retain_graph=True)
            expected.append(torch.cat([part.flatten() for part in parts]))
    expected = torch.stack(expected)
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.all)])
    torch.testing.assert_close(found, expected)
    for count in counts:
        products = torch.cat([rows for _, rows in dots(objective, stage.data, objective.all, expected[:count])])
        torch.testing.assert_close(products, expected @ expected[:count].T)
    assert objective.remarks.without_rule


# Sizes, types and parts


@pytest.mark.parametrize("batch_size", [1, 3, N])
def test_batches_of_any_size(batch_size):
    torch.manual_seed(0)
    covered(stage_of(Decoder(batch_first=True), words()), batch_size=batch_size)
    covered(stage_of(Perceiving(), noise(1, 1, 4, 4)), batch_size=batch_size)


@pytest.mark.parametrize("error", [AssertionError, ValueError])
def test_a_model_that_refuses_outputs_in_another_shape(error):
    """Examples are in another order while a layer has them, so other places of theirs in its output are tried."""

    def forward(m, x):
        hidden = m.b(torch.tanh(m.a(x)).flip(0)).flip(0)
        if hidden.dim() != 2:
            raise error
        return hidden

    torch.manual_seed(0)
    found = check(stage_of(Wrapped(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 3)), noise(N, 4)))
    assert found.remarks.without_rule == {"b.weight", "b.bias"}


def test_a_part_of_the_parameters():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3)
    )
    for names in (["3.weight"], ["0.bias", "5.weight"], ["5.bias"]):
        covered(stage_of(model, noise(N, 1, 4, 4)), names=names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision(dtype):
    torch.manual_seed(0)
    stage = stage_of(Decoder(batch_first=True), words())
    exact = one_by_one(stage)
    stage.model.to(dtype)
    objective = objective_of(stage, 4)
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.all)])
    assert objective.remarks.without_rule == set()
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 20 * torch.finfo(dtype).eps * exact.norm()
    products = torch.cat([rows for _, rows in dots(objective, stage.data, objective.all, found[:3])])
    torch.testing.assert_close(products, found @ found[:3].T)


def test_parameters_of_single_precision_in_layers_of_half():
    """As mixed precision trains them: gradients are those in double precision up to the layers' rounding."""
    torch.manual_seed(0)
    stage = stage_of(Decoder(batch_first=True), words())
    exact = one_by_one(stage)
    stage.model.float()

    def forward(model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(batch[0]).float()

    stage.forward = forward
    objective = objective_of(stage, 4)
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.all)])
    assert objective.remarks.without_rule == set()
    assert (found - exact).norm() < 5 * torch.finfo(torch.bfloat16).eps * exact.norm()
    products = torch.cat([rows for _, rows in dots(objective, stage.data, objective.all, found[:3])])
    torch.testing.assert_close(products, found @ found[:3].T)


@pytest.mark.parametrize("kind", ["rows", "sequence", "words", "pictures"])
@pytest.mark.parametrize("chunk", [1, 300, 2000])
def test_products_in_chunks_of_any_size(kind, chunk, monkeypatch):
    """One query or a few at a time, one example or a few at a time."""
    monkeypatch.setattr(factors, "CHUNK_BYTES", chunk)
    for module in ("gradients", "watch"):
        monkeypatch.setattr(f"influence.derivatives.first.{module}.BUDGET", 40 * chunk)
    torch.manual_seed(0)
    model, inputs = {
        "rows": lambda: (nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 6)), noise(N, 4)),
        "sequence": lambda: (Decoder(batch_first=True), words()),
        "words": lambda: (Writing(), words()),
        "pictures": lambda: (
            nn.Sequential(nn.Conv2d(2, 4, 2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)),
            noise(N, 2, 3, 3),
        ),
    }[kind]()
    covered(stage_of(model, inputs), counts=(2, 3, 10))
