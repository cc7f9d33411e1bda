"""How a picture becomes a model's input: by its own image processor, or as its weights' makers say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from influence.errors import StudyError, printable
from influence.studies.checkpoints.reading.saved import package, quiet, refusing
from influence.studies.checkpoints.reading.state_dict import TIMM

FILES = ("preprocessor_config.json", "processor_config.json")
Preparation = Callable[[Image.Image], Tensor]
"""A picture in RGB -> float (3, height, width)."""


def image_processor(folder: Path, size: int) -> Preparation:
    """What the image processor in a folder does to one picture.

    Raises:
        StudyError: there is none, or it is read only by code of its own.
    """
    if not any((folder / name).exists() for name in FILES):
        raise StudyError(
            f"{printable(folder)} holds no image processor ({FILES[0]}). Save the one that the model was trained with "
            "there: `processor.save_pretrained(...)`."
        )
    if size:
        raise StudyError(
            f"--image-size means nothing here: the image processor in {printable(folder)} says how large pictures are."
        )
    transformers = package("transformers", f"The image processor in {printable(folder)}")
    with refusing(folder), quiet():
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )

    def prepare(picture: Image.Image) -> Tensor:
        return processor(images=picture, return_tensors="pt")["pixel_values"][0].float()

    return prepare


def of_architecture(arch: str, model: nn.Module, size: int) -> Preparation:
    """What torchvision's weights of a network, or timm's configuration of it, do to a picture."""
    if arch.startswith(TIMM):
        timm = package("timm", f"--arch {arch}")
        config: dict[str, Any] = timm.data.resolve_model_data_config(model)
        if size:
            config |= {"input_size": (config["input_size"][0], size, size), "crop_pct": 1.0}
        return timm.data.create_transform(**config, is_training=False)
    from torchvision import models

    transform = models.get_model_weights(arch).DEFAULT.transforms()
    if size:
        transform.crop_size, transform.resize_size = [size], [size]
    return transform
