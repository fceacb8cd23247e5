"""Reading GeoTIFFs: pixels, and everything that the file states about them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.faults import reading


@dataclass(frozen=True)
class Tiff:
    """A GeoTIFF and what it states about itself.

    Attributes:
        pixels: (C, H, W) as stored.
        names: description of each band, "" where it has none.
        colours: colour interpretation of each band, e.g. "red", "gray", "undefined", "alpha".
        scales, offsets: stored value * scale + offset is the quantity; 1 and 0 where the file has no such tags.
        nodata: stored value of pixels without a measurement, or None.
        hidden: (H, W), True where a mask within or beside the file rules the pixel out, or None without such a mask.
        crs: coordinate system or None.
        transform: from columns and rows to coordinates; the identity where the file has none.
    """

    pixels: np.ndarray
    names: tuple[str, ...]
    colours: tuple[str, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    nodata: float | None
    hidden: np.ndarray | None
    crs: Any
    transform: Any


def read_tiff(path: Path) -> Tiff:
    """Read a whole GeoTIFF.

    Raises:
        ReadError: the file is missing, damaged or cut short.
    """
    import rasterio
    from rasterio.enums import MaskFlags
    from rasterio.errors import NotGeoreferencedWarning

    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            flags = file.mask_flag_enums[0]
            masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
            return Tiff(
                pixels=file.read(),
                names=tuple(name or "" for name in file.descriptions),
                colours=tuple(colour.name for colour in file.colorinterp),
                scales=file.scales,
                offsets=file.offsets,
                nodata=file.nodata,
                hidden=file.read_masks(1) == 0 if masked else None,
                crs=file.crs,
                transform=file.transform,
            )
