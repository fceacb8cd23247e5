"""The real Landsat 7 scene of the GRASS GIS sample data (North Carolina, 2000): its bands and their reflectance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from paths import REAL

SCENE = REAL / "landsat7_north_carolina"
#: Digit of the file's name: band of Landsat 8 at this wavelength, gain, offset (W/m2/sr/um, high gain) and solar
#: irradiance (W/m2/um) of ETM+, Chander et al. 2009.
BANDS = {
    "1": ("B2", 0.778740, -6.98, 1997.0),
    "2": ("B3", 0.798819, -7.20, 1812.0),
    "3": ("B4", 0.621654, -5.62, 1533.0),
    "4": ("B5", 0.639764, -5.74, 1039.0),
    "5": ("B6", 0.126220, -1.13, 230.8),
    "7": ("B7", 0.043898, -0.39, 84.9),
}
#: Sine of the sun's elevation, about that of a spring morning at this latitude; the files do not give it.
SUN = 0.78


def file_of(digit: str) -> Path:
    return SCENE / f"lsat7_2000_{digit}0.tif"


def units() -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset of each band: (stored + offset) * scale is reflectance at the sensor."""
    gain, offset, irradiance = np.array([facts for _, *facts in BANDS.values()]).T
    return np.pi * gain / (irradiance * SUN), offset / gain


def reflectance() -> np.ndarray:
    """(C, H, W) float32; NaN where a band has no measurement."""
    numbers = []
    for digit in BANDS:
        with rasterio.open(file_of(digit)) as file:
            numbers.append(file.read(1, masked=True).astype(np.float32).filled(np.nan))
    scale, offset = (values[:, None, None] for values in units())
    return ((np.stack(numbers) + offset) * scale).astype(np.float32)
