"""Read GeoTIFFs: pixels and metadata."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.checks import reading, refuse_large
from deflect.files import require_file


@dataclass(frozen=True)
class Tiff:
    """A GeoTIFF and its metadata."""

    pixels: np.ndarray  # (C, H, W) as stored
    names: tuple[str, ...]  # descriptions, "" where there is none
    colours: tuple[str, ...]  # colour interpretations, e.g. "red", "gray", "undefined", "alpha"
    scales: tuple[float, ...]  # stored value * scale + offset is the physical value; 1 and 0 without such tags
    offsets: tuple[float, ...]
    nodata: float | None  # stored value of pixels without a measurement
    hidden: np.ndarray | None  # (H, W), True where a mask in the file or next to it excludes the pixel
    crs: Any  # coordinate system, or None
    transform: Any  # from columns and rows to coordinates; the identity where the file has none


def read_tiff(path: Path) -> Tiff:
    """Read a whole GeoTIFF. No other format is opened: a VRT, for example, could read other files or servers."""
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


def metres(crs: Any, transform: Any, shape: Sequence[int]) -> float | None:
    """The longer side of the middle pixel in metres, whatever the unit of the coordinates; None if not stated."""
    if not crs or transform.is_identity:
        return None
    from rasterio.errors import RasterioError
    from rasterio.warp import transform as project

    row, column = (side / 2 for side in shape)
    points = [transform @ place for place in ((column, row), (column + 1, row), (column, row + 1))]
    try:
        east, north = project(crs, "EPSG:4326", *zip(*points, strict=True))
    except RasterioError:  # a local coordinate system
        return None
    x = np.radians(np.subtract(east[1:], east[0])) * np.cos(np.radians(north[0]))
    y = np.radians(np.subtract(north[1:], north[0]))
    side = float(np.hypot(x, y).max() * 6371e3)
    return side if np.isfinite(side) and side > 0 else None
