"""Small real Sentinel-2 samples; tests that read them are marked ``needs_real``."""

from __future__ import annotations

import numpy as np
import rasterio
from paths import REAL

from deflect.bands import BandSet, bandset

L1C = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"]
L2A = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]


def read(pattern: str, names: list[str]) -> tuple[np.ndarray, BandSet]:
    """Reflectance (N, C, H, W) of all files that match; digital numbers are reflectance times 10,000."""
    images = []
    for path in sorted(REAL.glob(pattern)):
        with rasterio.open(path) as file:
            images.append(file.read())
    return np.stack(images).astype(np.float32) / 10_000, bandset("sentinel2", names)


def eurosat() -> tuple[np.ndarray, BandSet]:
    return read("eurosat_ms/*/*.tif", L1C)


def bigearthnet() -> tuple[np.ndarray, BandSet]:
    return read("bigearthnet_s2/*.tif", L2A)
