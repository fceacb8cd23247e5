"""Reading GeoTIFFs: pixels, and everything that the file states about them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.faults import reading, refuse_large
from deflect.files import require_file


@dataclass(frozen=True)
class Tiff:
    """A GeoTIFF and what it states about itself.

    Attributes:
        pixels: (C, H, W) as stored.
        names: description of each band, "" where it has none.
        colours: colour interpretation of each band, e.g. "red", "gray", "undefined", "alpha".
        scales, offsets: stored value * scale + offset is the quantity; 1 and 0 where the file has no such tags.
        nodata: stored value of pixels without a measurement, or None.
        hidden: (H, W), True where a mask in the file or in a file of its own rules the pixel out; None without a mask.
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
    """Read a whole GeoTIFF. No other format is opened: a VRT, say, would read other files or ask servers.

    Raises:
        ReadError: the file is missing, damaged, cut short, no GeoTIFF, or far larger than an image.
    """
    import rasterio
    from rasterio.enums import MaskFlags
    from rasterio.errors import NotGeoreferencedWarning

    with reading(path), warnings.catch_warnings():
        require_file(path)
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver="GTiff", sharing=False) as file:
            refuse_large((file.count, file.height, file.width), file.dtypes[0], path)
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
