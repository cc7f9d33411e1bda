"""The study of two image classifiers as they were saved, against their makers' own processors and plain autograd."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from saved_models import nudged, saved, seeded
from torch import nn
from torchvision import models
from transformers import ViTConfig, ViTForImageClassification, ViTForMaskedImageModeling, ViTImageProcessorFast

from influence import attribute
from influence.errors import StudyError
from influence.studies.checkpoints import CheckpointImages, CheckpointOptions
from influence.studies.checkpoints.reading.preparation import of_architecture

COLOURS = {"red": (0,), "green": (1,), "blue": (2,), "yellow": (0, 1), "cyan": (1, 2)}
BEFORE, AFTER = ["red", "green", "blue"], ["yellow", "cyan"]


def image_study(models, folders, options=CheckpointOptions()):  # noqa: B008 - it is frozen
    return CheckpointImages(models, folders, options)


def drawn(colour, draw):
    """A noisy picture with more of some colours."""
    values = draw.integers(0, 120, (18, 24, 3))
    values[..., COLOURS[colour]] += draw.integers(60, 130)
    return Image.fromarray(values.astype("u1"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Class folders to pretrain on, to finetune on, and of test pictures."""
    root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, colours, count in (("pre", BEFORE, 6), ("fin", AFTER, 6), ("test", AFTER, 2)):
        for colour in colours:
            (root / part / colour).mkdir(parents=True)
            for number in range(count):
                drawn(colour, draw).save(root / part / colour / f"{number}.png")
    return root / "pre", root / "fin", root / "test"


def processor():
    return ViTImageProcessorFast(size={"height": 16, "width": 16}, image_mean=[0.4] * 3, image_std=[0.3] * 3)


def vit(names, seed=0, make=ViTForImageClassification, **changes):
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    return seeded(seed, lambda: make(ViTConfig(image_size=16, patch_size=8, **shape, **labels, **changes)))


@pytest.fixture(scope="module")
def vits(folders, tmp_path_factory):
    """A pretrained and a finetuned ViT as they were saved, each trained for some steps of Adam."""
    root = tmp_path_factory.mktemp("vits")
    before = trained(vit(["blue", "green", "red"]), folders[0])
    after = vit(["yellow", "cyan"], seed=1)
    after.vit.load_state_dict(before.vit.state_dict())
    for name, model in (("before", before), ("after", trained(after, folders[1]))):
        saved(model, root / name)
        processor().save_pretrained(root / name)
    return root / "before", root / "after"


def trained(model, folder):
    pixels, labels = loaded(folder, model.config.label2id)
    adam = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(25):
        adam.zero_grad()
        model(pixels, labels=labels).loss.backward()
        adam.step()
    return model.eval()


def loaded(folder, label2id):
    files = sorted(folder.glob("*/*.png"))
    pixels = [processor()(Image.open(file), return_tensors="pt")["pixel_values"][0] for file in files]
    return torch.stack(pixels), torch.tensor([label2id[file.parent.name] for file in files])


@pytest.fixture(scope="module")
def exhibit(vits, folders):
    return image_study(vits, folders).exhibit()


def test_pictures_are_prepared_and_numbered_as_the_models_own(exhibit, folders):
    for stage, folder in zip(exhibit.study.stages, folders, strict=False):
        pixels, labels = loaded(folder, stage.model.config.label2id)
        assert torch.allclose(torch.stack([stage.data[i][0] for i in range(len(stage.data))]), pixels)
        assert [stage.data[i][1] for i in range(len(stage.data))] == labels.tolist()
    assert exhibit.classes == {"pretrain": ["blue", "green", "red"], "finetune": ["yellow", "cyan"]}
    assert list(exhibit.queries.label) == ["cyan", "cyan", "yellow", "yellow"]
    assert exhibit.queries.source[0] == "cyan/0.png"


def test_the_body_is_inherited_and_trained(exhibit):
    second = exhibit.study.stages[1]
    assert set(second.inherits) == {n for n, _ in second.model.named_parameters() if not n.startswith("classifier")}
    assert (second.frozen, exhibit.variant, exhibit.train) == ((), "updated", False)
    assert second.proximity > 0


def test_scores_are_those_of_autograd(exhibit):
    """Of the last stage, with the identity as curvature: inner products of gradients."""
    stage = exhibit.study.stages[1]
    scores = attribute(exhibit.study, stage="finetune", method="identity", progress=False).values

    def slopes(row):
        pixels, label = row
        stage.model.zero_grad()
        stage.model(pixels[None], labels=torch.tensor([label])).loss.backward()
        return torch.cat([p.grad.flatten() for p in stage.model.parameters()])

    data = torch.stack([slopes(stage.data[i]) for i in range(len(stage.data))])
    queries = torch.stack([slopes(row) for row in (exhibit.study.queries[i] for i in range(4))])
    expected = (queries @ data.T).numpy()
    flat = np.asarray(scores).reshape(expected.shape)
    assert np.corrcoef(flat.ravel(), expected.ravel())[0, 1] == pytest.approx(1, abs=1e-5)


