"""Is it reflectance? Digital numbers and z-scores have the same shape, train without a sign, and mean nothing here."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deflect.bands import BandSet
from deflect.errors import MethodError

#: Share of a band's pixels that may be below -0.05: noise and over-correction give a little, a z-score gives half.
NEGATIVE_SHARE = 0.25


@torch.no_grad()
def check_reflectance(what: str, image: Tensor, bands: BandSet) -> None:
    """Refuse images (B, C, H, W), channels in the order of ``bands``, that cannot be reflectance.

    Raises:
        MethodError: integers, digital numbers, z-scores or gaps; the message begins with ``what`` and names the band.
    """
    if not image.is_floating_point():
        raise MethodError(f"{what}: expected reflectance in floating point, about 0 to 1, found {image.dtype}")
    check_means(what, bands.names, image.mean(dim=(0, 2, 3), dtype=torch.float32).tolist())
    shares = (image < -0.05).float().mean(dim=(0, 2, 3)).tolist()
    for name, share in zip(bands.names, shares, strict=True):
        if share > NEGATIVE_SHARE:
            raise MethodError(
                f"{what}: {share:.0%} of band {name} is negative, as in z-scores; expected reflectance, about 0 to 1: "
                "the model normalises by itself"
            )


def check_means(what: str, names: Sequence[str], means: Sequence[float]) -> None:
    """Refuse means by band that no reflectance has."""
    for name, mean in zip(names, means, strict=True):
        if not -0.5 < mean < 2:  # false for NaN too
            raise MethodError(
                f"{what}: band {name} has mean {mean:.4g}; expected reflectance, about 0 to 1, without gaps. "
                "Divide digital numbers by the product's scale (Sentinel-2: 10000)"
            )
