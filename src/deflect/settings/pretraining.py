"""How the mini GFMs are pretrained."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deflect.settings.checks import Count, Fraction, NotNegative, Positive, Settings


class PretrainSettings(Settings):
    """How a mini GFM is pretrained."""

    steps: Count = 200
    """Optimiser steps."""
    batch_size: Annotated[int, Field(ge=2, strict=True)] = 32
    """Images per step; at least 2, because an image is compared with the others of its batch."""
    lr: Positive = 3e-3
    """Peak learning rate of AdamW, after a tenth of the steps; a half cosine brings it to 0."""
    weight_decay: NotNegative = 0.05
    """Weight decay of matrices; vectors, positions and tokens have none."""
    mask_ratio: Fraction = 0.75
    """Share of patches that masked reconstruction hides (MAE)."""
    min_side: Fraction = 0.5
    """Smallest crop, as a share of the image's side."""
    gsd: Positive = 10.0
    """Metres per pixel of the images (Scale-MAE's positions)."""
    prototypes: Count = 64
    """Width of the distilled output (DINO)."""
    momentum: Fraction = 0.9
    """Momentum of the teacher at the start (DINO)."""
