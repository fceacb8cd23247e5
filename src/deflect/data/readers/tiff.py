"""Reading GeoTIFFs: pixels, and where the file says them, the names of its bands and its place on Earth."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.faults import reading


@dataclass(frozen=True)
class Tiff:
    """``pixels`` (C, H, W); what the file says: ``names`` of the bands or (), ``crs``, ``transform``, ``nodata``."""

    pixels: np.ndarray
    names: tuple[str, ...]
    crs: Any
    transform: Any
    nodata: float | None


def read_tiff(path: Path) -> Tiff:
    """Read a whole GeoTIFF.

    Raises:
        ReadError: the file is missing, damaged or cut short.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            names = tuple(name or "" for name in file.descriptions)
            return Tiff(file.read(), names if all(names) else (), file.crs, file.transform, file.nodata)
