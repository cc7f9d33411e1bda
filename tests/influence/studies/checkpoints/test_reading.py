"""Checkpoints are read as their makers' own code reads them; what is wrong with one is said by name."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from saved_models import (
    WORDS,
    classifier_on,
    language_model,
    lora,
    nudged,
    saved,
    seeded,
    tokenizer,
)
from torchvision import models
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from influence.errors import StudyError
from influence.studies.checkpoints import read_checkpoint

IDS = torch.tensor([[3, 4, 5, 6]])


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    return saved(language_model(), tmp_path_factory.mktemp("language") / "gpt2", tokenizer())


@pytest.fixture(scope="module")
def network():
    """ResNet-18 with five classes, at random."""
    return seeded(0, lambda: models.resnet18(num_classes=5)).eval()


def same_outputs(model, other, given=None):
    with torch.no_grad():
        one, two = (each.eval()(input_ids=IDS).logits if given is None else each(given) for each in (model, other))
    return torch.allclose(one, two, atol=1e-5)


# Folders of transformers


def test_a_folder_is_read_as_transformers_reads_it(language):
    made = read_checkpoint(language)
    assert (made.architecture, made.notes, made.model.training) == ("GPT2LMHeadModel", [], False)
    assert same_outputs(made.model, AutoModelForCausalLM.from_pretrained(language))
    assert made.tokenizer()("w0 w3 other")["input_ids"] == [2, 5, 1]


def test_shards_and_half_precision(tmp_path):
    original = language_model().to(torch.bfloat16)
    original.save_pretrained(tmp_path / "it", max_shard_size="10KB")
    assert len(list((tmp_path / "it").glob("*.safetensors"))) > 1
    made = read_checkpoint(tmp_path / "it")
    assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    assert "bfloat16" in made.notes[0]
    assert same_outputs(made.model, original.float())
    shard = min((tmp_path / "it").glob("*.safetensors"))
    shard.unlink()
    with pytest.raises(StudyError, match=f"missing: {shard.name}"):
        read_checkpoint(tmp_path / "it")


def test_a_config_that_names_no_class_is_told_what_it_does(language, tmp_path):
    folder = saved(language_model(), tmp_path / "it")
    edited(folder, architectures=None)
    with pytest.raises(StudyError, match="does not say the model's class"):
        read_checkpoint(folder)
    assert read_checkpoint(folder, task="causal").architecture == "GPT2LMHeadModel"


def edited(folder, file="config.json", **changes):
    """Change entries of a config; None takes one out."""
    config = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "homemade"}, "model_type 'homemade', which transformers"),
        ({"architectures": ["HomemadeForCausalLM"]}, "class 'HomemadeForCausalLM'"),
        ({"architectures": ["os"]}, "class 'os'"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "code of its own.*evil.Model"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"quantised \(gptq\)"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "lack score.weight"),
        ({"n_embd": 8}, "config.json|shape|cannot be read"),
    ],
)
def test_configs_that_do_not_describe_the_weights(changes, said, tmp_path):
    folder = saved(language_model(), tmp_path / "it")
    (folder / "evil.py").write_text("raise SystemExit('this code was run')")
    edited(folder, **changes)
    with pytest.raises(StudyError, match=said) as raised:
        read_checkpoint(folder)
    assert str(folder) in str(raised.value)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (half, "not downloaded to its end"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"), "git lfs pull"),
        (lambda path: path.rename(path.parent / "model.safetensors.incomplete"), "incomplete was not downloaded"),
        (lambda path: path.write_bytes(b""), "not downloaded to its end"),
        (lambda path: path.unlink(), "holds no weights"),
        (lambda path: save_file({n: t.to(torch.int8) for n, t in load_file(path).items()}, path), "quantised.*I8"),
        (lambda path: save_file({n: t.to(torch.float8_e4m3fn) for n, t in load_file(path).items()}, path), "F8_E4M3"),
        (lambda path: save_file({n: t * torch.nan for n, t in load_file(path).items()}, path), "not finite"),
    ],
)
def test_damaged_weights(damage, said, tmp_path):
    folder = saved(language_model(), tmp_path / "it")
    damage(folder / "model.safetensors")
    with pytest.raises(StudyError, match=said):
        read_checkpoint(folder)


def test_what_is_no_checkpoint(tmp_path, language):
    with pytest.raises(StudyError, match="does not exist"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="neither config.json nor adapter_config.json"):
        read_checkpoint(tmp_path)
    with pytest.raises(StudyError, match=f"one of the folders in it, {language.name}"):
        read_checkpoint(language.parent)
    with pytest.raises(StudyError, match="leave out --arch"):
        read_checkpoint(language, arch="resnet18")
    with pytest.raises(StudyError, match="give --arch"):
        read_checkpoint(language / "model.safetensors")


def test_a_tokenizer_larger_than_the_embedding(tmp_path, language):
    folder = saved(language_model(), tmp_path / "it", tokenizer([*WORDS, "more"]))
    with pytest.raises(StudyError, match=r"ids up to 20, the model embeds 20"):
        read_checkpoint(folder).tokenizer()
    with pytest.raises(StudyError, match="holds no tokenizer"):
        read_checkpoint(saved(language_model(), tmp_path / "other")).tokenizer()


# Adapters


def test_an_adapter_is_read_onto_its_base(language, tmp_path):
    folder = saved(lora(GPT2LMHeadModel.from_pretrained(language)), tmp_path / "lora")
    base = read_checkpoint(language)
    before = {n: p.clone() for n, p in base.model.named_parameters()}
    made = read_checkpoint(folder, base=base)
    assert (made.architecture, made.base, made.notes) == ("GPT2LMHeadModel", base, [])
    assert same_outputs(made.model, PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(language), folder))
    assert not same_outputs(made.model, base.model)
    assert list(before) == [n for n, _ in base.model.named_parameters()]
    assert all(torch.equal(before[n], p) and p.requires_grad for n, p in base.model.named_parameters())
    assert {n.rpartition(".lora_")[1] for n, p in made.model.named_parameters() if p.requires_grad} == {".lora_"}
    memory = {p.data_ptr() for p in base.model.parameters()}
    assert all(p.data_ptr() in memory for n, p in made.model.named_parameters() if "lora_" not in n)
    assert made.tokenizer().get_vocab() == tokenizer().get_vocab()


def test_an_adapter_with_a_head_of_its_own(language, tmp_path):
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["c_attn"])
    inner = classifier_on(GPT2LMHeadModel.from_pretrained(language), classes=4)
    original = nudged(get_peft_model(inner, config), lambda name: "lora_" in name or "modules_to_save" in name)
    made = read_checkpoint(saved(original, tmp_path / "lora"), base=read_checkpoint(language))
    assert made.architecture == "GPT2ForSequenceClassification"
    assert same_outputs(made.model, original)


@pytest.mark.parametrize("changes", [{"n_embd": 8}, {"n_layer": 1}])
def test_an_adapter_of_another_base(changes, language, tmp_path):
    folder = saved(lora(language_model()), tmp_path / "lora")
    other = saved(language_model(**changes), tmp_path / "other")
    with pytest.raises(StudyError, match=f"lora does not fit the model in {other}"):
        read_checkpoint(folder, base=read_checkpoint(other))
    with pytest.raises(StudyError, match="give its base"):
        read_checkpoint(folder)


def test_an_adapter_that_names_another_base_is_told_of(language, tmp_path):
    folder = saved(lora(language_model()), tmp_path / "lora")
    edited(folder, "adapter_config.json", base_model_name_or_path="someone/other")
    assert "'someone/other'" in read_checkpoint(folder, base=read_checkpoint(language)).notes[0]


# State dicts


def state_dicts(network):
    own = network.state_dict()
    return {
        "plain": (own, "plain.pt"),
        "safetensors": (own, "plain.safetensors"),
        "parallel": ({f"module.{n}": t for n, t in own.items()}, "parallel.pth"),
        "compiled": ({f"module._orig_mod.{n}": t for n, t in own.items()}, "compiled.pt"),
        "nested": ({"epoch": 3, "state_dict": {f"model.{n}": t for n, t in own.items()}}, "nested.ckpt"),
        "training": ({"model": own, "optimizer": {"state": {0: own["fc.weight"]}}}, "training.pt"),
        "half": ({n: t.half() if t.is_floating_point() else t for n, t in own.items()}, "half.pt"),
    }


@pytest.mark.parametrize("kind", ["plain", "safetensors", "parallel", "compiled", "nested", "training", "half"])
def test_state_dicts(kind, network, tmp_path):
    held, name = state_dicts(network)[kind]
    (save_file if kind == "safetensors" else torch.save)(held, tmp_path / name)
    made = read_checkpoint(tmp_path / name, arch="resnet18")
    assert made.model.fc.out_features == 5
    values = network.state_dict() if kind != "half" else {n: t.to(made.model.state_dict()[n]) for n, t in held.items()}
    assert all(torch.equal(t, values[n]) for n, t in made.model.state_dict().items())
    said = {"nested": "'state_dict'", "training": "'model'", "half": "float16"}
    assert said.get(kind, "") in " ".join(made.notes)
    assert bool(made.notes) == (kind in ("nested", "training", "half"))


def test_timm(tmp_path):
    import timm

    network = seeded(0, lambda: timm.create_model("test_vit", num_classes=7))
    torch.save(network.state_dict(), tmp_path / "vit.pt")
    made = read_checkpoint(tmp_path / "vit.pt", arch="timm:test_vit")
    given = torch.randn(2, 3, 160, 160)
    assert same_outputs(made.model, network.eval(), given)
    with pytest.raises(StudyError, match=r"no network 'test_vitt'.*Did you mean test_vit"):
        read_checkpoint(tmp_path / "vit.pt", arch="timm:test_vitt")


def test_another_architecture_is_suggested(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "it.pt")
    with pytest.raises(StudyError, match=r"not of resnet34.*the file lacks \d+ \(layer1.2.*They fit --arch resnet18"):
        read_checkpoint(tmp_path / "it.pt", arch="resnet34")
    with pytest.raises(StudyError, match="Did you mean resnet18"):
        read_checkpoint(tmp_path / "it.pt", arch="resnet81")


class Homemade(torch.nn.Linear):
    pass


def test_pickles_are_refused(tmp_path):
    whole, plain, rest = tmp_path / "whole.pt", tmp_path / "plain.pt", tmp_path / "rest.pt"
    torch.save(Homemade(2, 2), whole)
    plain.write_bytes(pickle.dumps({"weight": [1.0]}))
    torch.save({"epoch": 3}, rest)
    with pytest.raises(StudyError, match=r"whole module.*state_dict"):
        read_checkpoint(whole, arch="resnet18")
    with pytest.raises(StudyError, match=str(plain)):
        read_checkpoint(plain, arch="resnet18")
    with pytest.raises(StudyError, match="expected a state dict"):
        read_checkpoint(rest, arch="resnet18")
    half(whole)
    with pytest.raises(StudyError, match="cannot be read as weights"):
        read_checkpoint(whole, arch="resnet18")


def test_nothing_is_asked_of_the_network(language, tmp_path, monkeypatch):
    folder, asked = saved(lora(language_model()), tmp_path / "lora"), []
    edited(folder, "adapter_config.json", base_model_name_or_path="someone/other")
    monkeypatch.setattr("socket.getaddrinfo", lambda *where, **_: asked.append(where))
    made = read_checkpoint(folder, base=read_checkpoint(language))
    assert made.tokenizer()
    assert asked == []
