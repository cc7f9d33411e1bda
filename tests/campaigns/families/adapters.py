"""Adapters of `peft` on small networks: only what an adapter trains counts, the base is frozen."""

from __future__ import annotations

import functools

import peft
import torch
import transformers
from comparison import DIRECT, Row, Setup
from torch import nn
from torch.nn import functional as fn

from families.transformers_models import GPT, PLACES, SIZES, TEXT, WORDS, M, Q, logits, over_classes, padded, texts

KIND = "Adapters of peft"


def bert():
    return transformers.BertForSequenceClassification(transformers.BertConfig(**TEXT, **SIZES, **PLACES))


def gpt():
    return transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**TEXT, **GPT))


def stirred(model):
    """Adapters begin at zero, where half of their derivatives vanish; after training they stand elsewhere."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def adapted(config, base=bert, forward=logits, **options):
    """A setup of a network with the adapter of a configuration."""

    def make():
        chosen = config(**({"task_type": "SEQ_CLS"} | options))
        model = stirred(peft.get_peft_model(base(), chosen))
        frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
        rows = texts()
        return Setup(
            model, over_classes, rows[:M], rows[M:], forward=forward, collate=padded, frozen=frozen, methods=DIRECT
        )

    return make


on_attention = functools.partial(adapted, target_modules=["query", "value"])


class Net(nn.Module):
    """Layers that adapters other than of attention are made for."""

    def __init__(self):
        super().__init__()
        self.table, self.conv = nn.Embedding(WORDS, 4), nn.Conv1d(4, 4, 3, padding=1)
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = torch.tanh(self.conv(self.table(x).transpose(1, 2))).mean(2)
        return self.head(torch.tanh(self.body(h)))


def plain(config):
    """An adapter of a network of the user's own."""

    def make():
        return classified(stirred(peft.get_peft_model(Net(), config())))

    return make


def classified(model):
    """The setup of an adapted `Net` on random words."""
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    rows = [(torch.randint(0, WORDS, (5,)), torch.tensor(i % 3)) for i in range(M + Q)]
    return Setup(
        model,
        lambda o, b: fn.cross_entropy(o, b[1], reduction="none"),
        rows[:M],
        rows[M:],
        frozen=frozen,
        methods=DIRECT,
    )


def mixed():
    """Two adapters at once, both trained."""
    model = peft.get_peft_model(Net(), peft.LoraConfig(r=1, target_modules=["body"]))
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["body"]))
    model.base_model.set_adapter(["default", "other"])
    return classified(stirred(model))


ADAPTERS = {
    "LoRA": on_attention(peft.LoraConfig, r=2),
    "LoRA, rank-stabilised": on_attention(peft.LoraConfig, r=2, use_rslora=True),
    "LoRA with biases": on_attention(peft.LoraConfig, r=1, bias="lora_only"),
    "LoRA, a module to save": on_attention(peft.LoraConfig, r=1, modules_to_save=["pooler"]),
    "LoRA on all linear layers": adapted(peft.LoraConfig, r=1, target_modules="all-linear"),
    "LoRA of embedding and convolution": plain(lambda: peft.LoraConfig(r=1, target_modules=["table", "conv", "body"])),
    "LoRA on GPT-2 (Conv1D)": adapted(peft.LoraConfig, gpt, r=1, target_modules=["c_attn"], fan_in_fan_out=True),
    "LoRA, two adapters at once": mixed,
    "DoRA": on_attention(peft.LoraConfig, r=2, use_dora=True),
    "AdaLoRA": on_attention(peft.AdaLoraConfig, init_r=2, target_r=1, total_step=10, tinit=1, tfinal=1),
    "IA3": adapted(
        peft.IA3Config, target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]
    ),
    "LoHa": on_attention(peft.LoHaConfig, r=2),
    "LoKr": on_attention(peft.LoKrConfig, r=2),
    "VeRA": on_attention(peft.VeraConfig, r=2),
    "OFT": on_attention(peft.OFTConfig, r=0, oft_block_size=2),
    "BOFT": on_attention(peft.BOFTConfig, boft_block_size=2),
    "HRA": on_attention(peft.HRAConfig, r=2),
    "FourierFT": on_attention(peft.FourierFTConfig, n_frequency=5),
    "LayerNorm tuning": adapted(peft.LNTuningConfig, target_modules=["LayerNorm"]),
    "Prompt tuning": adapted(peft.PromptTuningConfig, num_virtual_tokens=2),
    "Prefix tuning": adapted(peft.PrefixTuningConfig, gpt, num_virtual_tokens=2),
    "P-tuning": adapted(peft.PromptEncoderConfig, num_virtual_tokens=2, encoder_hidden_size=4),
}
QUICK = {"LoRA", "DoRA", "IA3", "LoRA of embedding and convolution", "LayerNorm tuning", "Prompt tuning"}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in ADAPTERS.items()]
