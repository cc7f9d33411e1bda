"""Wrapped and adapted models inherit as plain ones do: names without what was put into them."""

from __future__ import annotations

import copy

import numpy as np
import peft
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

from influence import Stage, Study, attribute
from influence.errors import StudyError
from influence.study.names import unwrapped_pairs
from influence.study.parameters import groups_of

QUERY = "bert.encoder.layer.0.attention.self.query"
SMALL = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 5, "vocab_size": 9}
ADAPTED = {"target_modules": ["query"], "task_type": "SEQ_CLS"}


def classifier():
    return BertForSequenceClassification(BertConfig(**SMALL))


def language_model():
    return BertForMaskedLM(BertConfig(**SMALL))


def lora(model, **options):
    return peft.get_peft_model(model, peft.LoraConfig(r=1, **{**ADAPTED, **options}))


def pairs(here, there):
    return unwrapped_pairs("Stage 'new'", dict(here.named_parameters()), dict(there.named_parameters()))


def prefixed(prefix, model, inside=""):
    """The pairs of a model whose names begin with `prefix`; those of the query layer go on with `inside`."""
    return {
        prefix + name.replace(QUERY + ".", f"{QUERY}.{inside}"): name
        for name, _ in model.named_parameters()
        if not name.startswith("cls.")
    }


@pytest.mark.parametrize("origin", [classifier, language_model])
def test_lora_of_a_plain_model(origin):
    expected = prefixed("base_model.model.", origin(), "base_layer.")
    expected = {n.replace(".classifier.", ".classifier.modules_to_save.default."): o for n, o in expected.items()}
    assert pairs(lora(classifier()), origin()) == expected


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (nn.DataParallel, "module."),
        (torch.compile, "_orig_mod."),
        (torch.optim.swa_utils.AveragedModel, "module."),
        (lambda model: nn.DataParallel(torch.compile(model)), "module._orig_mod."),
        (lambda model: nn.ModuleDict({"_fsdp_wrapped_module": model}), "_fsdp_wrapped_module."),
        (lambda model: nn.ModuleDict({"_checkpoint_wrapped_module": model}), "_checkpoint_wrapped_module."),
    ],
)
def test_wrappers_on_either_side_and_on_both(wrap, prefix):
    plain = classifier()
    expected = prefixed(prefix, plain)
    assert pairs(wrap(classifier()), plain) == expected
    assert pairs(plain, wrap(classifier())) == {origin: name for name, origin in expected.items()}
    both = pairs(wrap(lora(classifier())), nn.DataParallel(plain))
    assert both[f"{prefix}base_model.model.{QUERY}.base_layer.weight"] == f"module.{QUERY}.weight"
    assert len(both) == len(expected)


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(r=1, use_dora=True, **ADAPTED),
        peft.IA3Config(feedforward_modules=[], **ADAPTED),
        peft.LoHaConfig(r=1, **ADAPTED),
        peft.LNTuningConfig(target_modules=["LayerNorm"], task_type="SEQ_CLS"),
        peft.PromptTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS"),
        peft.LoraConfig(r=1, trainable_token_indices={"word_embeddings": [1]}, **ADAPTED),
        peft.LoraConfig(r=1, target_modules=["word_embeddings"], task_type="SEQ_CLS"),
        peft.LoraConfig(r=1, modules_to_save=["embeddings"], **ADAPTED),  # which holds another copy, of word_embeddings
    ],
)
def test_every_parameter_of_the_origin_is_inherited_once(config):
    """And by the parameter that begins at its value and is used: copies are trained in place of what they copy."""
    origin = classifier()
    adapted = peft.get_peft_model(copy.deepcopy(origin), config)
    found, there = pairs(adapted, origin), dict(origin.named_parameters())
    assert sorted(found.values()) == sorted(there)
    for name, parameter in adapted.named_parameters():
        if name in found:
            assert torch.equal(parameter, there[found[name]])
        parameter.requires_grad_()
    adapted(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    idle = {name for name, p in adapted.named_parameters() if p.grad is None}
    assert not idle & set(found)


def test_an_adapter_over_an_adapter_inherits_the_one_below():
    below = lora(classifier())
    above = peft.get_peft_model(copy.deepcopy(below), peft.IA3Config(feedforward_modules=[], **ADAPTED))
    found = pairs(above, below)
    name = f"base_model.model.base_model.model.{QUERY}.base_layer"
    assert found[f"{name}.lora_A.default.weight"] == f"base_model.model.{QUERY}.lora_A.default.weight"
    assert found[f"{name}.base_layer.weight"] == f"base_model.model.{QUERY}.base_layer.weight"
    assert pairs(above, classifier())[f"{name}.base_layer.weight"] == f"{QUERY}.weight"


def test_models_with_a_part_called_model():
    def llama():
        return LlamaForCausalLM(LlamaConfig(**SMALL))

    prompts = peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    for config in (prompts, peft.LoraConfig(r=1, task_type="CAUSAL_LM")):
        assert sorted(pairs(peft.get_peft_model(llama(), config), llama()).values()) == sorted(
            name for name, _ in llama().named_parameters()
        )


def test_the_copy_of_the_adapter_that_is_trained():
    two = lora(classifier())
    two.add_adapter("two", peft.LoraConfig(r=1, **ADAPTED))
    assert "base_model.model.classifier.modules_to_save.default.weight" in pairs(two, classifier())
    two.set_adapter("two")
    assert "base_model.model.classifier.modules_to_save.two.weight" in pairs(two, classifier())


def test_one_name_of_two_parameters_is_refused():
    one, two = (
        {"a.w": nn.Parameter(torch.zeros(2))},
        {n: nn.Parameter(torch.zeros(2)) for n in ("module.a.w", "a._orig_mod.w")},
    )
    for here, there in ((one, two), (two, one)):
        with pytest.raises(
            StudyError, match=r"Stage 'new': 'a._orig_mod.w' and 'module.a.w' are one name without .* `inh"
        ):
            unwrapped_pairs("Stage 'new'", here, there)


def test_a_merged_adapter_is_refused():
    with pytest.raises(
        StudyError, match=r"query.weight' would come from '.*query.base_layer.weight', .* Was it merged?"
    ):
        pairs(classifier(), lora(classifier()))


def test_equal_names_come_first_and_shapes_must_fit():
    here = {"module.a": nn.Parameter(torch.zeros(3)), "module.b": nn.Parameter(torch.zeros(3))}
    assert unwrapped_pairs("", here, {"a": nn.Parameter(torch.zeros(3)), "b": nn.Parameter(torch.zeros(2))}) == {
        "module.a": "a"
    }


# Scores


class Net(nn.Module):
    def __init__(self, classes, body=None):
        super().__init__()
        self.body, self.head = body or nn.Linear(3, 4), nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.body(x).tanh())


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def data(count, classes, seed):
    draw = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randn(count, 3, generator=draw).double(), torch.randint(classes, (count,), generator=draw)
    )


