"""Image classifiers for the built-in studies: a small network of our own, or any backbone of torchvision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader

from influence.errors import StudyError, printable

BUILT_IN = "cnn"
CALIBRATION_EXAMPLES = 2048
"""Examples that the statistics of batch normalisation are computed from before training."""


class SmallCnn(nn.Module):
    """Three smooth convolutions without batch statistics, 2 x 2 averages, a linear head: some 15,000 parameters."""

    def __init__(self, classes: int):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.GELU(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.GELU(),
            nn.AvgPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def image_model(name: str, classes: int, seed: int) -> nn.Module:
    """The classifier called `name` ("cnn", or as torchvision calls it) at a seeded random start.

    Raises:
        StudyError: torchvision has no classifier of that name.
    """
    with _seeded(seed):
        if name == BUILT_IN:
            return SmallCnn(classes)
        return _torchvision_model(name, classes)


def head_names(name: str) -> set[str]:
    """Names of the parameters that depend on the number of classes."""
    with torch.device("meta"):
        few, more = (dict(image_model(name, classes, 0).named_parameters()) for classes in (2, 3))
    return {parameter for parameter in few if few[parameter].shape != more[parameter].shape}


def load_weights(model: nn.Module, path: Path, heads: set[str]) -> None:
    """Read a safetensors file into the model, all but its head.

    Raises:
        StudyError: the file cannot be read, or lacks a parameter or has it in another shape.
    """
    try:
        given = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise StudyError(f"Weights {printable(path)} cannot be read as safetensors: {error}.") from error
    wanted = {n: t for n, t in model.state_dict().items() if n not in heads and not n.endswith("num_batches_tracked")}
    missing = [n for n, t in wanted.items() if n not in given or given[n].shape != t.shape]
    if missing:
        name = missing[0]
        got = f"there it has shape {tuple(given[name].shape)}" if name in given else "the file lacks it"
        raise StudyError(
            f"Weights {printable(path)} do not fit the model: {name} has shape {tuple(wanted[name].shape)}, {got} "
            f"({len(missing)} of {len(wanted)} do not fit). Choose the --model that they were made for."
        )
    model.load_state_dict({n: given[n] for n in wanted}, strict=False)


def calibrate(model: nn.Module, data: Any) -> None:
    """Take the statistics of batch normalisation from the first examples of `data`.

    They are kept from then on: a loss that depends on the rest of its batch has no per-example influence.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean of all batches
    model.eval()
    for layer in layers:
        layer.train()
    with torch.no_grad():
        for start in range(0, min(len(data), CALIBRATION_EXAMPLES), 64):
            chosen = range(start, min(start + 64, len(data)))
            if len(chosen) > 1:
                model(next(iter(DataLoader(torch.utils.data.Subset(data, chosen), batch_size=64)))[0])
    model.eval()


def copy_buffers(model: nn.Module, origin: nn.Module) -> None:
    """Give `model` the statistics of `origin`, whose parameters it inherits."""
    there = dict(origin.named_buffers())
    for name, buffer in model.named_buffers():
        buffer.copy_(there[name])


def _torchvision_model(name: str, classes: int) -> nn.Module:
    from torchvision import models  # takes a second, and only these studies need it

    known = models.list_models(module=models)
    if name not in known:
        raise StudyError(
            f"There is no model {name!r}; use {BUILT_IN!r} or a classifier of torchvision: {', '.join(known)}."
        )
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    extra |= {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, num_classes=classes, **extra)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
