"""Objectives that models of `transformers` are trained by: what an example's loss is, and that of each of its tokens.

A loss is -log of the probability that the model gives to what the example says, in nats: the sum over its tokens, or
over its labels. `Trainer` divides by the number of tokens in a batch instead, which is the same objective but for a
factor: the sum over all examples has its minimum at the same parameters, and an example without whose tokens the model
is trained takes all of them along. A mean over each example's own tokens would be another objective, in which a token
of a short text counts more.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from influence.errors import StudyError
from influence.study.stage import Forward

CAUSAL, MASKED, CLASSIFICATION, TAGS = "causal", "masked", "classification", "token-classification"
OBJECTIVES = (CAUSAL, MASKED, CLASSIFICATION, TAGS)
MULTI_LABEL, REGRESSION = "multi-label", "regression"
"""Classification by other heads, which the model's `problem_type` tells."""
PROBLEMS = {
    "single_label_classification": CLASSIFICATION,
    "multi_label_classification": MULTI_LABEL,
    "regression": REGRESSION,
}
IGNORED = -100
"""A label that costs nothing, as in `transformers`."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a batch has for the model; it may have labels and places beside them."""
MEASURES = {
    CAUSAL: "loss of the text",
    MASKED: "loss of the masked tokens",
    CLASSIFICATION: "loss of the true class",
    MULTI_LABEL: "loss of the labels",
    REGRESSION: "squared error",
    TAGS: "loss of the words' labels",
}


@dataclass(frozen=True)
class TextObjective:
    """How the loss of an example is computed from a model's logits.

    Attributes:
        kind: `CAUSAL`, `MASKED`, `CLASSIFICATION`, `MULTI_LABEL`, `REGRESSION` or `TAGS`.
    """

    kind: str

    @property
    def of_tokens(self) -> bool:
        """Whether the loss is a sum over tokens."""
        return self.kind in (CAUSAL, MASKED, TAGS)

    @property
    def of_language(self) -> bool:
        """Whether texts are their own labels."""
        return self.kind in (CAUSAL, MASKED)

    @property
    def measure(self) -> str:
        """What the loss is, in words."""
        return MEASURES[self.kind]

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Losses (B,), in nats, or squared errors, of logits (B, outputs) or (B, L, outputs).

        The batch's `labels` are class numbers (B,), or 0 and 1 or numbers (B, outputs), or numbers of tokens or classes
        (B, L), `IGNORED` where nothing is predicted.
        """
        labels = batch["labels"]
        if self.of_tokens:
            return self._each(logits, labels).sum(1)
        if self.kind == MULTI_LABEL:
            return binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none").sum(1)
        if self.kind == REGRESSION:
            return (logits - labels.to(logits).view_as(logits)).square().mean(1)
        return cross_entropy(logits, labels, reduction="none")

    def token_losses(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The same of each token, (B, L), which add up to the loss.

        A token without characters (an end of text) counts with the one that the batch's `places` names, if it has any.
        """
        each = self._each(logits, batch["labels"])
        if "places" not in batch:
            return each
        places = batch["places"][:, -each.shape[1] :]
        return torch.zeros_like(batch["places"], dtype=each.dtype).scatter_add(1, places, each)

    def _each(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.kind == CAUSAL:  # a place says what comes next
            logits, labels = logits[:, :-1], labels[:, 1:]
        return cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")


def objective_of(model: nn.Module, stated: str = "") -> TextObjective:
    """The objective that a model's class is made for.

    Args:
        model: of `transformers`, or an adapter of `peft` around one.
        stated: of `OBJECTIVES`; it has to be the class's own.

    Raises:
        StudyError: there is no such objective, the class has none of them, or another.
    """
    if stated and stated not in OBJECTIVES:
        raise StudyError(f"The objective is {stated!r}, expected {', '.join(OBJECTIVES)}.")
    inner = plain(model)
    name = type(inner).__name__
    found = next((kind for kind, names in _classes().items() if name in names), None)
    if found is None:
        raise StudyError(
            f"The model is a {name}, which has none of the objectives {', '.join(OBJECTIVES)}. Save it with the head "
            "that it was trained with (a ...ForCausalLM, ...ForMaskedLM, ...ForSequenceClassification or "
            "...ForTokenClassification), or write its loss in Python: docs/your-own-model.md."
        )
    if stated and stated != found:
        raise StudyError(f"The objective is {stated!r}, but a {name} is trained by {found!r}.")
    if found == CLASSIFICATION:
        return TextObjective(_problem(inner.config))
    return TextObjective(found)


def _problem(config: Any) -> str:
    """As `transformers` tells heads apart; where labels would decide, one class an example."""
    usual = REGRESSION if config.num_labels == 1 else CLASSIFICATION
    return PROBLEMS.get(getattr(config, "problem_type", None) or "", usual)


def _classes() -> dict[str, set[str]]:
    """Objective -> names of the classes of `transformers` that are trained by it."""
    from transformers.models.auto import modeling_auto

    def names(task: str) -> set[str]:
        listed = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES").values()
        return {name for each in listed for name in ((each,) if isinstance(each, str) else each)}

    masked = {name for name in names("MASKED_LM") if not name.endswith("ForConditionalGeneration")}
    return {
        CAUSAL: names("CAUSAL_LM") - masked,
        MASKED: masked | {"BertForPreTraining"},
        CLASSIFICATION: names("SEQUENCE_CLASSIFICATION"),
        TAGS: names("TOKEN_CLASSIFICATION"),
    }


def plain(model: Any) -> Any:
    """The model of `transformers` in a model of `peft`; any other as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def forward_of(model: nn.Module, objective: TextObjective) -> Forward:
    """(model, batch) -> logits: what the model takes of the batch, and no labels, for it would average its own loss.

    Args:
        model: whose form of input it is; not kept.
        objective: its own.
    """
    taken = inspect.signature(plain(model).forward).parameters
    names = [name for name in INPUTS if name in taken]
    rest = {"use_cache": False} if "use_cache" in taken else {}

    def forward(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        found = model(**{name: batch[name] for name in names if name in batch}, **rest)
        logits: Tensor = found.logits if "logits" in found else found.prediction_logits
        # Tokens of a prompt that was learned stand before those of the text.
        return logits[:, -batch["input_ids"].shape[1] :] if objective.of_tokens else logits

    return forward


def mean_state(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """What the map is made of: (B, d), the mean of the model's last states over a text's tokens, not over padding."""
    body = plain(model).base_model
    taken = inspect.signature(body.forward).parameters
    given = {name: batch[name] for name in INPUTS if name in batch and name in taken}
    rows = plain(model).get_input_embeddings().num_embeddings
    given["input_ids"] = given["input_ids"].clamp(max=rows - 1)  # a finetuned model may know more tokens
    states = body(**given)[0]
    mask = batch["attention_mask"][..., None].to(states)
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)
