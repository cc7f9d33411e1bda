"""Models that hold parameters in more places than one, with the data and the loss that they are asked with."""

from __future__ import annotations

import functools
from collections import deque

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.data import TensorDataset

M = 12


def cross_entropy(outputs, batch):
    return functional.cross_entropy(outputs, batch[1], reduction="none")


def examples(count: int = M) -> TensorDataset:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(count, 6, generator=draw, dtype=torch.float64)
    return TensorDataset(x, torch.randint(0, 3, (count,), generator=draw))


class Net(nn.Module):
    """`forward` of the subclasses uses `gain` (5,) in a way of their own."""

    def __init__(self):
        super().__init__()
        self.enter, self.head = nn.Linear(6, 5), nn.Linear(5, 3)
        self.gain = nn.Parameter(torch.rand(5, dtype=torch.float64) + 0.5)
        self.register_buffer("places", torch.tensor([0, 1, 2, 3, 1]))
        self.begin()

    def begin(self):
        pass

    def used(self):
        return self.gain

    def forward(self, x):
        return self.head(torch.tanh(self.enter(x) * self.used()))


class InAList(Net):
    def begin(self):
        self.gains = [self.gain]

    def used(self):
        return self.gains[0]


class InATuple(InAList):
    def begin(self):
        self.gains = (self.gain, {"scale": 2})


class InAnObject(Net):
    class Kept:
        pass

    def begin(self):
        self.kept = self.Kept()
        self.kept.gain = self.gain

    def used(self):
        return self.kept.gain


class InALambda(Net):
    def begin(self):
        self.get = lambda: self.gain

    def used(self):
        return self.get()


class InAClosure(InALambda):
    def begin(self):
        gain = self.gain
        self.get = functools.partial(lambda scale: scale * gain, 1.5)


class InADefault(InALambda):
    def begin(self):
        self.get = lambda gain=self.gain: gain


class InAPartial(Net):
    def begin(self):
        self.scaled = functools.partial(torch.mul, self.gain)

    def used(self):
        return self.scaled(2.0)


class InASet(Net):
    def begin(self):
        self.all = {self.gain}

    def used(self):
        return sum(self.all)


class InAQueue(InASet):
    def begin(self):
        self.all = deque([self.gain])


class InACachedMethod(Net):
    @functools.lru_cache(maxsize=None)  # noqa: B019, UP033 - as people write it
    def used(self):
        return self.gain * 2.0


class InAHook(Net):
    def begin(self):
        self.head.register_forward_pre_hook(lambda module, given: (given[0] * self.gain,))

    def used(self):
        return 1


class InAMethod(InALambda):
    def begin(self):
        self.get = self.doubled

    def doubled(self):
        return self.gain * 2


class AsABuffer(Net):
    def begin(self):
        self.alias = nn.Module()
        self.alias.register_buffer("gain", self.gain)

    def _apply(self, function, recurse=True):  # a conversion would make another tensor of the buffer
        super()._apply(function, recurse)
        self.alias.gain = self.gain
        return self

    def used(self):
        return self.alias.gain


class InAModuleOfAList(Net):
    def begin(self):
        self.hidden = [nn.Linear(5, 5, bias=False)]
        self.weight = self.hidden[0].weight

    def used(self):
        return self.hidden[0](self.gain)


class KeptInADictionary(Net):
    """As attention biases of LeViT and TinyViT are."""

    def begin(self):
        self.kept = {}

    def used(self):
        if self.training:
            return self.gain[self.places]
        if "gain" not in self.kept:
            self.kept["gain"] = self.gain[self.places]
        return self.kept["gain"]

    def train(self, mode=True):
        super().train(mode)
        if mode:
            self.kept = {}
        return self


class KeptAsAnAttribute(Net):
    def begin(self):
        self.kept = None

    def used(self):
        if self.kept is None:
            self.kept = self.gain[self.places]
        return self.kept


class KeptFromEvalOn(Net):
    """As in the first LeViT: `eval()` makes the tensor."""

    def train(self, mode=True):
        super().train(mode)
        if mode:
            self.__dict__.pop("kept", None)
        else:
            self.kept = self.gain[self.places]
        return self

    def used(self):
        return self.gain[self.places] if self.training else self.kept


class OneTable(nn.Module):
    """The table of encoder and decoder is one module, and its weight that of the output."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.encoder, self.decoder, self.head = nn.Module(), nn.Module(), nn.Linear(6, 6, bias=False)
        self.encoder.table = self.decoder.table = self.shared
        self.head.weight = self.shared.weight

    def forward(self, x):
        return self.head(torch.tanh(self.decoder.table(torch.tanh(self.encoder.table(x)))))[:, :3]


class Recurrent(nn.Module):
    """Which keeps a list of its weights."""

    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.cells(x.unflatten(1, (3, 2)))[0][:, -1])


def normalised(wrap):
    return lambda: nn.Sequential(wrap(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 3))


MODELS = {
    **{kind.__name__: kind for kind in (*Net.__subclasses__(), *InAList.__subclasses__(), *InALambda.__subclasses__())},
    "OneTable": OneTable,
    "Recurrent": Recurrent,
    "weight norm": normalised(nn.utils.parametrizations.weight_norm),
    "older weight norm": normalised(nn.utils.weight_norm),
    "spectral norm": normalised(nn.utils.parametrizations.spectral_norm),
    "older spectral norm": normalised(nn.utils.spectral_norm),
    "pruned": normalised(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)),
}
