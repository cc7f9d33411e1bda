"""Tasks as people set them up: several things at once that other rows have one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from comparison import DIRECT, Row, Setup
from torch import Tensor, nn
from torch.nn import functional as fn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

KIND = "Tasks"
M, Q, WIDTH, WORDS, CLASSES = 12, 3, 4, 7, 3


def setup(model, loss, examples, **rest):
    return Setup(model, loss, examples[:M], examples[M:], **({"methods": DIRECT} | rest))


def network(outputs=CLASSES, inputs=WIDTH):
    return nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, outputs))


def cross_entropy(o, y, **options):
    return fn.cross_entropy(o, y, reduction="none", **options)


def over_classes(o, b):
    return cross_entropy(o, b[1])


def every(model, batch):
    """All of a batch goes into the model."""
    return model(*batch)


def but_last(model, batch):
    return model(*batch[:-1])


def classified(x, classes=CLASSES):
    return [(row, torch.tensor(i % classes)) for i, row in enumerate(x)]


def rows(*shape, classes=CLASSES):
    return classified(torch.randn(M + Q, *(shape or (WIDTH,))), classes)


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


class Module(nn.Module):
    """A model of parts and a function of them: `Module(call, a=nn.Linear(...))`, `call(parts, *inputs)`."""

    def __init__(self, call, **parts):
        super().__init__()
        self.call = call
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.call(self, *inputs)


def smoothed_words():
    """Class weights, label smoothing and ignored places at once."""
    weights = torch.linspace(0.5, 1.5, WORDS)
    model = nn.Sequential(nn.Embedding(WORDS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WORDS))

    def loss(o, b):
        return of_words(o[:, :-1], b[0][:, 1:], weight=weights.to(o), label_smoothing=0.1)

    return setup(model, loss, texts(), collate=padded)


def missing_labels():
    """Two heads; some of the second's labels are NaN."""
    model = Module(
        lambda m, x: (m.kind(m.body(x)), m.sizes(m.body(x))),
        body=nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh()),
        kind=nn.Linear(5, CLASSES),
        sizes=nn.Linear(5, 2),
    )
    sizes = torch.randn(M + Q, 2)
    sizes[::3, 0] = torch.nan

    def loss(o, b):
        there = ~b[2].isnan()
        return cross_entropy(o[0], b[1]) + torch.where(there, o[1] - b[2].nan_to_num(), 0).square().sum(1) / there.sum(
            1
        )

    return setup(model, loss, [(*row, size) for row, size in zip(rows(), sizes, strict=True)])


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


def norms():
    """Weight norm, group norm and spectral norm in one network."""
    return setup(
        nn.Sequential(
            parametrizations.weight_norm(nn.Conv2d(1, 4, 3, padding=1)),
            nn.GroupNorm(2, 4),
            nn.SiLU(),
            parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            parametrizations.weight_norm(nn.Linear(4, CLASSES)),
        ),
        over_classes,
        rows(1, 5, 5),
    )


def pictures_to_words(norm):
    """A norm of channels whose places become words; batches of four leave a last one of one example."""

    def make():
        call = lambda m, x: torch.tanh(m.head(m.norm(m.first(x)).flatten(2).transpose(1, 2)))[:, ::2].sum(1)  # noqa: E731
        model = Module(call, first=nn.Conv2d(1, WIDTH, 3, padding=1), norm=norm(), head=nn.Linear(WIDTH, CLASSES))
        made = setup(model, over_classes, rows(1, 4, 4))
        return replace(made, examples=made.examples[:9])

    return make


def u_net():
    """Down, up by a grouped transposed convolution, and a skip; a class for each place."""
    model = Module(
        lambda m, x: m.out(torch.cat([torch.relu(m.up(torch.relu(m.down(x)))), x], 1)),
        down=nn.Conv2d(1, 4, 3, 2, 1),
        up=nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1, groups=2),
        out=nn.Conv2d(5, 2, 1),
    )
    examples = [(x, (x[0] > 0).long()) for x in torch.randn(M + Q, 1, 4, 4)]
    return setup(model, lambda o, b: cross_entropy(o, b[1]).mean((1, 2)), examples)


