"""Architectures of Hugging Face's `transformers`, from small configurations at random values."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import transformers
from comparison import DIRECT, Row, Setup
from torch import nn
from torch.nn import functional as fn
from torch.nn.utils.rnn import pad_sequence

transformers.logging.set_verbosity_error()

KIND = "Transformers"
WORDS, LENGTH, CLASSES = 11, 6, 3
M, Q = 9, 3
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {"vocab_size": WORDS, "num_labels": CLASSES, **IDS}
SIZES = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}
PLACES = {"max_position_embeddings": 12}
PICTURE = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": CLASSES}
KEYS = {"num_key_value_heads": 1}


def texts():
    """Texts of three to six words, the label told by the first one."""
    rows = [torch.randint(3, WORDS, (3 + i % 4,)) for i in range(M + Q)]
    return [(row, row[0] % CLASSES) for row in rows]


def padded(examples):
    words, labels = zip(*examples, strict=True)
    mask = pad_sequence([torch.ones_like(row) for row in words], batch_first=True)
    ids = pad_sequence(list(words), batch_first=True)
    wider = LENGTH - ids.shape[1]  # to one length, so that models with a summary of the last place see the same text
    return {
        "input_ids": fn.pad(ids, (0, wider)),
        "attention_mask": fn.pad(mask, (0, wider)),
        "labels": torch.stack(labels),
    }


def logits(model, batch):
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def unmasked(model, batch):
    return model(input_ids=batch["input_ids"]).logits


def over_classes(o, batch):
    return fn.cross_entropy(o, batch["labels"], reduction="none")


def over_words(o, batch):
    """Mean over the next words, each text by its own length."""
    each = fn.cross_entropy(o[:, :-1].transpose(1, 2), batch["input_ids"][:, 1:], reduction="none")
    weights = batch["attention_mask"][:, 1:]
    return (each * weights).sum(1) / weights.sum(1)


def over_translation(o, batch):
    return fn.cross_entropy(o.transpose(1, 2), batch["input_ids"][:, :LENGTH], reduction="none").mean(1)


def translated(model, batch):
    return model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], decoder_input_ids=batch["input_ids"]
    ).logits


def text(model, config, sizes, loss=over_classes, forward=logits, **rest):
    """A setup of texts."""

    def make():
        made = getattr(transformers, model)(getattr(transformers, config)(**{**TEXT, **sizes}))
        rows = texts()
        return Setup(made, loss, rows[:M], rows[M:], forward=forward, collate=padded, **({"methods": DIRECT} | rest))

    return make


def pictures(model, config, sizes, side=8, channels=1, **rest):
    def make():
        made = getattr(transformers, model)(getattr(transformers, config)(**{**PICTURE, **sizes}))
        for parameter in made.parameters():
            if not parameter.any():  # tokens and places begin at zero, where a normalisation divides by nearly nothing
                nn.init.normal_(parameter, std=0.1)
        rows = [(torch.randn(channels, side, side), torch.tensor(i % CLASSES)) for i in range(M + Q)]
        return Setup(
            made,
            lambda o, b: fn.cross_entropy(o.logits, b[1], reduction="none"),
            rows[:M],
            rows[M:],
            forward=lambda m, b: m(pixel_values=b[0]),
            methods=DIRECT,
            **rest,
        )

    return make


def experts():
    """Mixture of experts; its fused kernel knows no double precision, so the independent side takes the plain one."""
    setup = text("MixtralForCausalLM", "MixtralConfig", SIZES | PLACES | KEYS | EXPERTS, over_words)()
    plain = copy.deepcopy(setup.model)
    plain.set_experts_implementation("eager")
    return replace(setup, reference=replace(setup, model=plain))


def clip():
    """Picture and text towers; the loss of a pair is taken within itself, as no other example may enter."""
    tower = SIZES | {"projection_dim": 4}
    config = transformers.CLIPConfig(
        text_config=tower | {"vocab_size": WORDS, "max_position_embeddings": 12, **IDS},
        vision_config=tower | {"image_size": 8, "patch_size": 4, "num_channels": 1},
        projection_dim=4,
    )
    rows = [(torch.randn(1, 8, 8), torch.randint(3, WORDS, (5,)), torch.tensor(i % 2)) for i in range(M + Q)]

    def loss(o, b):
        near = (o.image_embeds * o.text_embeds).sum(-1)
        return fn.binary_cross_entropy_with_logits(3 * near, b[2].to(near), reduction="none")

    def forward(model, b):
        return model(pixel_values=b[0], input_ids=b[1], attention_mask=torch.ones_like(b[1]))

    return Setup(transformers.CLIPModel(config), loss, rows[:M], rows[M:], forward=forward, methods=DIRECT)


def whisper():
    config = transformers.WhisperConfig(
        vocab_size=WORDS,
        d_model=4,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=6,
        decoder_ffn_dim=6,
        num_mel_bins=5,
        max_source_positions=4,
        max_target_positions=8,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **IDS,
    )
    rows = [(torch.randn(5, 8), torch.randint(3, WORDS, (4,))) for _ in range(M + Q)]

    def forward(model, b):
        return model(input_features=b[0], decoder_input_ids=b[1]).logits

    def loss(o, b):
        return fn.cross_entropy(o[:, :-1].transpose(1, 2), b[1][:, 1:], reduction="none").mean(1)

    model = transformers.WhisperForConditionalGeneration(config)
    places = ["model.encoder.embed_positions.weight"]  # sines, which are not trained
    return Setup(model, loss, rows[:M], rows[M:], forward=forward, methods=DIRECT, frozen=places)


def sounds(model, config):
    def make():
        made = getattr(transformers, config)(
            **SIZES,
            conv_dim=(4, 4),
            conv_stride=(2, 2),
            conv_kernel=(3, 3),
            num_feat_extract_layers=2,
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            num_labels=CLASSES,
            vocab_size=WORDS,
            classifier_proj_size=4,
            mask_time_prob=0.0,
        )
        rows = [(torch.randn(40), torch.tensor(i % CLASSES)) for i in range(M + Q)]
        return Setup(
            getattr(transformers, model)(made),
            lambda o, b: fn.cross_entropy(o, b[1], reduction="none"),
            rows[:M],
            rows[M:],
            forward=lambda m, b: m(input_values=b[0]).logits,
            methods=DIRECT,
        )

    return make


GPT = {"n_positions": 12, "n_embd": 4, "n_layer": 1, "n_head": 2}
T5 = {"d_model": 4, "d_kv": 2, "d_ff": 6, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
BART = {
    "d_model": 4,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 6,
    "decoder_ffn_dim": 6,
    "max_position_embeddings": 12,
    "decoder_start_token_id": 2,
}
OPT = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 6, "word_embed_proj_dim": 4}
DEBERTA = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 4}
EXPERTS = {"intermediate_size": 8, "num_local_experts": 3, "num_experts_per_tok": 2}
SWIN = {"embed_dim": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "patch_size": 2}
CONV = {"hidden_sizes": [4, 6], "depths": [1, 1], "num_stages": 2, "patch_size": 2}

MODELS = {
    "BERT, classes": text("BertForSequenceClassification", "BertConfig", SIZES | PLACES),
    "BERT, words": text("BertForMaskedLM", "BertConfig", SIZES | PLACES, over_words),
    "RoBERTa, classes": text("RobertaForSequenceClassification", "RobertaConfig", SIZES | PLACES),
    "DistilBERT, classes": text(
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"dim": 4, "n_layers": 1, "n_heads": 2, "hidden_dim": 6},
    ),
    "ALBERT, classes (layers shared)": text(
        "AlbertForSequenceClassification",
        "AlbertConfig",
        SIZES | PLACES | {"embedding_size": 3, "num_hidden_layers": 2},
    ),
    "ELECTRA, classes": text(
        "ElectraForSequenceClassification", "ElectraConfig", SIZES | PLACES | {"embedding_size": 3}
    ),
    "DeBERTa-v2, classes": text("DebertaV2ForSequenceClassification", "DebertaV2Config", SIZES | PLACES | DEBERTA),
    "MPNet, classes": text("MPNetForSequenceClassification", "MPNetConfig", SIZES | PLACES),
    "XLNet, classes": text(
        "XLNetForSequenceClassification", "XLNetConfig", {"d_model": 4, "n_layer": 1, "n_head": 2, "d_inner": 6}
    ),
    "ModernBERT, classes": text(
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        SIZES | PLACES | {"cls_token_id": 1, "sep_token_id": 2, "global_attn_every_n_layers": 1},
    ),
    "FNet, classes (Fourier)": text("FNetForSequenceClassification", "FNetConfig", SIZES | PLACES, forward=unmasked),
    "GPT-2, classes": text("GPT2ForSequenceClassification", "GPT2Config", GPT),
    "GPT-2, next words": text("GPT2LMHeadModel", "GPT2Config", GPT, over_words),
    "GPT-Neo, next words": text(
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {"hidden_size": 4, "num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]]} | PLACES,
        over_words,
    ),
    "GPT-NeoX, next words": text("GPTNeoXForCausalLM", "GPTNeoXConfig", SIZES | PLACES, over_words),
    "OPT, next words": text("OPTForCausalLM", "OPTConfig", OPT | PLACES, over_words),
    "BLOOM, next words": text(
        "BloomForCausalLM", "BloomConfig", {"hidden_size": 4, "n_layer": 1, "n_head": 2}, over_words
    ),
    "Falcon, next words": text("FalconForCausalLM", "FalconConfig", SIZES | {"multi_query": True}, over_words),
    "Llama, next words": text("LlamaForCausalLM", "LlamaConfig", SIZES | PLACES | KEYS, over_words),
    "Mistral, next words": text(
        "MistralForCausalLM", "MistralConfig", SIZES | PLACES | KEYS | {"sliding_window": 3}, over_words
    ),
    "Mixtral, next words (experts)": experts,
    "Qwen2, classes": text("Qwen2ForSequenceClassification", "Qwen2Config", SIZES | PLACES | KEYS),
    "Qwen3, next words": text("Qwen3ForCausalLM", "Qwen3Config", SIZES | PLACES | KEYS | {"head_dim": 2}, over_words),
    "Gemma, next words": text("GemmaForCausalLM", "GemmaConfig", SIZES | PLACES | KEYS | {"head_dim": 2}, over_words),
    "Gemma 2, next words": text(
        "Gemma2ForCausalLM", "Gemma2Config", SIZES | PLACES | KEYS | {"head_dim": 2}, over_words
    ),
    "Phi, next words": text("PhiForCausalLM", "PhiConfig", SIZES | PLACES, over_words),
    "Mamba, next words": text(
        "MambaForCausalLM", "MambaConfig", {"hidden_size": 4, "num_hidden_layers": 1, "state_size": 2}, over_words
    ),
    "T5, translation": text("T5ForConditionalGeneration", "T5Config", T5, over_translation, translated),
    "BART, translation": text("BartForConditionalGeneration", "BartConfig", BART, over_translation, translated),
    "Marian, translation": text(
        "MarianMTModel", "MarianConfig", BART, over_translation, translated, frozen=("*embed_positions*",)
    ),
    "ViT": pictures("ViTForImageClassification", "ViTConfig", SIZES),
    "DeiT": pictures("DeiTForImageClassification", "DeiTConfig", SIZES),
    "BEiT": pictures("BeitForImageClassification", "BeitConfig", SIZES | {"use_relative_position_bias": True}),
    "Swin": pictures("SwinForImageClassification", "SwinConfig", SWIN),
    "ConvNeXt": pictures("ConvNextForImageClassification", "ConvNextConfig", CONV),
    "DINOv2": pictures("Dinov2ForImageClassification", "Dinov2Config", SIZES),
    "MobileViT": pictures(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {"hidden_sizes": [4, 4, 4], "neck_hidden_sizes": [4] * 7, "num_attention_heads": 2, "patch_size": 2},
        side=32,
    ),
    "Whisper": whisper,
    "wav2vec2": sounds("Wav2Vec2ForSequenceClassification", "Wav2Vec2Config"),
    "HuBERT": sounds("HubertForSequenceClassification", "HubertConfig"),
}
TOLD = {
    # A product of two outputs is convex in neither pair of them.
    "CLIP": (clip, "not convex"),
}
QUICK = {"BERT, classes", "GPT-2, next words", "Llama, next words", "T5, translation", "ViT", "DeBERTa-v2, classes"}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in MODELS.items()]
ROWS += [Row(KIND, name, make, told=told) for name, (make, told) in TOLD.items()]
