"""A folder as `save_pretrained` of transformers leaves it."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from influence.errors import StudyError, listed, printable
from influence.studies.checkpoints.reading.weight_files import (
    SafeTensors,
    conversion,
    files_in,
    kinds_of,
    refuse_quantised,
    unpickled,
)

CONFIG = "config.json"
TASKS = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "classification": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "images": "AutoModelForImageClassification",
}
"""For a config that does not name its class: what it is asked to do -> transformers' class for it."""


def package(name: str, purpose: str) -> ModuleType:
    """An optional package.

    Raises:
        StudyError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StudyError(f"{purpose} needs the package {name}, which is not here: `pip install {name}`.") from error


def read_json(path: Path) -> dict[str, Any]:
    """A file of JSON with a dictionary.

    Raises:
        StudyError: it is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{printable(path)} cannot be read as JSON ({printable(str(error))}). Fetch it again."
        ) from error
    if not isinstance(found, dict):
        raise StudyError(f"{printable(path)} holds a {type(found).__name__}, expected a dictionary. Fetch it again.")
    return found


def saved_model(folder: Path, task: str) -> tuple[nn.Module, list[str]]:
    """The model of a folder, in float32 and evaluation mode, and notes.

    Args:
        folder: with config.json and the weights.
        task: of `TASKS`, where the config names no class.

    Raises:
        StudyError: the model needs code that is not in transformers, weights are missing, quantised or not complete.
    """
    kind = class_of(folder, task)
    files = files_in(folder)
    pickled = files[0].suffix == ".bin"
    kinds: dict[str, str] = {}
    for path in files:
        kinds |= kinds_of(unpickled(path) if pickled else SafeTensors([path]))
    refuse_quantised(folder, kinds)
    model, told = loaded(kind, folder, use_safetensors=not pickled)
    _refuse_missing(folder, kind, told)
    notes = [f"{printable(folder)}: {note}" for note in conversion(kinds)]
    unused = sorted(told["unexpected_keys"])
    if unused:
        notes.append(f"{printable(folder)}: {kind.__name__} has no place for {listed(map(printable, unused))}.")
    return model, notes


def class_of(folder: Path, task: str) -> Any:
    """The class of transformers that a folder's config names.

    Raises:
        StudyError: transformers does not know it, or the config names code of its own.
    """
    path = folder / CONFIG
    described = read_json(path)
    if "auto_map" in described:
        raise StudyError(
            f"{printable(path)} names code of its own ({printable(str(described['auto_map']))[:200]}), which is not "
            "run. If transformers' own class reads the model, take `auto_map` out of the file; else give the model in "
            "a file of your own: `upstream precompute FILE.py:FUNCTION`."
        )
    if "quantization_config" in described:
        method = (described["quantization_config"] or {}).get("quant_method", "unknown")
        raise StudyError(
            f"{printable(path)}: the model is quantised ({printable(str(method))}). Give the checkpoint in float32, "
            "float16 or bfloat16 that it was made of."
        )
    if "model_type" not in described and "architecture" in described:
        name = printable(str(described["architecture"]))
        raise StudyError(f"{printable(path)} is timm's. Say which network it is: --arch timm:{name}.")
    transformers = package("transformers", f"The model in {printable(folder)}")
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if described.get("model_type") not in known:
        raise StudyError(
            f"{printable(path)} says model_type {printable(str(described.get('model_type')))!r}, which transformers "
            f"{transformers.__version__} does not know; no code but its own is run. Update transformers, or give the "
            "model in a file of your own: `upstream precompute FILE.py:FUNCTION`."
        )
    architectures = described.get("architectures") or []
    if not architectures:
        return _auto_class(transformers, path, task)
    kind = getattr(transformers, str(architectures[0]), None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise StudyError(
            f"{printable(path)} says the class {printable(str(architectures[0]))!r}, which transformers "
            f"{transformers.__version__} does not have; no code but its own is run. Update transformers, or write the "
            "class that it has under `architectures`."
        )
    return kind


def _auto_class(transformers: ModuleType, path: Path, task: str) -> Any:
    if task not in TASKS:
        raise StudyError(
            f"{printable(path)} does not say the model's class. Write it under `architectures`, for instance "
            '["BertForSequenceClassification"]'
            + (f", or say what it does: {', '.join(TASKS)} (here {task!r})." if task else ".")
        )
    mapping = getattr(transformers, TASKS[task])._model_mapping
    with refusing(path):
        config = transformers.AutoConfig.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
    if type(config) not in mapping:
        raise StudyError(
            f"{printable(path)}: transformers has no {TASKS[task].removeprefix('AutoModelFor')} of "
            f"{config.model_type}. Write the model's class under `architectures`."
        )
    found = mapping[type(config)]
    return found[0] if isinstance(found, tuple) else found


def loaded(kind: Any, folder: Path, **how: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model of class `kind` with a folder's weights in float32, and what transformers says of the loading.

    Raises:
        StudyError: transformers cannot read it.
    """
    with refusing(folder), quiet():
        model, told = kind.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **how
        )
    return model.eval(), told


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Errors of transformers as StudyError that names the file or folder."""
    try:
        yield
    except StudyError:
        raise
    except (
        ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError,
        ValueError, SafetensorError, NotImplementedError,
    ) as error:  # fmt: skip
        told = printable(" ".join(str(error).split()))[:500]
        raise StudyError(
            f"{printable(path)} cannot be read by transformers: {told or type(error).__name__}. Is it whole, and of "
            "this version? Save it again with `save_pretrained`."
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars and reports of transformers: what they say is an error or a note here."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _refuse_missing(folder: Path, kind: Any, told: dict[str, Any]) -> None:
    wrong = sorted(str(each[0] if isinstance(each, tuple) else each) for each in told["mismatched_keys"])
    missing = sorted(told["missing_keys"])
    if missing or wrong:
        what = f"lack {listed(map(printable, missing))}" if missing else f"have other shapes of {listed(wrong)}"
        raise StudyError(
            f"The weights in {printable(folder)} {what}, which {kind.__name__} of its {CONFIG} has. They would be "
            "drawn at random. Save model and config together, or write the class that the weights are of under "
            "`architectures`."
        )
