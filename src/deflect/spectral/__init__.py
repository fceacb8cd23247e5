"""Spectral features of images in reflectance: indices by band identity, and statistics of the pixels of a patch."""

from deflect.spectral.indices import INDICES, SpectralIndex, available, count_nonfinite, spectral_indices, tidy_
from deflect.spectral.pixel_set import STATISTICS, patches, pixel_set, pixel_statistics

__all__ = [
    "INDICES",
    "STATISTICS",
    "SpectralIndex",
    "available",
    "count_nonfinite",
    "patches",
    "pixel_set",
    "pixel_statistics",
    "spectral_indices",
    "tidy_",
]
