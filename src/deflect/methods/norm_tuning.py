"""Norm tuning: only the LayerNorms learn (Zhao et al., ICLR 2024, "Tuning LayerNorm in Attention")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from deflect.methods.config import BaselineConfig, MethodError

if TYPE_CHECKING:
    from deflect.methods.base import AdaptedGFM


@dataclass(frozen=True, kw_only=True)
class NormTuningConfig(BaselineConfig):
    """Tune weight and bias of every LayerNorm in front of the tapped features."""

    def apply(self, model: AdaptedGFM) -> None:
        tune_norms(model)
        super().apply(model)


def tune_norms(model: AdaptedGFM) -> None:
    """Release every LayerNorm before and inside the blocks.

    The GFM's final norm stays frozen in every method: features are tapped before it, so it would get no gradient.
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