def gated_series():
    """A causal depthwise separable convolution with gates."""
    model = Module(
        lambda m, x: m.head(fn.glu(m.wide(m.each(fn.pad(x, (2, 0)))), 1)[..., -1]),
        each=nn.Conv1d(WIDTH, WIDTH, 3, groups=WIDTH),
        wide=nn.Conv1d(WIDTH, 2 * WIDTH, 1),
        head=nn.Linear(WIDTH, CLASSES),
    )
    return setup(model, over_classes, rows(WIDTH, 6))


def boxes():
    """Classes of places, and boxes where there is an object."""
    model = Module(
        lambda m, x: {"classes": m.kinds(torch.tanh(m.body(x))), "boxes": m.boxes(torch.tanh(m.body(x)))},
        body=nn.Conv2d(1, 4, 3, padding=1),
        kinds=nn.Conv2d(4, CLASSES, 1),
        boxes=nn.Conv2d(4, 4, 1),
    )

    def loss(o, b):
        there = (b[1] > 0)[:, None]
        off = (there * fn.smooth_l1_loss(o["boxes"], b[2], reduction="none")).sum((1, 2, 3))
        return cross_entropy(o["classes"], b[1]).mean((1, 2)) + off / there.sum((1, 2, 3)).clamp(min=1)

    examples = [(torch.randn(1, 3, 3), torch.randint(0, CLASSES, (3, 3)), torch.rand(4, 3, 3)) for _ in range(M + Q)]
    return setup(model, loss, examples)


def mixup():
    def forward(model, b):
        return model(torch.lerp(b[0][:, 1], b[0][:, 0], b[2][:, None]))

    def loss(o, b):
        return b[2] * cross_entropy(o, b[1][:, 0]) + (1 - b[2]) * cross_entropy(o, b[1][:, 1])

    pairs = [(torch.randn(2, WIDTH), torch.tensor([i % 3, (i + 1) % 3]), torch.rand(())) for i in range(M + Q)]
    return setup(network(), loss, pairs, forward=forward)


def exposure():
    counted = [(x, torch.poisson(x[0].exp()), torch.rand(()) + 0.5) for x in torch.randn(M + Q, WIDTH)]
    return setup(network(1), lambda o, b: fn.poisson_nll_loss(o[:, 0] + b[2].log(), b[1], reduction="none"), counted)


def correlated():
    """Squared error of 40 outputs under a full matrix."""
    matrix = torch.randn(40, 40) / 6
    measured = [(x, torch.tanh(x.repeat(10))) for x in torch.randn(M + Q, WIDTH)]
    return setup(network(40), lambda o, b: ((o - b[1]) @ matrix.to(o)).square().mean(1), measured)


