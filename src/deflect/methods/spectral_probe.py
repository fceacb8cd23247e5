"""Spectral probe: DEFLECT's patch descriptors go straight to the head; the GFM does not run.

The control that shows what the spectral features do by themselves. It depends on the GFM by its patch size alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from deflect.gfms.vit import ViT
from deflect.methods.described import DescribedGFM
from deflect.methods.descriptors import Descriptors
from deflect.settings import PIXEL_TASKS


class SpectralProbe(DescribedGFM):
    """Standardised descriptors in the place of tokens: width K*S, no prefix tokens, the same after every block."""

    def __init__(self, gfm: ViT, *args: Any) -> None:
        super().__init__(gfm, *args)
        self.descriptors = Descriptors(self.spectral_channels.inner, self.patch_size, self.config)
        self.embed_dim, self.num_prefix_tokens = self.descriptors.size, 0

    def taps(self, task: str) -> tuple[int, ...]:
        """One for classification, because equal features say nothing more to a linear head."""
        return super().taps(task)[: None if task in PIXEL_TASKS else 1]

    def embed(self, image: Tensor) -> tuple[Tensor, None]:
        pixels = self.spectral_channels(image)
        self.check_first(pixels, self.spectral_channels.inner)
        return self.descriptors(pixels).to(self.gfm.patch_embed.proj.weight.dtype), None

    def block(self, index: int, tokens: Tensor, carried: Any) -> Tensor:
        return tokens

    def forward_features(self, image: Tensor) -> Tensor:
        """Reflectance (B, C, H, W) -> standardised descriptors (B, L, K*S)."""
        return self.embed(image)[0]