def scores(first, second, **options):
    stages = [
        Stage("old", first, loss, data(20, 3, 0), l2=0.1),
        Stage("new", second, loss, data(12, 2, 1), l2=0.1, **options),
    ]
    return attribute(Study("two", stages, data(4, 2, 2)), method="exact", progress=False)


@pytest.mark.parametrize("frozen", [True, False])
def test_scores_of_wrapped_models_are_those_of_plain_ones(frozen):
    torch.manual_seed(0)
    first, second = Net(3).double(), Net(2).double()
    second.body.load_state_dict(first.body.state_dict())
    plain = scores(first, second, **({"frozen": ["body.*"]} if frozen else {"proximity": 0.05}))
    wrapped = nn.Sequential()
    wrapped.add_module("_fsdp_wrapped_module", copy.deepcopy(second))
    wrapped[0].body = nn.Sequential()
    wrapped[0].body.add_module("_checkpoint_wrapped_module", copy.deepcopy(second.body))
    found = scores(nn.DataParallel(first), wrapped, **({"frozen": ["*.body.*"]} if frozen else {"proximity": 0.05}))
    np.testing.assert_allclose(found.values, plain.values, rtol=1e-6)
    assert np.abs(plain.values).max() > 1e-4


def test_scores_of_lora_are_those_of_its_formula():
    """A linear layer with x -> W x + b + B A x, written out, with its pairs stated."""
    torch.manual_seed(0)

    class Written(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.w, self.b = (
                nn.Parameter(p.detach().clone()) for p in (layer.base_layer.weight, layer.base_layer.bias)
            )
            self.low, self.up = (
                nn.Parameter(part["default"].weight.detach().clone()) for part in (layer.lora_A, layer.lora_B)
            )

        def forward(self, x):
            return x @ self.w.T + self.b + x @ self.low.T @ self.up.T

    first, second = Net(3).double(), Net(2).double()
    second.body.load_state_dict(first.body.state_dict())
    config = peft.LoraConfig(
        r=1, lora_alpha=1, target_modules=["body"], modules_to_save=["head"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(copy.deepcopy(second), config).double()
    still = [name for name, parameter in adapted.named_parameters() if not parameter.requires_grad]
    found = scores(first, adapted, frozen=still)
    layer = adapted.base_model.model.body
    written = Net(2, Written(layer)).double()
    written.head.load_state_dict(second.head.state_dict())
    expected = scores(
        first, written, frozen=["body.w", "body.b"], inherits={"body.w": "body.weight", "body.b": "body.bias"}
    )
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    groups = groups_of(
        Stage("new", adapted, loss, data(12, 2, 1), frozen=still), Stage("old", first, loss, data(20, 3, 0))
    )
    assert set(groups.inherited.values()) == {"body.weight", "body.bias"}
    assert all("original_module" in name for name in groups.constant)
    others = [[w for w in each.report["warnings"] if "at a minimum" not in w] for each in (found, expected)]
    assert others[0] == others[1]  # the distance to a minimum is told with the parameters' names
    [warning] = [each for each in scores(first, adapted).report["warnings"] if "requires_grad" in each]
    assert "frozen=[n for n, p in model.named_parameters() if not p.requires_grad]" in warning
