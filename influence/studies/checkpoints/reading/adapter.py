"""A folder as peft leaves it: an adapter's weights, made for a base model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from influence.errors import StudyError, listed, printable
from influence.studies.checkpoints.reading.saved import loaded, package, quiet, read_json
from influence.studies.checkpoints.reading.weight_files import (
    SafeTensors,
    conversion,
    files_in,
    kinds_of,
    refuse_quantised,
    unpickled,
)

CONFIG = "adapter_config.json"
TASKS = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
"""peft's task_type -> transformers' class of the model that is adapted."""
WRAPPED = "base_model.model."
"""What peft writes before every name of the base."""


def adapted_model(folder: Path, base_path: Path, base: nn.Module) -> tuple[nn.Module, list[str]]:
    """The base with the adapter, in evaluation mode; its trained parameters require gradients, the base's do not.

    The base is not changed; what is equal in both shares memory.

    Raises:
        StudyError: the adapter was made for another base, or is not complete.
    """
    described = read_json(folder / CONFIG)
    if "peft_type" not in described:
        raise StudyError(f"{printable(folder / CONFIG)} has no peft_type: it is no adapter of peft. Save it again.")
    if described.get("auto_mapping") and "transformers" not in str(described["auto_mapping"].get("parent_library")):
        raise StudyError(
            f"{printable(folder / CONFIG)} is for a class of {printable(str(described['auto_mapping']))}, which is "
            "not transformers': no code but its own is run. Use `upstream precompute FILE.py:FUNCTION`."
        )
    files = files_in(folder)
    given: Mapping[str, Tensor] = SafeTensors(files) if files[0].suffix == ".safetensors" else unpickled(files[0])
    kinds = kinds_of(given)
    refuse_quantised(folder, kinds)
    peft = package("peft", f"The adapter in {printable(folder)}")
    inner = _inner(folder, described, given, base_path, base)
    model = _wrapped(peft, folder, base_path, inner)
    # Without embeddings, since to know whether they changed it would look for the base on the network.
    _refuse_unlike(folder, base_path, peft.get_peft_model_state_dict(model, save_embedding_layers=False), given, inner)
    notes = [f"{printable(folder)}: {note}" for note in conversion(kinds)]
    return model.float().eval(), [*notes, *_other_name(described, folder, base_path, base)]


def _inner(folder: Path, described: Mapping[str, Any], given: Mapping[str, Tensor], path: Path, base: nn.Module) -> Any:
    """The model that is adapted: the base's body under the adapter's own task, with its head's number of classes."""
    transformers = package("transformers", f"The adapter in {printable(folder)}")
    kind = _kind(transformers, folder, described, base)
    heads = _heads(given, base)
    if kind is type(base) and not heads:
        return _sharing(base)
    classes = {} if not heads else {"num_labels": heads}
    told: dict[str, Any]
    model, told = loaded(kind, path, ignore_mismatched_sizes=True, **classes)
    saved = {name.removeprefix(WRAPPED) for name in given}
    drawn = [name for name in told["missing_keys"] if name not in saved]
    if drawn:
        raise StudyError(
            f"The adapter in {printable(folder)} is for {kind.__name__}, which has {listed(sorted(drawn))} beside what "
            f"{printable(path)} holds, and the adapter did not save it, so that it would be drawn at random. Save it "
            f"by modules_to_save=[{drawn[0].rpartition('.')[0]!r}]."
        )
    _share(model, base)
    return model


def _kind(transformers: Any, folder: Path, described: Mapping[str, Any], base: nn.Module) -> Any:
    task = described.get("task_type")
    named = (described.get("auto_mapping") or {}).get("base_model_class")
    if named and hasattr(transformers, str(named)):
        return getattr(transformers, str(named))
    if task not in TASKS:
        return type(base)
    mapping = getattr(transformers, TASKS[task])._model_mapping
    config: Any = base.config
    found = mapping[type(config)] if type(config) in mapping else type(base)
    return found[0] if isinstance(found, tuple) else found


def _heads(given: Mapping[str, Tensor], base: nn.Module) -> int:
    """The number of classes of a head that the adapter saved whole, if the base has none or another; else 0."""
    there = dict(base.named_parameters())
    for name in given:
        own, last = name.removeprefix(WRAPPED), name.split(".")[-2] if "." in name else ""
        whole = own.endswith(".weight") and "lora" not in own and last in HEADS
        if whole and (own not in there or there[own].shape != given[name].shape):
            return int(given[name].shape[0])
    return 0


HEADS = {"score", "classifier", "out_proj", "fc", "head"}
"""What transformers calls the last layer of a classifier."""


def _wrapped(peft: Any, folder: Path, base_path: Path, inner: nn.Module) -> Any:
    try:
        with quiet():
            return peft.PeftModel.from_pretrained(inner, folder, is_trainable=True, local_files_only=True)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, NotImplementedError) as error:
        told = printable(" ".join(str(error).split()))[:400]
        raise StudyError(
            f"The adapter in {printable(folder)} does not fit the model in {printable(base_path)}: {told}. Give the "
            "base that it was trained on."
        ) from error


def _refuse_unlike(
    folder: Path, path: Path, here: Mapping[str, Tensor], given: Mapping[str, Tensor], inner: nn.Module
) -> None:
    """Raise StudyError unless the model's adapter has just the tensors of the file. peft passes over those beyond."""
    own = {WRAPPED + name for name, _ in inner.named_parameters()}
    other = [name for name in given if name not in here and name not in own] + [
        name for name in here if name not in given
    ]
    if other:
        raise StudyError(
            f"The adapter in {printable(folder)} does not fit the model in {printable(path)}: "
            f"{listed(map(printable, other))} {'has' if len(other) == 1 else 'have'} no partner in the other. Give the "
            "base that it was trained on."
        )


def _sharing(base: nn.Module) -> nn.Module:
    """A copy whose parameters share memory with the base's, so that nothing large is held twice."""
    own = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in base.parameters()}
    return copy.deepcopy(base, dict(own))


def _share(model: nn.Module, base: nn.Module) -> None:
    there = dict(base.named_parameters())
    for name, parameter in model.named_parameters():
        if name in there and there[name].shape == parameter.shape and torch.equal(parameter, there[name]):
            parameter.data = there[name].data


def _other_name(described: Mapping[str, Any], folder: Path, path: Path, base: nn.Module) -> list[str]:
    """A note if the adapter's config names another base than the one that is given."""
    named = str(described.get("base_model_name_or_path") or "")
    known = {path.name, Path(str(getattr(base.config, "_name_or_path", ""))).name}
    if not named or Path(named).name in known:
        return []
    return [
        f"The adapter in {printable(folder)} says that it was trained on {printable(named)!r}; its base here is "
        f"{printable(path)}. If that is another model of the same shape, all scores are of no use."
    ]
