"""Frozen: a probe of the pretrained features; only the head learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deflect.methods.config import BandUse, BaselineConfig

if TYPE_CHECKING:
    from deflect.methods.base import AdaptedGFM


@dataclass(frozen=True, kw_only=True)
class FrozenConfig(BaselineConfig):
    """Tune nothing.

    bands: ``all`` leaves the wider patch embedding as ``patch_init`` made it.
    """

    bands: BandUse = "rgb"

    def apply(self, model: AdaptedGFM) -> None:
        """Nothing to release."""
