"""Read GeoTIFF, JPEG 2000 and PNG files: pixels and metadata."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.checks import reading, refuse_large
from deflect.errors import DataError
from deflect.files import require_file

#: Endings of files -> GDAL drivers. No other format is opened: a VRT, for example, could read other files or servers.
DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG", ".png": "PNG"}
#: First row, first column, height and width, in pixels.
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a file are."""

    shape: tuple[int, int]
    crs: Any  # coordinate system, or None
    transform: Any  # from columns and rows to coordinates; the identity where the file has none

    def window(self, window: Window) -> Grid:
        top, left, height, width = window
        if self.transform.is_identity:  # no place; a translation would look like one
            return Grid((height, width), self.crs, self.transform)
        return Grid((height, width), self.crs, self.transform @ type(self.transform).translation(left, top))

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Coordinates of the upper left, upper right, lower left and lower right corner."""
        height, width = self.shape
        return [self.transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]


@dataclass(frozen=True)
class Raster:
    """Pixels of a file, or of a window of it, and its metadata."""

    pixels: np.ndarray  # (C, H, W) as stored, of the channels that were read
    hidden: np.ndarray | None  # (H, W), True where a mask in or next to the file, or transparency, excludes the pixel
    whole: Grid  # of the file
    names: tuple[str, ...]  # of all channels, see OpenRaster
    scales: tuple[float, ...]  # of all channels: stored value * scale + offset is physical; 1 and 0 without such tags
    offsets: tuple[float, ...]
    nodata: float | None  # stored value of pixels without a measurement
    palette: dict[int, tuple[int, int, int]]  # colours of the values of an image with a palette


@dataclass(frozen=True)
class OpenRaster:
    """An open file."""

    path: Path
    file: Any

    @property
    def grid(self) -> Grid:
        return Grid((self.file.height, self.file.width), self.file.crs, self.file.transform)

    @property
    def names(self) -> tuple[str, ...]:
        """Descriptions of the channels, "" where there is none."""
        return tuple(name or "" for name in self.file.descriptions)

    @property
    def colours(self) -> tuple[str, ...]:
        """Colour interpretations of the channels, e.g. "red", "gray", "undefined", "alpha"."""
        return tuple(colour.name for colour in self.file.colorinterp)

    def read(self, window: Window | None = None, channels: Sequence[int] | None = None) -> Raster:
        """Read ``channels``, counted from 0, of a window; all by default."""
        from rasterio.enums import ColorInterp
        from rasterio.windows import Window as Area

        file = self.file
        top, left, height, width = window or (0, 0, *self.grid.shape)
        area = Area(left, top, width, height)
        indexes = [channel + 1 for channel in (range(file.count) if channels is None else channels)]
        refuse_large((len(indexes), height, width), file.dtypes[0], self.path)
        palette = file.colormap(1) if file.colorinterp[0] == ColorInterp.palette else {}
        with reading(self.path):
            return Raster(
                pixels=file.read(indexes, window=area) if indexes else np.empty((0, height, width), file.dtypes[0]),
                hidden=hidden_pixels(file, area),
                whole=self.grid,
                names=self.names,
                scales=file.scales,
                offsets=file.offsets,
                nodata=file.nodata,
                palette={value: colour[:3] for value, colour in palette.items()},
            )


def read_raster(path: Path, window: Window | None = None, channels: Sequence[int] | None = None) -> Raster:
    """Read a file, see ``OpenRaster.read``."""
    with open_raster(path) as file:
        return file.read(window, channels)


@contextmanager
def open_raster(path: Path) -> Iterator[OpenRaster]:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise DataError(f"{path}: expected a file that ends in {', '.join(DRIVERS)}; convert it to GeoTIFF")
    # GDAL would list the folder of each file that it opens; so it only looks for masks and metadata next to the file
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"):
        with reading(path), warnings.catch_warnings():
            require_file(path)
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(path, driver=driver, sharing=False)
        with file:
            _check(file, path)
            yield OpenRaster(path, file)


def _check(file: Any, path: Path) -> None:
    """Refuse files of which only a part would be read."""
    if any(kind.startswith("complex") for kind in file.dtypes):
        raise DataError(f"{path}: pixels of type {file.dtypes[0]} are not read; store real numbers, e.g. amplitudes")
    if pages := len(file.subdatasets):
        remedy = f"split them into files, e.g. `gdal_translate GTIFF_DIR:2:{path.name} NEW.tif`"
        raise DataError(f"{path}: has {pages} images; {remedy}")


def hidden_pixels(file: Any, window: Any) -> np.ndarray | None:
    """Where a mask or the transparency of an open file excludes its pixels, (H, W); None if it has neither."""
    from rasterio.enums import ColorInterp, MaskFlags

    if ColorInterp.alpha in file.colorinterp:  # GDAL makes a mask of it only after one or three channels
        return np.asarray(file.read(file.colorinterp.index(ColorInterp.alpha) + 1, window=window) == 0)
    return file.read_masks(1, window=window) == 0 if MaskFlags.per_dataset in file.mask_flag_enums[0] else None


def metres(grid: Grid) -> float | None:
    """The longer side of the middle pixel in metres, whatever the unit of the coordinates; None if not stated."""
    row, column = (side / 2 for side in grid.shape)
    places = degrees(grid, [(column, row), (column + 1, row), (column, row + 1)])
    if places is None:
        return None
    east, north = places
    x = np.radians(east[1:] - east[0]) * np.cos(np.radians(north[0]))
    y = np.radians(north[1:] - north[0])
    side = float(np.hypot(x, y).max() * 6371e3)
    return side if np.isfinite(side) and side > 0 else None


def degrees(grid: Grid, places: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray] | None:
    """Longitudes and latitudes of places given as (column, row); None if the file does not state its place."""
    if not grid.crs or grid.transform.is_identity:
        return None
    from rasterio.errors import RasterioError
    from rasterio.warp import transform as project

    points = [grid.transform @ place for place in places]
    try:
        east, north = project(grid.crs, "EPSG:4326", *zip(*points, strict=True))
    except RasterioError:  # a local coordinate system
        return None
    return np.asarray(east), np.asarray(north)
