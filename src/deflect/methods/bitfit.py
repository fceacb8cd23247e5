"""BitFit: only the biases learn (Ben Zaken et al., ACL 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deflect.methods.config import BaselineConfig, MethodError

if TYPE_CHECKING:
    from deflect.methods.base import AdaptedGFM


@dataclass(frozen=True, kw_only=True)
class BitFitConfig(BaselineConfig):
    """Tune every bias of the patch embedding and the blocks, those of the LayerNorms included."""

    def apply(self, model: AdaptedGFM) -> None:
        gfm = model.gfm
        parts = (gfm.patch_embed, gfm.norm_pre, gfm.blocks)
        biases = [p for part in parts for name, p in part.named_parameters() if name.split(".")[-1] == "bias"]
        if not biases:
            raise MethodError("bitfit: this GFM has no bias")
        for bias in biases:
            bias.requires_grad_(True)
        super().apply(model)
