"""Settings of the pretraining of mini GFMs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deflect.settings.fields import Count, Fraction, NotNegative, Positive, Settings


class PretrainSettings(Settings):
    steps: Count = Field(default=200, description="Optimiser steps.")
    batch_size: Annotated[int, Field(ge=2, strict=True)] = Field(
        default=32, description="Images per step; an image is compared with the others in its batch."
    )
    lr: Positive = Field(
        default=3e-3,
        description="Peak learning rate of AdamW, after a tenth of the steps; then a half cosine to 0.",
    )
    weight_decay: NotNegative = Field(default=0.05, description="Only of matrices, without positions and tokens.")
    mask_ratio: Fraction = Field(default=0.75, description="Share of patches that masked reconstruction hides (MAE).")
    min_side: Fraction = Field(default=0.5, description="Smallest crop, as a share of the image's side.")
    gsd: Positive = Field(default=10.0, description="Metres per pixel of the images (Scale-MAE's positions).")
    prototypes: Count = Field(default=64, description="Width of the distilled output (DINO).")
    momentum: Fraction = Field(default=0.9, description="Momentum of the teacher at the start (DINO).")