def energy():
    """Forces are the slope of an energy in the positions, which the model itself takes."""

    def call(m, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            height = m.body(x)[:, 0]
            return height, -torch.autograd.grad(height.sum(), x, create_graph=True)[0]

    measured = [(torch.randn(3), torch.randn(3), torch.randn(())) for _ in range(M + Q)]
    return setup(
        Module(call, body=network(1, 3)),
        lambda o, b: (o[0] - b[2]).square() + (o[1] - b[1]).square().sum(1),
        measured,
    )


def of_log_probabilities(model, classes=CLASSES):
    """The scores must be those of logits with their cross-entropy."""
    made = setup(model, lambda o, b: fn.nll_loss(o, b[1], reduction="none"), rows(classes=classes))
    return replace(made, reference=replace(made, loss=over_classes))


def adaptive_softmax():
    body = nn.Linear(WIDTH, 6)
    tail = nn.AdaptiveLogSoftmaxWithLoss(6, 9, [3, 6])
    return of_log_probabilities(Module(lambda m, x: m.tail.log_prob(torch.tanh(m.body(x))), body=body, tail=tail), 9)


def latent_classes():
    """Probabilities of two hidden states, summed."""

    def call(m, x):
        states, kinds = m.states(x).log_softmax(1), m.kinds(x).view(-1, 2, CLASSES).log_softmax(2)
        return (states[:, :, None] + kinds).logsumexp(1)

    return of_log_probabilities(Module(call, states=nn.Linear(WIDTH, 2), kinds=nn.Linear(WIDTH, 2 * CLASSES)))


def margins():
    """ArcFace: the label shifts an angle in the forward pass."""

    def call(m, x, y):
        near = fn.linear(fn.normalize(m.body(x)), fn.normalize(m.kinds.weight))
        return 4 * (near.clamp(-0.99, 0.99).acos() + 0.2 * fn.one_hot(y, CLASSES)).cos()

    model = Module(call, body=network(WIDTH), kinds=nn.Linear(WIDTH, CLASSES, bias=False))
    return setup(model, over_classes, rows(), forward=every)


def negatives():
    """Each example brings the candidates that it is compared with."""

    def call(m, x, candidates):
        return (
            torch.einsum("bd,bkd->bk", fn.normalize(m.tower(x), dim=-1), fn.normalize(m.tower(candidates), dim=-1))
            / 0.5
        )

    pairs = [(torch.randn(WIDTH), torch.randn(5, WIDTH)) for _ in range(M + Q)]
    return setup(
        Module(call, tower=network()),
        lambda o, b: cross_entropy(o, torch.zeros(len(o), dtype=torch.long)),
        pairs,
        forward=every,
    )


def recommendations():
    """Users times items, with a bias of users and one of all."""

    def call(m, user, item):
        return (m.users(user) * m.items(item)).sum(1) + m.bias(user)[:, 0] + m.mean

    parts = {"users": nn.Embedding(5, 3), "items": nn.Embedding(6, 3), "bias": nn.Embedding(5, 1)}
    model = Module(call, **parts, mean=nn.Parameter(torch.zeros(1)))
    rated = [(torch.randint(0, 5, ()), torch.randint(0, 6, ()), torch.randn(())) for _ in range(M + Q)]
    return setup(model, lambda o, b: (o - b[2]).square(), rated, forward=but_last)


def raw_texts():
    """Strings in the batch, taken apart in the forward pass."""

    def call(m, given):
        ids = [torch.tensor([ord(letter) % WORDS for letter in text]) for text in given]
        return m.head(torch.stack([torch.tanh(m.table(row)).mean(0) for row in ids]))

    model = Module(call, table=nn.Embedding(WORDS, WIDTH), head=nn.Linear(WIDTH, CLASSES))
    return setup(model, over_classes, [("abcdefgh"[i % 4 : i % 4 + 2 + i % 3], i % CLASSES) for i in range(M + Q)])


@dataclass
class Outputs:
    logits: Tensor
    states: Tensor


def in_fields():
    """Outputs in a dataclass; the independent side knows tuples."""
    made = setup(
        Module(
            lambda m, x: Outputs(m.head(torch.tanh(m.body(x))), m.body(x)),
            body=nn.Linear(WIDTH, 5),
            head=nn.Linear(5, 3),
        ),
        lambda o, b: cross_entropy(o.logits, b[1]),
        rows(),
    )
    as_tuple = lambda m, b: (m.head(torch.tanh(m.body(b[0]))), m.body(b[0]))  # noqa: E731
    return replace(made, reference=replace(made, forward=as_tuple, loss=lambda o, b: cross_entropy(o[0], b[1])))


def training_mode():
    """Handed over as it was trained: with dropout and batch norm in training mode, and a counter in a buffer."""
    model = nn.Sequential(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, CLASSES))
    model[1].running_mean.normal_(), model[1].running_var.uniform_(0.5, 2)
    made = setup(model, over_classes, rows())
    made.prepare = model.train
    return made


