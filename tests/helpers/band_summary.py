"""Describe a stack of reflectance images by band, so that SIMULATED ones can be held against real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deflect.bands import BandSet

#: Normalised differences (first - second) / (first + second) by the roles of their bands.
INDICES = {
    "NDVI": ("N", "R"),
    "NDRE": ("N", "RE1"),
    "NDWI": ("G", "N"),
    "MNDWI": ("G", "S1"),
    "NDMI": ("N", "S1"),
    "NBR": ("N", "S2"),
}
PERCENTILES = (2, 25, 50, 75, 98)


@dataclass(frozen=True)
class BandSummary:
    """What a stack of images looks like, over all its finite pixels.

    Attributes:
        bands: names, in the order of ``mean``, ``std`` and of both axes of ``correlation``.
        mean: (C,) reflectance.
        std: (C,) reflectance, over pixels and images.
        correlation: (C, C) Pearson's correlation between bands.
        texture: (C,) mean over images of the standard deviation inside one image, reflectance.
        indices: per spectral index its values at ``PERCENTILES``; indices whose bands are absent are left out.
    """

    bands: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    correlation: np.ndarray
    texture: np.ndarray
    indices: dict[str, np.ndarray]


def summarise(images: np.ndarray, bands: BandSet) -> BandSummary:
    """Summarise reflectance images (N, C, H, W) whose channels are ``bands``; non-finite pixels are left out.

    Raises:
        ValueError: the stack is not (N, C, H, W) with one channel per band, or has no finite pixel.
    """
    images = np.asarray(images, dtype=float)
    if images.ndim != 4 or images.shape[1] != len(bands):
        raise ValueError(f"expected images (N, {len(bands)}, H, W) for {', '.join(bands.names)}, found {images.shape}")
    pixels = images.transpose(1, 0, 2, 3).reshape(len(bands), -1)
    pixels = pixels[:, np.isfinite(pixels).all(axis=0)]
    if pixels.size == 0:
        raise ValueError("no pixel is finite in every band")
    texture = np.array([np.nanstd(channel, axis=(1, 2)).mean() for channel in images.swapaxes(0, 1)])
    indices = {
        name: _percentiles(pixels[bands.channel_of_role(first)], pixels[bands.channel_of_role(second)])
        for name, (first, second) in INDICES.items()
        if bands.has_role(first) and bands.has_role(second)
    }
    return BandSummary(
        tuple(bands.names), pixels.mean(axis=1), pixels.std(axis=1), np.corrcoef(pixels), texture, indices
    )


def _percentiles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = first + second
    lit = total > 1e-3  # the quotient means nothing where both bands are dark
    return np.percentile((first - second)[lit] / total[lit], PERCENTILES)
