"""Read a trained model from where its training left it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from influence.errors import StudyError, listed, printable
from influence.studies.checkpoints.reading import adapter, saved
from influence.studies.checkpoints.reading.adapter import adapted_model
from influence.studies.checkpoints.reading.preparation import image_processor, of_architecture
from influence.studies.checkpoints.reading.saved import read_json, saved_model
from influence.studies.checkpoints.reading.state_dict import model_of
from influence.studies.checkpoints.reading.tokenizer import has_tokenizer, read_tokenizer

NAMELESS = re.compile(r"LABEL_\d+")
"""What `transformers` calls a class that nobody named."""
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".json")
"""Ends of names of files that are read as state dicts."""


@dataclass
class Checkpoint:
    """A trained model as its training left it.

    Attributes:
        path: the folder or file.
        model: in evaluation mode and float32.
        architecture: its class in transformers ("GPT2LMHeadModel"), or what `arch` was ("resnet18", "timm:NAME").
        config: of transformers; None of a state dict.
        base: of an adapter, the model that it was made for.
        notes: what was converted or passed over.
    """

    path: Path
    model: nn.Module
    architecture: str
    config: Any = None
    base: Checkpoint | None = None
    notes: list[str] = field(default_factory=list)

    def tokenizer(self) -> Any:
        """The fast tokenizer of transformers from the folder; an adapter without one of its own has its base's.

        Raises:
            StudyError: there is none, it is slow, or knows tokens that the model does not embed.
        """
        holder = self if self.base is None or has_tokenizer(self.path) else self.base
        return read_tokenizer(holder.path, self.model)

    def processor(self, size: int = 0) -> Callable[[Image.Image], Tensor]:
        """What turns a picture in RGB into the model's input, float (3, height, width).

        The folder's own image processor; for `arch`, what torchvision's weights or timm's data configuration say.

        Args:
            size: side in pixels, where the model was trained at another than that says; 0: as it says.

        Raises:
            StudyError: there is none.
        """
        if self.config is None:
            return of_architecture(self.architecture, self.model, size)
        own = (self.path / "preprocessor_config.json").exists() or self.base is None
        holder = self if own or self.base is None else self.base
        return image_processor(holder.path, size)


def read_checkpoint(path: Path, *, arch: str = "", base: Checkpoint | None = None, task: str = "") -> Checkpoint:
    """Read a model. What it is, is looked at before its weights are; no code of the checkpoint's is run.

    Args:
        path: a folder as `save_pretrained` of transformers or peft leaves it, or a state dict (safetensors, or `.pt`,
            which is read with `weights_only`).
        arch: of a state dict: a classifier of torchvision's, or "timm:NAME".
        base: of an adapter of peft: the model that it was made for.
        task: "causal", "masked", "classification", "tokens" or "images", for a config that names no class.

    Raises:
        StudyError: names the file and what to do: it is no checkpoint, damaged or half downloaded, quantised, needs
            code of its own, is of another architecture or another base, or is not finite.
    """
    if not path.exists():
        raise StudyError(
            f"Model {printable(path)} does not exist. Give a folder (save_pretrained, or an adapter of peft), or a "
            "state dict with --arch. Nothing is downloaded."
        )
    made = _state_dict(path, arch) if arch else _folder(path, base, task)
    _refuse_not_finite(made)
    return made


def _state_dict(path: Path, arch: str) -> Checkpoint:
    if path.is_dir() and (path / saved.CONFIG).exists() and "model_type" in read_json(path / saved.CONFIG):
        raise StudyError(
            f"{printable(path)} is a folder of transformers, whose config says what it is: leave out --arch."
        )
    model, notes = model_of(path, arch)
    return Checkpoint(path, model, arch, notes=notes)


def _folder(path: Path, base: Checkpoint | None, task: str) -> Checkpoint:
    if path.is_file():
        what = "a state dict" if path.suffix in WEIGHTS else "a file"
        raise StudyError(
            f"{printable(path)} is {what}, which does not say what network it is of: give --arch (a classifier of "
            "torchvision, or timm:NAME). A model of transformers is given as its folder."
        )
    if (path / saved.CONFIG).exists():
        model, notes = saved_model(path, task)
        return Checkpoint(path, model, type(model).__name__, model.config, notes=notes)
    if (path / adapter.CONFIG).exists():
        if base is None or base.config is None:
            raise StudyError(
                f"{printable(path)} holds an adapter, not a model: give its base, a folder of transformers, as the "
                "pretrained model. (An adapter of the pretraining is merged first: `model.merge_and_unload()`, then "
                "`save_pretrained`.)"
            )
        model, notes = adapted_model(path, base.path, base.model)
        inner: Any = model
        return Checkpoint(path, model, type(inner.get_base_model()).__name__, inner.config, base, notes)
    there = sorted(printable(entry.name) for entry in path.iterdir())
    inside = [name for name in there if (path / name / saved.CONFIG).exists()]
    raise StudyError(
        f"Folder {printable(path)} has neither {saved.CONFIG} nor {adapter.CONFIG}; it has "
        f"{listed(there) or 'no files'}. "
        + (
            f"Give one of the folders in it, {listed(inside, ' or ')}."
            if inside
            else "Give the folder of a saved model."
        )
    )


def _refuse_not_finite(made: Checkpoint) -> None:
    for name, value in made.model.named_parameters():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise StudyError(
                f"Model {printable(made.path)}: {name!r} holds values that are not finite. Its training diverged; take "
                "an earlier checkpoint."
            )
