"""Means, correlations and spectral indices of reflectance images, to compare simulated with real images."""

from __future__ import annotations

from typing import NamedTuple

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


class BandSummary(NamedTuple):
    """Mean reflectance (C,), correlation between bands (C, C), and the ``PERCENTILES`` of each index."""

    mean: np.ndarray
    correlation: np.ndarray
    indices: dict[str, np.ndarray]


def summarise(images: np.ndarray, bands: BandSet) -> BandSummary:
    """Summarise reflectance images (N, C, H, W) over the pixels that are finite in every band."""
    pixels = np.asarray(images, dtype=float).transpose(1, 0, 2, 3).reshape(len(bands), -1)
    pixels = pixels[:, np.isfinite(pixels).all(axis=0)]
    indices = {
        name: _percentiles(pixels[bands.channel_of_role(first)], pixels[bands.channel_of_role(second)])
        for name, (first, second) in INDICES.items()
        if bands.has_role(first) and bands.has_role(second)
    }
    return BandSummary(pixels.mean(axis=1), np.corrcoef(pixels), indices)


def _percentiles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = first + second
    lit = total > 1e-3  # dark pixels have no meaningful ratio
    return np.percentile((first - second)[lit] / total[lit], PERCENTILES)
