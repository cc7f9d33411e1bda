"""The settings: models at the size that people have, on made-up data, since time and memory do not depend on these.

No model is trained to a minimum: a few steps set what batch normalisation keeps. The scores are not looked at.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study

CLASSES, TOPICS = 10, 5
"""Of the pretraining, of the finetuning."""
IGNORED = -100


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of everything; `side` of a picture in pixels, `length` of a text in tokens."""

    pretrain: int
    finetune: int
    queries: int
    side: int = 32
    length: int = 48
    width: int = 256
    layers: int = 6
    vocabulary: int = 12_000
    batch: int = 64
    """Of the plain training epoch."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A row of the table.

    Attributes:
        what: in words.
        build: of a size, the study.
        size, smoke: as in the issue, and the smallest that shows that it runs.
        epochs, gigabytes: to be reached; 0: no such aim.
    """

    what: str
    build: Callable[[Size], Study]
    size: Size
    smoke: Size
    epochs: float
    gigabytes: float


def loss(outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
    return cross_entropy(outputs, batch[1], reduction="none")


# Pictures


def pictures(count: int, classes: int, side: int, seed: int) -> TensorDataset:
    """Noise over a pattern of the class."""
    g = torch.Generator().manual_seed(seed)
    patterns = torch.randn(classes, 3, side, side, generator=torch.Generator().manual_seed(classes))
    labels = torch.randint(classes, (count,), generator=g)
    return TensorDataset(0.5 * patterns[labels] + torch.randn(count, 3, side, side, generator=g), labels)


def resnet(size: Size, frozen: bool) -> Study:
    torch.manual_seed(0)
    first = resnet18(size.width)
    data = pictures(size.pretrain, CLASSES, size.side, 1), pictures(size.finetune, TOPICS, size.side, 2)
    steps(first, data[0], first.parameters())
    second = copy.deepcopy(first)
    second.fc = nn.Linear(second.fc.in_features, TOPICS)
    steps(second, data[1], (second.fc if frozen else second).parameters(), statistics=not frozen)
    held: dict[str, Any] = {"frozen": ["[!f]*"]} if frozen else {"proximity": 0.01}
    return Study(
        "resnet",
        [Stage("pretrain", first, loss, data[0], l2=1e-3), Stage("finetune", second, loss, data[1], l2=1e-3, **held)],
        pictures(size.queries, TOPICS, size.side, 3),
    )


def resnet18(width: int) -> nn.Module:
    """torchvision's; for a smoke test one of this width, by timm."""
    if width < 64:
        import timm

        return timm.models.ResNet(timm.models.resnet.BasicBlock, (1, 1, 1, 1), CLASSES, channels=(width,) * 4)
    import torchvision

    return torchvision.models.resnet18(num_classes=CLASSES)


def steps(model: nn.Module, data: TensorDataset, parameters: Any, statistics: bool = True, count: int = 4) -> None:
    """A few steps of stochastic gradient descent."""
    optimiser = torch.optim.SGD(parameters, 0.01)
    model.train(statistics)
    for x, y in [*zip(*(t.split(64) for t in data.tensors), strict=True)][:count]:
        optimiser.zero_grad()
        cross_entropy(model(x), y).backward()
        optimiser.step()
    model.eval()


# Texts


class Texts(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Tokens that follow each other by a rule, with noise; `topics`: also a class."""

    def __init__(self, count: int, size: Size, seed: int, topics: int = 0):
        g = torch.Generator().manual_seed(seed)
        start = torch.randint(size.vocabulary, (count, 1), generator=g)
        steps_ = torch.randint(1, 7, (count, size.length), generator=g).cumsum(1)
        self.ids, self.topics = (start + steps_) % size.vocabulary, topics

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids[place], **({"topic": self.ids[place, -1] % self.topics} if self.topics else {})}


def next_token(outputs: Any, batch: Any) -> Tensor:
    """Sum over a text of its tokens' losses, (B,)."""
    logits, wanted = outputs.logits[:, :-1], batch["input_ids"][:, 1:]
    return cross_entropy(logits.mT, wanted, reduction="none").sum(1)


def of_topic(outputs: Any, batch: Any) -> Tensor:
    return cross_entropy(outputs.logits, batch["topic"], reduction="none")


def forward(model: nn.Module, batch: Any) -> Any:
    return model(input_ids=batch["input_ids"])


def gpt2(size: Size, adapter: bool = False) -> Study:
    from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=size.vocabulary, n_positions=size.length, n_embd=size.width, n_layer=size.layers, n_head=4,
        pad_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
    )  # fmt: skip
    config.num_labels = TOPICS
    first, second = GPT2LMHeadModel(config), GPT2ForSequenceClassification(config)
    second.transformer.load_state_dict(first.transformer.state_dict())
    held: dict[str, Any] = {"proximity": 0.01}
    model: nn.Module = second
    if adapter:
        from peft import LoraConfig, get_peft_model

        given = LoraConfig(task_type="SEQ_CLS", r=8, target_modules=["c_attn"], fan_in_fan_out=True)
        model = get_peft_model(second, given)
        held = {"frozen": ["*base_layer*", "*.wte.*", "*.wpe.*", "*.ln_*", "*.c_proj.*", "*.mlp.*"]}
    held = {"l2": 1e-3, "forward": forward, **held}
    return Study(
        "gpt2",
        [
            Stage("pretrain", first, next_token, Texts(size.pretrain, size, 1), l2=1e-3, forward=forward),
            Stage("finetune", model, of_topic, Texts(size.finetune, size, 2, TOPICS), **held),
        ],
        Texts(size.queries, size, 3, TOPICS),
    )


def smollm2(size: Size) -> Study:
    """The shape of SmolLM2-135M, one stage: its own texts, its own tokens' losses."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocabulary, hidden_size=size.width, intermediate_size=size.width * 8 // 3,
        num_hidden_layers=size.layers, num_attention_heads=9, num_key_value_heads=3,
        max_position_embeddings=size.length, tie_word_embeddings=True, use_cache=False, pad_token_id=0,
    )  # fmt: skip
    stage = Stage(
        "pretrain", LlamaForCausalLM(config), next_token, Texts(size.pretrain, size, 1), l2=1e-3, forward=forward
    )
    return Study("smollm2", [stage], Texts(size.queries, size, 3))


RESNET, SMALL_RESNET = Size(2000, 500, 100), Size(12, 8, 3, width=8)
GPT2 = Size(10_000, 1000, 100)
SMALL_GPT2 = Size(12, 8, 3, length=8, width=16, layers=1, vocabulary=50)
SMOLLM2 = Size(500, 0, 10, length=128, width=576, layers=30, vocabulary=49_152, batch=8)
SMALL_SMOLLM2 = Size(6, 0, 2, length=8, width=36, layers=1, vocabulary=50)

SETTINGS = {
    "resnet-frozen": Setting(
        "ResNet-18, frozen body", lambda size: resnet(size, True), RESNET, SMALL_RESNET, epochs=20, gigabytes=4
    ),
    "resnet-updated": Setting(
        "ResNet-18, updated body", lambda size: resnet(size, False), RESNET, SMALL_RESNET, epochs=20, gigabytes=4
    ),
    "gpt2": Setting("GPT-2 of 6 layers, updated body", gpt2, GPT2, SMALL_GPT2, epochs=8, gigabytes=4),
    "lora": Setting("LoRA on the same", lambda size: gpt2(size, True), GPT2, SMALL_GPT2, epochs=8, gigabytes=4),
    "smollm2": Setting("SmolLM2's shape, one stage", smollm2, SMOLLM2, SMALL_SMOLLM2, epochs=0, gigabytes=8),
}
"""By name. Families and `--texts` get their rows here, too."""
