"""Methods that add nothing and train a part of the GFM: norm tuning, BitFit, patch embedding, full fine-tuning, none.

* norm tuning: Zhao et al., ICLR 2024, "Tuning LayerNorm in Attention"
* BitFit: Ben Zaken et al., ACL 2022
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from deflect.errors import MethodError
from deflect.settings.methods import MethodConfig

if TYPE_CHECKING:
    from deflect.methods.base import AdaptedGFM


def nothing(model: AdaptedGFM, config: MethodConfig) -> None:
    """Train nothing of the GFM."""


def patch_embed(model: AdaptedGFM, config: MethodConfig) -> None:
    """Train the patch embedding, kernels and bias."""
    model.gfm.patch_embed.requires_grad_(True)


def norm_tuning(model: AdaptedGFM, config: MethodConfig) -> None:
    """Train weight and bias of every LayerNorm in front of the tapped features."""
    train_norms(model)
    train_widened_patch_embed(model)


def bitfit(model: AdaptedGFM, config: MethodConfig) -> None:
    """Train every bias of the patch embedding and the blocks, those of the LayerNorms included."""
    gfm = model.gfm
    parts = (gfm.patch_embed, gfm.norm_pre, gfm.blocks)
    biases = [p for part in parts for name, p in part.named_parameters() if name.split(".")[-1] == "bias"]
    if not biases:
        raise MethodError("bitfit: this GFM has no bias")
    for bias in biases:
        bias.requires_grad_(True)
    train_widened_patch_embed(model)


def full(model: AdaptedGFM, config: MethodConfig) -> None:
    """Train the whole encoder except sin-cos positions, which are a formula, and the final norm behind the taps."""
    gfm = model.gfm
    gfm.requires_grad_(True)
    gfm.norm.requires_grad_(False)
    gfm.fc_norm.requires_grad_(False)
    if gfm.pos_embed is not None and model.rgb.kind != "learned":
        gfm.pos_embed.requires_grad_(False)


def train_widened_patch_embed(model: AdaptedGFM) -> None:
    """Train the patch embedding if it was widened for extra bands; positions stay frozen."""
    if len(model.channels.inner) > 3:
        model.gfm.patch_embed.requires_grad_(True)


def train_norms(model: AdaptedGFM) -> None:
    """Train every LayerNorm before and inside the blocks.

    The GFM's final norm stays frozen in every method: features are tapped before it, so it would get no gradient.

    Raises:
        MethodError: there is none.
    """
    norms = [
        m for part in (model.gfm.norm_pre, model.gfm.blocks) for m in part.modules() if isinstance(m, nn.LayerNorm)
    ]
    if not norms:
        found = sorted({type(m).__name__ for m in model.gfm.blocks.modules() if "Norm" in type(m).__name__})
        raise MethodError(
            f"{model.method}: it tunes LayerNorms, and the blocks of this GFM have none (norms found: "
            f"{', '.join(found) or 'none'})" + "; convention='usual' leaves norms alone" * (model.method == "lora")
        )
    for norm in norms:
        norm.requires_grad_(True)
