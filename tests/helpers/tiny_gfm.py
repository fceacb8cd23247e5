"""Tiny Vision Transformers of every supported kind, and images for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from timm.layers import Attention
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deflect.bands import SENTINEL2, BandSet, BandStatistics
from deflect.gfms import CARDS, build
from deflect.gfms.vit import ViT

BANDS = SENTINEL2.subset(["B02", "B03", "B04", "B05", "B06", "B08", "B11", "B12"])
STATISTICS = BandStatistics(tuple(0.05 + 0.03 * i for i in range(8)), tuple(0.03 + 0.01 * i for i in range(8)))


class GatedAttention(Attention):
    """timm's ``Attention`` with ``gated``, an option that a ViT cannot pass on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, gated=True, **kwargs)


#: Options that differ from a plain ViT with a class token and learned positions.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dinov2": {"patch_size": 14, "img_size": 56, "init_values": 0.3, "reg_tokens": 4, "no_embed_class": True},
    "no_cls": {"class_token": False, "global_pool": "avg"},
    "qk_norm": {"qk_norm": True, "scale_attn_norm": True},
    "gated": {"attn_layer": GatedAttention},
    "no_positions": {"pos_embed": "none"},
    "pre_norm_embedding": {"pre_norm": True},
    "dynamic": {"dynamic_img_size": True},
    "with_head": {"num_classes": 7, "global_pool": "map"},
    "post_norm": {},
}

#: Options of timm's ``Eva``, after models that have them. Norms are LayerNorms, which some methods need.
EVA: dict[str, dict[str, Any]] = {
    "dinov3": {
        "num_reg_tokens": 4, "init_values": 0.3, "rope_type": "dinov3", "rope_rotate_half": True, "qkv_bias": False,
        "use_rot_pos_emb": True, "use_abs_pos_emb": False, "dynamic_img_size": True,
    },
    "dinov3_masked_keys": {
        "num_reg_tokens": 4, "init_values": 0.3, "rope_type": "dinov3", "rope_rotate_half": True, "swiglu_mlp": True,
        "swiglu_align_to": 8, "use_rot_pos_emb": True, "use_abs_pos_emb": False, "patch_size": 14, "img_size": 56,
    },
    "eva02": {
        "qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True, "use_rot_pos_emb": True,
        "ref_feat_shape": (5, 5),
    },
    "eva_post_norm": {"use_post_norm": True, "swiglu_mlp": True, "global_pool": "token"},
    "rope_mixed": {"attn_type": "rope", "use_rot_pos_emb": True, "rope_type": "mixed", "no_embed_class": True},
    "shared_keys": {
        "attn_type": "rope", "qkv_fused": False, "num_kv_heads": (1, 2, 1), "qk_norm": True, "use_rot_pos_emb": True,
        "init_values": 0.3, "attn_only_layer_scale": True, "rope_type": "dinov3", "rope_jitter_coords": 1.5,
        "class_token": False, "global_pool": "avg",
    },
}  # fmt: skip
VARIANTS |= EVA


def tiny(variant: str = "plain", **kwargs: Any) -> ViT:
    """A random ViT of width 32 and depth 3, with weights large enough for every block to matter."""
    torch.manual_seed(0)
    if variant == "post_norm":
        gfm = build(replace(CARDS["cross_scale_mae", "mini"], block="post_norm"), img_size=32)
    else:
        size = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 0}
        gfm = (Eva if variant in EVA else VisionTransformer)(**size | VARIANTS[variant] | kwargs)
    for name, parameter in gfm.named_parameters():
        if name != "pos_embed":
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return gfm.eval()


def images(gfm: ViT, n: int = 2, bands: BandSet = BANDS, seed: int = 1) -> Tensor:
    """Reflectance (n, C, H, W) whose bands differ, with a few dead pixels."""
    height, width = gfm.patch_embed.img_size
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(n, len(bands), height, width, generator=generator)
    found *= torch.linspace(0.1, 0.5, len(bands)).view(-1, 1, 1)
    found[:, :, :2, :2] = 0
    return found


@torch.no_grad()
def stir(model: nn.Module) -> None:
    """Move every trainable parameter, so that adapters do something."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def optimise(model: Any, image: Tensor, steps: int = 2, lr: float = 0.01) -> None:
    """AdamW steps on all trainable parameters, through all blocks."""
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr, weight_decay=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = sum((tokens - 1).square().mean() for tokens in model.forward_intermediates(image, [0, model.depth - 1]))
        (loss + model.extra_loss()).backward()
        optimiser.step()
    model.eval()
