"""Untangled Patch Embedding, UPE: the tokens of the spectral path (section 2.1).

A patch is described by S statistics of K features (spectral indices and reflectances) over its pixels. Descriptors are
standardised and mapped to the GFM's width by T, the only trained part. Each spectral token gets the length of its
spatial token. The prefix tokens (class and registers) are the mean of the patch tokens.
"""

from __future__ import annotations

from torch import Tensor

from deflect.bands import BandSet
from deflect.methods.deflect.deflection import keep_length
from deflect.methods.descriptors import Descriptors, add_prefix, bottleneck
from deflect.settings.methods import DeflectConfig


class UntangledPatchEmbedding(Descriptors):
    """Reflectance of ``bands`` -> spectral tokens x_A of width ``dim``, that of the GFM."""

    def __init__(
        self, bands: BandSet, dim: int, patch_size: tuple[int, int], num_prefix_tokens: int, config: DeflectConfig
    ) -> None:
        super().__init__(bands, patch_size, config)
        self.num_prefix_tokens, self.norm_matching = num_prefix_tokens, config.norm_matching
        self.transform = bottleneck(self.size, config.hidden, dim)

    def forward(self, image: Tensor, spatial: Tensor) -> Tensor:  # type: ignore[override]
        """Reflectance (B, C, H, W) and spatial tokens z_P(0) (B, P+L, D) -> spectral tokens x_A (B, P+L, D)."""
        descriptor = super().forward(image)
        tokens = self.transform(descriptor.to(next(self.transform.parameters()).dtype)).to(spatial.dtype)
        tokens = add_prefix(tokens, self.num_prefix_tokens)
        return keep_length(tokens, spatial).to(spatial.dtype) if self.norm_matching else tokens
