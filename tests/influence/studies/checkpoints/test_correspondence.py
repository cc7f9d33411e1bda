"""What a finetuned model took over, against how it was made."""

from __future__ import annotations

import copy

import pytest
import torch
from saved_models import classifier_on, language_model, lora, nudged, seeded
from torch import nn
from torchvision import models
from transformers import BertConfig, BertForSequenceClassification, BertModel

from influence.errors import StudyError
from influence.studies.checkpoints.correspondence import correspondence


def names(model, keep=lambda name: True):
    return [name for name, _ in model.named_parameters() if keep(name)]


@pytest.fixture(scope="module")
def language():
    return language_model()


def test_a_frozen_body_under_a_new_head(language):
    head = classifier_on(language)
    found = correspondence(language, head)
    body = names(head, lambda name: name != "score.weight")
    assert found.inherits == {name: name for name in body}
    assert (found.frozen, found.new, found.notes) == (body, ["score.weight"], [])


def test_some_layers_trained(language):
    model = nudged(classifier_on(language), lambda name: ".h.1." in name)
    found = correspondence(language, model)
    trained = names(model, lambda name: ".h.1." in name)
    assert [name for name in found.inherits if name not in found.frozen] == trained
    there = dict(language.named_parameters())
    for name in trained:
        origin = there[name]
        apart = (dict(model.named_parameters())[name] - origin).detach().norm() / origin.detach().norm()
        assert found.moved[name] == pytest.approx(float(apart) if origin.any() else 1.0, rel=1e-4)
    table = "\n".join(found.lines())
    assert [line.split()[0] for line in found.lines() if ".attn.c_attn." in line] == [
        f"transformer.h.{layer}.attn.c_attn.{{weight,bias}}" for layer in (0, 1)
    ]
    assert "inherited and trained" in table


def test_a_head_of_one_name_and_shape_begun_anew():
    before = seeded(0, lambda: models.resnet18(num_classes=4))
    after = nudged(copy.deepcopy(before), lambda name: not name.startswith("fc"))
    kept = nudged(copy.deepcopy(before), lambda name: True, by=0.3)
    with torch.no_grad():
        after.fc = seeded(5, lambda: nn.Linear(512, 4))
        after.fc.bias.copy_(before.fc.bias)  # as if both had begun at zero
    found = correspondence(before, after)
    assert found.new == ["fc.weight", "fc.bias"]
    assert "fc" in found.notes[0]
    assert correspondence(before, kept).new == []
    assert correspondence(before, after, inherits={"fc": "fc"}).new == []
    assert correspondence(before, kept, new=["fc"]).new == ["fc.weight", "fc.bias"]


def test_a_norm_within_a_head_follows_it():
    def network(seed):
        return seeded(
            seed, lambda: nn.Sequential(nn.Linear(30, 20), nn.Sequential(nn.Linear(20, 20), nn.LayerNorm(20)))
        )

    before, after = network(0), network(1)
    after[0].load_state_dict(before[0].state_dict())
    assert correspondence(before, after).new == ["1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias"]


def test_tied_weights(language):
    found = correspondence(language, nudged(copy.deepcopy(language), lambda name: True))
    assert found.tied == {"lm_head.weight": "transformer.wte.weight"}
    assert any("tied to transformer.wte.weight" in line for line in found.lines())


def test_adapters(language):
    made = lora(copy.deepcopy(language))
    found = correspondence(language, made)
    assert found.new == names(made, lambda name: "lora_" in name)
    assert sorted(found.inherits.values()) == sorted(names(language))
    assert set(found.inherits) == set(found.frozen)


def test_a_body_under_a_name():
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3
    )
    body = seeded(0, lambda: BertModel(config))
    whole = seeded(1, lambda: BertForSequenceClassification(config))
    whole.bert.load_state_dict(body.state_dict())
    there = correspondence(body, whole)
    assert there.inherits == {f"bert.{name}": name for name in names(body)}
    assert there.new == ["classifier.weight", "classifier.bias"]
    other = BertForSequenceClassification(config)
    other.bert.load_state_dict(body.state_dict())
    assert correspondence(other, nudged(body, lambda name: "attention" in name)).inherits == {
        name: f"bert.{name}" for name in names(body)
    }


def test_half_precision_of_one_is_no_training(language):
    rounded = copy.deepcopy(language).to(torch.bfloat16).float()
    with torch.no_grad():
        rounded.transformer.h[1].mlp.c_fc.weight.mul_(1.1)
    found = correspondence(language, rounded)
    assert [n for n in found.inherits if n not in found.frozen] == ["transformer.h.1.mlp.c_fc.weight"]
    assert "rounding of half precision" in " ".join(found.notes)


def test_a_grown_vocabulary_is_told_of(language):
    grown = copy.deepcopy(language)
    grown.resize_token_embeddings(23)
    found = correspondence(language, nudged(grown, lambda name: ".h." in name))
    assert found.new == ["transformer.wte.weight"]
    assert "(23, 16), before (20, 16)" in found.notes[0]


def test_statistics_that_went_on_are_told_of():
    before = seeded(0, lambda: models.resnet18(num_classes=4))
    after = nudged(copy.deepcopy(before), lambda name: True)
    after.bn1.running_mean += 1
    assert "1 statistics of batch normalisation" in correspondence(before, after).notes[-1]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: language_model(n_embd=8), "shapes differ.*transformer.wte.weight"),
        (lambda: models.resnet18(num_classes=4), "no names and shapes agree.*conv1.weight"),
        (lambda: language_model(seed=7), "no value of the finetuned one has anything to do"),
        (language_model, "the finetuning trained nothing"),
    ],
)
def test_models_that_do_not_belong_together(other, said, language):
    with pytest.raises(StudyError, match=said):
        correspondence(language, other())


def test_statements_that_do_not_fit(language):
    model = classifier_on(language)
    with pytest.raises(StudyError, match="'bert' matches no parameter"):
        correspondence(language, model, frozen=["bert"])
    with pytest.raises(StudyError, match="the pretrained model lacks"):
        correspondence(language, model, inherits={"score": "score"})
    with pytest.raises(StudyError, match="keeps its shape"):
        correspondence(language, model, inherits={"score.weight": "transformer.wpe.weight"})
    moved = nudged(classifier_on(language), lambda name: ".h.1." in name)
    assert "stated to be frozen" in correspondence(language, moved, frozen=["transformer"]).notes[0]
