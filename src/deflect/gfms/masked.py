"""Masked reconstruction for the two MAE models, small enough for one CPU core.

:class:`MaskedReconstruction` is MAE (arXiv 2111.06377) with one scale per batch, which sets the distance of
``gsd_sincos`` positions (Scale-MAE, arXiv 2212.14532, without its Laplacian decoder).
:class:`CrossScaleReconstruction` adds a magnified view and a contrastive loss between the two views (Cross-Scale MAE,
without its cross-prediction).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from deflect.gfms.views import encode, random_side, random_view, take
from deflect.gfms.vit import SinCosViT, card_of, scale_rgb, sincos_positions
from deflect.settings.pretraining import PretrainSettings


class MaskedReconstruction(nn.Module):
    """Encode the visible patches, decode all, compare the masked ones with their normalised pixels.

    ``gfm`` is the encoder, with one class token.
    """

    def __init__(self, gfm: SinCosViT, settings: PretrainSettings) -> None:
        super().__init__()
        self.gfm, self.mask_ratio, self.min_side = gfm, settings.mask_ratio, settings.min_side
        self.gsd = settings.gsd if card_of(gfm).positions == "gsd_sincos" else None
        self.patch = gfm.patch_embed.patch_size[0]
        dim = gfm.embed_dim // 2  # as published
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.embed = nn.Linear(gfm.embed_dim, dim)
        self.decoder = Block(dim, num_heads=4, qkv_bias=True)
        self.predict = nn.Linear(dim, 3 * self.patch**2)
        self.positions: Tensor
        self.register_buffer("positions", sincos_positions(gfm.patch_embed.grid_size, dim), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Loss of a batch of reflectance (B, 3, H, W)."""
        return self.reconstruct(self.view(images, random_side(self.min_side, 1.0)))[0]

    def view(self, images: Tensor, side: float) -> Tensor:
        """Crops of ``side`` at the encoder's input size; sets the ground sampling distance of the positions."""
        size = self.gfm.patch_embed.img_size[0]
        if self.gsd is not None:
            self.gfm.set_gsd(self.gsd * side * images.shape[-1] / size)
        return scale_rgb(random_view(images, side, size), card_of(self.gfm))

    def reconstruct(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction loss of ``rgb`` (B, 3, S, S) and the encoded visible tokens (B, 1 + kept, D)."""
        patches = self.gfm.patch_embed.num_patches
        order = torch.rand(len(rgb), patches).argsort(1)
        kept, masked = order.split([patches - round(patches * self.mask_ratio), round(patches * self.mask_ratio)], 1)
        encoded = encode(self.gfm, rgb, kept)
        decoded = self.decode(encoded, order.argsort(1))
        return F.mse_loss(take(decoded, masked), take(self.targets(rgb), masked)), encoded

    def decode(self, encoded: Tensor, restore: Tensor) -> Tensor:
        """Predicted pixels (B, L, 3 p p) of all patches; ``restore`` puts visible and masked tokens in place."""
        x = self.embed(encoded)
        hidden = self.mask_token.expand(len(x), restore.shape[1] + 1 - x.shape[1], -1)
        patches = take(torch.cat([x[:, 1:], hidden], dim=1), restore)
        x = torch.cat([x[:, :1], patches], dim=1) + self.positions
        return self.predict(self.decoder(x))[:, 1:]

    def targets(self, rgb: Tensor) -> Tensor:
        """Pixels (B, L, 3 p p), normalised by mean and standard deviation of each patch (MAE's `norm_pix_loss`)."""
        pixels = F.unfold(rgb, self.patch, stride=self.patch).transpose(1, 2)
        centred = pixels - pixels.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-3).sqrt()

    def after_step(self, progress: float) -> None:
        """Nothing to do between steps."""


class CrossScaleReconstruction(MaskedReconstruction):
    """Masked reconstruction of an image and of a magnified crop of it, and a contrastive loss between the two."""

    temperature = 0.1  # published: 0.5, for batches of 512

    def forward(self, images: Tensor) -> Tensor:
        loss, encoded = self.reconstruct(self.view(images, 1.0))
        crop_loss, crop_encoded = self.reconstruct(self.view(images, random_side(self.min_side, 0.9)))
        return loss + crop_loss + agreement(encoded[:, 1:].mean(1), crop_encoded[:, 1:].mean(1), self.temperature)


def agreement(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent loss of two views (B, D): which of the 2 B - 1 others is the other view of the same image, by cosine."""
    both = F.normalize(torch.cat([first, second]), dim=1)
    similarity = (both @ both.T / temperature).fill_diagonal_(float("-inf"))
    partner = torch.arange(len(both)).roll(len(first))
    return F.cross_entropy(similarity, partner)
