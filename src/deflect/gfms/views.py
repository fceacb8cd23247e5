"""For both pretraining tasks: random views of image batches, and encoding a part of the patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor


def random_view(images: Tensor, side: float, size: int) -> Tensor:
    """Crop a random square of each image, mirror it at random and resample it: (B, C, H, W) -> (B, C, size, size).

    ``side`` is that of the square, as a share of the image's side.
    """
    batch = len(images)
    mirror = torch.randint(0, 2, (batch, 2)) * 2.0 - 1.0
    affine = torch.zeros(batch, 2, 3)
    affine[:, :, 2] = (torch.rand(batch, 2) * 2 - 1) * (1 - side)
    affine[:, 0, 0], affine[:, 1, 1] = (side * mirror).unbind(1)
    grid = F.affine_grid(affine, [batch, images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_side(low: float, high: float) -> float:
    """A share of the image's side, uniform between ``low`` and ``high``."""
    return low + (high - low) * float(torch.rand(()))


def jitter(images: Tensor, strength: float) -> Tensor:
    """Multiply brightness of each image, and each of its channels a tenth as much, by up to 1 ± ``strength``."""
    batch, channels = images.shape[:2]
    brightness = 1 + strength * (torch.rand(batch, 1, 1, 1) * 2 - 1)
    colour = 1 + strength / 10 * (torch.rand(batch, channels, 1, 1) * 2 - 1)
    return images * brightness * colour


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, L, D) at the positions ``index`` (B, K) of each image: (B, K, D)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def encode(gfm: VisionTransformer, rgb: Tensor, kept: Tensor) -> Tensor:
    """Features (B, 1 + K, D) of the class token and the patches ``kept`` (B, K), without attention to the others."""
    tokens = gfm._pos_embed(gfm.patch_embed(rgb))
    return gfm.norm(gfm.blocks(torch.cat([tokens[:, :1], take(tokens[:, 1:], kept)], dim=1)))
