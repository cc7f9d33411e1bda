"""Labels, pictures, texts and class names of a user's data set, inferred from its examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from influence.derivatives.batches import on_device
from influence.errors import StudyError
from influence.studies.images.picture_files import png
from influence.studies.images.white import is_deep, upright_rgb
from influence.study.stage import Stage

LABELS = ("label", "labels", "target", "targets", "y", "class")
"""Keys under which examples that are dicts hold their class."""
MIN_PIXELS = 4
"""Shortest side, in pixels, of a tensor (C, H, W) that counts as a picture."""


def table_of(data: Any, classes: Sequence[str], what: str) -> pd.DataFrame:
    """A row an example: id (its position), label, and its picture or text where it has one.

    Raises:
        StudyError: an example has no integer class, or one beyond `classes`.
    """
    labels, pictures, texts = [], [], []
    for position in range(len(data)):
        example = data[position]
        number = class_of(example)
        if number is None or not 0 <= number < len(classes):
            given = "no integer class" if number is None else f"class {number}"
            raise StudyError(
                f"{what}: example {position} has {given}, expected one of 0 to {len(classes) - 1} beside the input (or "
                f"under {', '.join(LABELS[:3])} ...). Give the Exhibit a table of id and label (`examples`, `queries`)."
            )
        labels.append(classes[number])
        pictures.append(picture_of(example))
        texts.append(text_of(example))
    table = pd.DataFrame({"id": np.arange(len(labels)), "label": labels})
    for column, values in (("image", pictures), ("text", texts)):
        if all(value is not None for value in values):
            table[column] = values
            break
    return table


def class_names(stage: Stage, data: Any) -> list[str]:
    """The data set's own `classes` where there is one for each output of the model, else their numbers.

    Raises:
        StudyError: the model is no classifier.
    """
    count = _outputs(stage)
    while data is not None:
        names = getattr(data, "classes", None)
        if isinstance(names, Sequence) and not isinstance(names, str) and len(names) == count:
            return [str(name) for name in names]
        data = getattr(data, "dataset", None)  # of a Subset
    return [str(number) for number in range(count)]


def class_of(example: Any) -> int | None:
    """The integer class of an example: under a usual key of a dict, else the first integer scalar after the input."""
    if isinstance(example, Mapping):
        values = [example[key] for key in LABELS if key in example]
    else:
        values = list(example[1:]) if isinstance(example, tuple | list) else []
    for value in values:
        if isinstance(value, Tensor | np.ndarray | np.generic) and np.ndim(value) == 0:
            value = value.item()
        if isinstance(value, int):
            return int(value)
    return None


def picture_of(example: Any) -> bytes | None:
    """A PNG of the first part of an example that looks like a picture: a PIL image or (C, H, W) of 1 or 3 channels.

    Values beyond 0..1 that are not bytes were normalised by a rule that is not known here; they are stretched from
    the least to the greatest.
    """
    for value in _parts(example):
        if isinstance(value, Image.Image):
            deep = torch.from_numpy(np.array(value, dtype=np.float64))[None] if is_deep(value) else None
            return png(upright_rgb(value, None) if deep is None else _image_of(deep))
        if (
            isinstance(value, Tensor)
            and value.dim() == 3
            and len(value) in (1, 3)
            and min(value.shape[1:]) >= MIN_PIXELS
        ):
            return png(_image_of(value))
    return None


def text_of(example: Any) -> str | None:
    """The first part of an example that is a text."""
    return next((value for value in _parts(example) if isinstance(value, str)), None)


def penultimate(forward: Callable[[nn.Module, Any], Any]) -> Callable[[nn.Module, Any], Tensor]:
    """An embedding for the map: what goes into the model's last linear layer, or its outputs if there is none."""

    def embedding(model: nn.Module, batch: Any) -> Tensor:
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        seen: list[Tensor] = []
        hook = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) if linear else None
        try:
            outputs = forward(model, batch)
        finally:
            if hook is not None:
                hook.remove()
        vectors = seen[-1] if seen else outputs
        # A vector for each token: their mean, since texts differ in length.
        return vectors.flatten(1, -2).mean(1) if vectors.dim() > 2 else vectors

    return embedding


def _parts(example: Any) -> list[Any]:
    if isinstance(example, Mapping):
        return list(example.values())
    return list(example) if isinstance(example, tuple | list) else [example]


def _image_of(tensor: Tensor) -> Image.Image:
    values = tensor.detach().cpu()
    if values.dtype != torch.uint8:
        values = values.double()
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            values = (values - low) / max(high - low, 1e-12)
        values = (values * 255).round().to(torch.uint8)
    pixels = values.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))


def _outputs(stage: Stage) -> int:
    """Number of outputs of the stage's model, found on its first example."""
    batch = next(iter(torch.utils.data.DataLoader(stage.data, batch_size=1, collate_fn=stage.collate)))
    module = stage.model
    device, training = next(module.parameters()).device, module.training
    batch = on_device(batch, device)
    try:
        module.eval()
        with torch.no_grad():
            outputs = stage.forward(module, batch)  # type: ignore[misc]
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise StudyError(
            f"Stage {stage.name!r}: its model failed on its first example: {type(error).__name__}: {error}."
        ) from error
    finally:
        module.train(training)
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or not outputs.is_floating_point():
        got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise StudyError(
            f"Stage {stage.name!r}: a run shows classifiers, whose outputs have shape (examples, classes); this "
            f"model's have {got}. Give the Stage a `forward` that returns them, or use `attribute` in Python."
        )
    return outputs.shape[1]