def test_a_picture_that_is_asked_about(exhibit, folders):
    with Image.open(folders[2] / "cyan" / "1.png") as picture:
        asked = exhibit.encode(picture)
    assert torch.equal(asked.item[0], exhibit.study.queries[1][0])
    assert exhibit.form == "picture"


def test_labels_that_the_head_has_not(vits, folders, tmp_path):
    with pytest.raises(
        StudyError, match=r"fin has the class 'cyan', which the model's head lacks; it has blue, green, red"
    ):
        image_study(vits, (folders[1], folders[0], folders[2])).exhibit()


def test_folders_named_in_other_ways(vits, folders, tmp_path):
    for name, colour in (("Yellow", "yellow"), ("1", "cyan")):
        (tmp_path / name).symlink_to(folders[1] / colour)
    data = image_study(vits, (folders[0], tmp_path, tmp_path)).exhibit().study.stages[1].data
    assert [data[i][1] for i in range(len(data))] == [1] * 6 + [0] * 6


def test_what_is_no_image_classifier(vits, folders, tmp_path):
    other = saved(vit([], make=ViTForMaskedImageModeling), tmp_path / "masked")
    with pytest.raises(StudyError, match="ViTForMaskedImageModeling, which is no image classifier"):
        image_study((other, vits[1]), folders)
    several = saved(vit(AFTER, problem_type="multi_label_classification"), tmp_path / "several")
    with pytest.raises(StudyError, match="multi_label_classification"):
        image_study((vits[0], several), folders)


def test_a_processor_of_another_size(vits, folders, tmp_path):
    model = ViTForImageClassification.from_pretrained(vits[1])
    saved(nudged(model, lambda name: True), tmp_path / "it")
    ViTImageProcessorFast(size={"height": 24, "width": 24}).save_pretrained(tmp_path / "it")
    with pytest.raises(StudyError, match=r"does not take pictures \(3, 24, 24\)"):
        image_study((vits[0], tmp_path / "it"), folders).exhibit()


def test_an_adapter_of_a_vit(vits, folders, tmp_path):
    inner = vit(AFTER, seed=1)
    inner.vit.load_state_dict(ViTForImageClassification.from_pretrained(vits[0]).vit.state_dict())
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"])
    model = nudged(get_peft_model(inner, config), lambda name: "lora_" in name or "modules_to_save" in name)
    found = image_study((vits[0], saved(model, tmp_path / "lora")), folders)
    assert found.variants == ("frozen",)
    made = found.exhibit().study.stages[1]
    pixels = made.data[0][0][None]
    assert torch.allclose(made.forward(made.model, [pixels]), model.eval()(pixels).logits, atol=1e-6)


# State dicts


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """State dicts of ResNet-18: ten classes, of which three have pictures; and two."""
    root = tmp_path_factory.mktemp("networks")
    before = seeded(0, lambda: models.resnet18(num_classes=10))
    after = nudged(copy.deepcopy(before), lambda name: "layer4" in name)
    after.fc = seeded(1, lambda: nn.Linear(512, 2))
    torch.save(before.state_dict(), root / "before.pt")
    torch.save({"state_dict": after.state_dict()}, root / "after.pt")
    return root / "before.pt", root / "after.pt"


def test_state_dicts_of_torchvision(networks, folders):
    found = image_study(
        networks, folders, CheckpointOptions(arch="resnet18", size=32, l2=["0.01"], queries=3, proximity=0.1)
    )
    exhibit = found.exhibit()
    first, second = exhibit.study.stages
    assert [n for n in second.inherits if n not in second.frozen] == [n for n in second.inherits if "layer4" in n]
    assert (first.data[0][0].shape, first.data[0][1], second.data[0][1]) == ((3, 32, 32), 0, 0)
    assert (len(exhibit.classes["pretrain"]), exhibit.classes["finetune"]) == (10, ["cyan", "yellow"])
    assert (first.l2, second.proximity) == (0.01, 0.1)
    assert len(exhibit.queries) == 3
    notes = " ".join(exhibit.notes)
    assert "10 outputs without names" in notes
    assert "no more than guessing does" in notes


def test_processors_of_networks(networks):
    weights = models.ResNet18_Weights.DEFAULT.transforms()
    picture = drawn("red", np.random.default_rng(1)).resize((300, 260))
    assert torch.equal(of_architecture("resnet18", nn.Identity(), 0)(picture), weights(picture))
    small = of_architecture("resnet18", nn.Identity(), 32)(picture)
    assert small.shape == (3, 32, 32)
    import timm

    network = timm.create_model("test_resnet")
    usual = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network), is_training=False)
    assert torch.equal(of_architecture("timm:test_resnet", network, 0)(picture), usual(picture))
    assert of_architecture("timm:test_resnet", network, 32)(picture).shape == (3, 32, 32)
