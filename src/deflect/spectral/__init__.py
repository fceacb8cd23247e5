"""Spectral features of images in reflectance: indices by band identity, and statistics of the pixels of a patch."""

from deflect.spectral.indices import INDICES, available, spectral_indices, tidy_
from deflect.spectral.pixel_set import patches, pixel_statistics

__all__ = ["INDICES", "available", "patches", "pixel_statistics", "spectral_indices", "tidy_"]
