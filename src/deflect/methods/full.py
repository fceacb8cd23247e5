"""Full fine-tuning, the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deflect.methods.config import BaselineConfig

if TYPE_CHECKING:
    from deflect.methods.base import AdaptedGFM


@dataclass(frozen=True, kw_only=True)
class FullConfig(BaselineConfig):
    """Tune the whole encoder except sin-cos positions, which are a formula, and the final norm behind the taps."""

    def apply(self, model: AdaptedGFM) -> None:
        gfm = model.gfm
        gfm.requires_grad_(True)
        gfm.norm.requires_grad_(False)
        gfm.fc_norm.requires_grad_(False)
        if gfm.pos_embed is not None and model.rgb.kind != "learned":
            gfm.pos_embed.requires_grad_(False)
