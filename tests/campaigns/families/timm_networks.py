"""Networks of `timm`: small ones whole, large ones by a part of their parameters."""

from __future__ import annotations

import functools

import timm
import torch
from comparison import Row, Setup
from timm.layers import GatedMlp
from timm.models import convmixer, metaformer, mlp_mixer
from torch.nn import functional as fn

KIND = "Networks of timm"
M, Q, CLASSES = 9, 3, 3
DIRECT = ("identity", "exact", "index")


def network(name, side=32, methods=DIRECT, frozen=(), **options):
    """A network at random values, its running statistics drawn too."""

    def make():
        build = functools.partial(timm.create_model, name, pretrained=False) if isinstance(name, str) else name
        model = build(num_classes=CLASSES, **options)
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
            elif buffer_name.endswith("running_mean"):
                buffer.uniform_(-0.3, 0.3)
        rows = [(torch.randn(3, side, side), torch.tensor(i % CLASSES)) for i in range(M + Q)]
        return Setup(
            model,
            lambda o, b: fn.cross_entropy(o, b[1], reduction="none"),
            rows[:M],
            rows[M:],
            frozen=frozen,
            methods=methods,
            tolerance=2e-3,
        )

    return make


PASSES = ("identity", "cg")
"""For networks whose parameters have no layer rule everywhere: `exact` would take thousands of passes."""
VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}
MIXER = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "num_blocks": 2}
HIERARCHY = {"depths": (1, 1, 1, 1), "dims": (4, 4, 6, 6)}
NETWORKS = {
    "ViT": network("vit_tiny_patch16_224", 16, **VIT),
    "ViT, learned scales, registers": network("vit_tiny_patch16_224", 16, init_values=1e-1, reg_tokens=2, **VIT),
    "DeiT, distilled": network("deit_tiny_distilled_patch16_224", 16, **VIT),
    "CaiT": network("cait_xxs24_224", 16, **VIT),
    "BEiT": network("beit_base_patch16_224", 16, **VIT),
    "EVA-02": network("eva02_tiny_patch14_224", 16, **VIT),
    "MLP-Mixer": network(mlp_mixer.MlpMixer, 16, **MIXER),
    "ResMLP": network(
        mlp_mixer.MlpMixer, 16, block_layer=mlp_mixer.ResBlock, norm_layer=mlp_mixer.Affine, mlp_ratio=2, **MIXER
    ),
    "gMLP": network(
        mlp_mixer.MlpMixer, 16, block_layer=mlp_mixer.SpatialGatingBlock, mlp_layer=GatedMlp, mlp_ratio=2, **MIXER
    ),
    "Swin": network(
        "swin_tiny_patch4_window7_224", 32, img_size=32, window_size=4, embed_dim=8, depths=(1, 1), num_heads=(2, 2)
    ),
    "Swin V2": network(
        "swinv2_tiny_window8_256", 32, img_size=32, window_size=4, embed_dim=8, depths=(1, 1), num_heads=(2, 2)
    ),
    "ConvNeXt": network("convnext_atto", 32, **HIERARCHY),
    "ConvNeXt V2": network("convnextv2_atto", 32, **HIERARCHY),
    "ResNet": network("resnet10t", 32, channels=(4, 4, 6, 6), stem_width=4),
    "PoolFormer": network(metaformer.MetaFormer, 32, token_mixers=metaformer.Pooling, **HIERARCHY),
    "MetaFormer, convolution": network(metaformer.MetaFormer, 32, token_mixers=metaformer.SepConv, **HIERARCHY),
    "ConvMixer": network(convmixer.ConvMixer, 32, dim=8, depth=2, kernel_size=3, patch_size=8),
    "PVT v2": network("pvt_v2_b0", 32, depths=(1, 1, 1, 1), embed_dims=(4, 4, 8, 8), num_heads=(1, 1, 2, 2)),
    "LeViT": network(
        "levit_128s", 64, embed_dim=(16, 16, 16), num_heads=(1, 1, 1), key_dim=8, depth=(1, 1, 1), img_size=64
    ),
    "TinyViT": network(
        "tiny_vit_5m_224",
        64,
        embed_dims=(8, 8, 8, 8),
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 2, 2),
        window_sizes=(4, 4, 2, 2),
        methods=PASSES,
    ),
    "MobileNet v3": network("mobilenetv3_small_050"),
    "MobileNet v2": network("mobilenetv2_035"),
    "EfficientNet": network("efficientnet_lite0", methods=("identity",)),
    "GhostNet": network("ghostnet_050", methods=("identity",)),
    "RepVGG": network("repvgg_a0", methods=("identity",), frozen=("stages.2*", "stages.3*")),
    "RegNet": network("regnetx_002", methods=("identity",)),
    "LCNet": network("lcnet_050"),
    "FasterNet": network("fasternet_t0", methods=("identity",)),
    "EdgeNeXt": network("edgenext_xx_small", 64, methods=("identity",)),
    "MobileViT": network("mobilevit_xxs", 64, methods=("identity",)),
    "XCiT": network("xcit_nano_12_p16_224", 32, PASSES, img_size=32, embed_dim=8, depth=1, num_heads=2),
    "CoaT": network("coat_lite_tiny", 32, img_size=32, embed_dims=(8, 8, 8, 8), serial_depths=(1, 1, 1, 1)),
    "VOLO": network("volo_d1_224", 32, methods=("identity",), img_size=32, frozen=("network*",)),
}
QUICK = {"ViT", "MLP-Mixer", "ConvNeXt", "ResNet"}
ROWS = [Row(KIND, name, make, name in QUICK) for name, make in NETWORKS.items()]
