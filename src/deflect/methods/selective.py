"""Methods that train a part of the GFM: patch_embed, norm_tuning, bitfit, full.

Each function makes parameters of a frozen GFM trainable. ``adapt`` does so itself for a patch embedding that was
widened for more bands, in every method except frozen.
"""

from __future__ import annotations

from torch import nn

from deflect.errors import ModelError
from deflect.methods.base import AdaptedGFM


def tune_patch_embed(model: AdaptedGFM) -> None:
    model.gfm.patch_embed.requires_grad_(True)


def tune_norms(model: AdaptedGFM) -> None:
    """Train every LayerNorm before and inside the blocks.

    The final norm is frozen in every method: features are taken before it, so it gets no gradient.
    """
    parts = (model.gfm.norm_pre, model.gfm.blocks)
    norms = [module for part in parts for module in part.modules() if isinstance(module, nn.LayerNorm)]
    if not norms:
        found = sorted({type(m).__name__ for m in model.gfm.blocks.modules() if "Norm" in type(m).__name__})
        raise ModelError(
            f"{model.method}: it tunes LayerNorms, and the blocks of this GFM have none (norms found: "
            f"{', '.join(found) or 'none'})" + "; convention='usual' leaves norms alone" * (model.method == "lora")
        )
    for norm in norms:
        norm.requires_grad_(True)


def tune_biases(model: AdaptedGFM) -> None:
    """Train every bias of the patch embedding and the blocks, also q_bias and v_bias of Eva.

    Its k_bias is no parameter but a buffer of zeros: keys were pretrained without a bias, and get none here.
    """
    parts = (model.gfm.patch_embed, model.gfm.norm_pre, model.gfm.blocks)
    biases = [p for part in parts for name, p in part.named_parameters() if name.endswith("bias")]
    if not biases:
        raise ModelError("bitfit: this GFM has no bias")
    for bias in biases:
        bias.requires_grad_(True)


def tune_all(model: AdaptedGFM) -> None:
    """Train the encoder, except sine-cosine positions and final norm."""
    gfm = model.gfm
    gfm.requires_grad_(True)
    gfm.norm.requires_grad_(False)
    gfm.fc_norm.requires_grad_(False)
    if gfm.pos_embed is not None and model.rgb.positions != "learned":
        gfm.pos_embed.requires_grad_(False)
