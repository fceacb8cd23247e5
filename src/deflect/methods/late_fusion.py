"""Late fusion: the tokens of the frozen RGB GFM beside those of a trained map T' of the patch descriptors.

The control that gives the head the spectra without deflection: the head sees both, and the GFM sees only RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deflect.errors import ModelError
from deflect.gfms.vit import ViT
from deflect.methods.described import DescribedGFM
from deflect.methods.descriptors import Descriptors, add_prefix, bottleneck
from deflect.settings.methods import DeflectConfig, LateFusionConfig

#: The tuned parameters of DEFLECT that a null ``hidden`` matches.
DEFAULT = DeflectConfig()


class LateFusionGFM(DescribedGFM):
    """Every parameter of the GFM is frozen; ``transform``, which is T', learns."""

    config: LateFusionConfig

    def __init__(self, gfm: ViT, *args: Any) -> None:
        super().__init__(gfm, *args)
        self.descriptors = Descriptors(self.spectral_channels.inner, self.patch_size, self.config)
        hidden = self.config.hidden or matched_hidden(self.descriptors.size, self.embed_dim, self.depth)
        self.transform = bottleneck(self.descriptors.size, hidden, self.embed_dim)

    def map_width(self, maps: int) -> int:
        """The GFM's width, and this map's part of T'."""
        return self.embed_dim + self.embed_dim // maps

    def spectral_tokens(self, image: Tensor) -> Tensor:
        """T' of the descriptors: (B, L, D)."""
        descriptors = self.descriptors(self.spectral_channels(image))
        return self.transform(descriptors.to(next(self.transform.parameters()).dtype))

    def forward_features(self, image: Tensor) -> Tensor:
        """Reflectance (B, C, H, W) -> tokens (B, P+L, 2D): those of the GFM, after its final norm, and of T'."""
        spatial = super().forward_features(image)
        spectral = add_prefix(self.spectral_tokens(image), self.num_prefix_tokens)
        return torch.cat([spatial, spectral.to(spatial.dtype)], dim=-1)

    def forward_intermediates(self, image: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Maps (B, D + D/n, h, w) after n blocks, each with an equal part of T', so that the head sees T' once."""
        maps = super().forward_intermediates(image, indices)
        if self.embed_dim % len(maps):
            raise ModelError(f"late_fusion: the GFM's width {self.embed_dim} cannot be split over {len(maps)} maps")
        spectral = self.spectral_tokens(image).transpose(1, 2).unflatten(2, maps[0].shape[-2:]).to(maps[0].dtype)
        return [torch.cat(pair, dim=1) for pair in zip(maps, spectral.chunk(len(maps), dim=1), strict=True)]


def matched_hidden(size: int, dim: int, depth: int) -> int:
    """The width of T' that tunes as many parameters as DEFLECT's defaults on the same descriptors, or nearly.

    A bottleneck of width w has w (size + dim + 1) + dim parameters, untangled attention 6 r dim in each block.
    """
    assert DEFAULT.hidden
    return DEFAULT.hidden + round(6 * DEFAULT.rank * dim * depth / (size + dim + 1))
