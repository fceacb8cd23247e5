"""Patch embedding of more than three bands.

The pretrained kernels go to the bands whose *identity* is red, green and blue. The extra bands start as

* ``repeat``: copies of the R, G, B kernels in turn, all kernels multiplied by 3/C, so that an image whose extra bands
  repeat its colours keeps its embedding (as timm's ``adapt_input_conv``);
* ``random``: normal with the standard deviation of the pretrained kernels; RGB kernels unchanged;
* ``zero``: zeros; RGB kernels unchanged, so that training starts at the RGB GFM.

``tile`` repeats the R, G, B kernels in the order in which the dataset stores its bands, without the factor, as an early
prototype by one of the paper's authors does; they miss the colours of sensors that begin with blue.

The paper describes the first two; neither is better on every dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deflect.gfms.vit import ViT
from deflect.settings.methods import PatchInit


def embed_patches(embed: nn.Module, pixels: Tensor) -> Tensor:
    """Patch tokens of timm's ``PatchEmbed``; with more than 3 bands in bf16 on a CPU, computed in float32.

    That convolution of torch 2.15 (oneDNN) gives wrong numbers on processors with AMX.
    """
    half = torch.bfloat16
    lowered = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == half
    if pixels.device.type != "cpu" or pixels.shape[1] == 3 or not (lowered or pixels.dtype == half):
        return embed(pixels)
    exact = {name: value.float() for name, value in embed.named_parameters()}
    with torch.autocast("cpu", enabled=False):
        return torch.func.functional_call(embed, exact, (pixels.float(),)).to(half)


@torch.no_grad()
def widen_patch_embed(gfm: ViT, stored: Sequence[int], init: PatchInit) -> None:
    """Replace the RGB patch embedding of ``gfm`` by one for bands in canonical order (R, G, B, others).

    ``stored`` are the channels of these bands in the dataset's images.
    """
    old: Any = gfm.patch_embed.proj
    new = nn.Conv2d(
        len(stored), old.out_channels, old.kernel_size, old.stride, bias=old.bias is not None, device=old.weight.device
    ).to(old.weight.dtype)
    new.weight.copy_(_kernels(old.weight, stored, init))
    if new.bias is not None:
        new.bias.copy_(old.bias)
    gfm.patch_embed.proj = new.requires_grad_(False)


def _kernels(rgb: Tensor, stored: Sequence[int], init: PatchInit) -> Tensor:
    """(D, 3, p, p) -> (D, C, p, p)."""
    channels = len(stored)
    if init == "tile":
        return rgb[:, [channel % 3 for channel in stored]]
    if init == "repeat":
        return rgb[:, [channel % 3 for channel in range(channels)]] * (3 / channels)
    extra = torch.zeros_like(rgb[:, :1]).repeat(1, channels - 3, 1, 1)
    if init == "random":
        extra.normal_().mul_(rgb.std())
    return torch.cat([rgb, extra], dim=1)