def domains():
    """Each row goes to the layer of its domain, by boolean indexing into zeros."""

    def call(m, x, domain):
        o = x.new_zeros(len(x), CLASSES)
        for number, layer in enumerate(m.layers):
            o[domain == number] = layer(x[domain == number])
        return o

    model = Module(call, layers=nn.ModuleList([nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, CLASSES)]))
    examples = [(x, torch.tensor(i % 2), y) for i, (x, y) in enumerate(rows())]
    return setup(model, lambda o, b: cross_entropy(o, b[2]), examples, forward=but_last)


def quantiles(o, b):
    off, levels = b[1][:, None] - o, torch.tensor([0.1, 0.5, 0.9]).to(o)
    return torch.maximum(levels * off, (levels - 1) * off).mean(1)


def hazards(o, b):
    """Cox: each against those of the batch who are left."""
    risk = o[:, 0]
    return torch.stack([risk[b[1] >= time].logsumexp(0) - own for own, time in zip(risk, b[1], strict=True)])


def mixture(o, b):
    weights, means, widths = o.chunk(3, 1)
    widths = fn.softplus(widths) + 0.1
    each = weights.log_softmax(1) - ((b[1][:, None] - means) / widths).square() / 2 - widths.log()
    return -each.logsumexp(1)


def measured(outputs, loss):
    return lambda: setup(network(outputs), loss, [(x, x.sum()) for x in torch.randn(M + Q, WIDTH)])


RIGHT = {
    "next words: weights, smoothing, padding": smoothed_words,
    "two heads, labels missing": missing_labels,
    "tied language model, padding mask": tied_language_model,
    "nn.Transformer, masks of both sides": translation,
    "attention with two masks, weights returned": masked_attention,
    "LSTM both ways, lengths in the batch": packed_both_ways,
    "bags of words with offsets": bags((2, 4, 3, 5)),
    "bags of words with offsets, equal sizes first": bags((3, 3, 3, 3, 3, 3, 3, 3, 2, 4, 1, 5, 3, 2, 4)),
    "weight, group and spectral norm": norms,
    "batch norm, then places as words": pictures_to_words(lambda: nn.BatchNorm2d(WIDTH)),
    "instance norm, then places as words": pictures_to_words(lambda: nn.InstanceNorm2d(WIDTH, affine=True)),
    "U-Net": u_net,
    "gated separable convolution of series": gated_series,
    "boxes and classes": boxes,
    "mixup": mixup,
    "Poisson with exposure": exposure,
    "squared error of 40 correlated outputs": correlated,
    "forces of an energy": energy,
    "adaptive softmax": adaptive_softmax,
    "latent classes": latent_classes,
    "ArcFace": margins,
    "negatives of one's own": negatives,
    "recommendations": recommendations,
    "texts as strings": raw_texts,
    "outputs in a dataclass": in_fields,
    "handed over in training mode": training_mode,
    "a layer for each domain": domains,
}
TOLD = {
    "quantile regression": (measured(3, quantiles), "linear in"),
    "Cox": (measured(1, hazards), "among others"),
    "mixture density": (measured(6, mixture), "not convex"),
    "outputs (B, 1) minus labels (B,)": (
        measured(1, lambda o, b: (o - b[1]).square().mean(1)),
        "labels of the same shape",
    ),
}
QUICK = {
    "next words: weights, smoothing, padding",
    "two heads, labels missing",
    "attention with two masks, weights returned",
    "bags of words with offsets, equal sizes first",
    "batch norm, then places as words",
    "instance norm, then places as words",
    "boxes and classes",
    "forces of an energy",
    "adaptive softmax",
    "outputs in a dataclass",
    "Cox",
    "outputs (B, 1) minus labels (B,)",
}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in RIGHT.items()]
ROWS += [Row(KIND, name, make, name in QUICK, told) for name, (make, told) in TOLD.items()]
