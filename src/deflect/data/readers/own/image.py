"""Read one image of a user's own dataset from its file, or from its files of different bands and pixel sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.checks import narrow
from deflect.data.readers.own.card import CARD, OwnCard
from deflect.data.readers.own.channels import Channels
from deflect.data.readers.own.metadata import (
    SHIFT,
    check_gsd,
    check_names,
    check_nodata,
    check_scale,
    check_type,
    equal,
    is_gsd,
    shift,
)
from deflect.data.readers.raster import Grid, OpenRaster, Raster, Window, metres, open_raster
from deflect.errors import DataError

#: Pixels around a window of a file with larger pixels, which the interpolation needs.
MARGIN = 2
Bands = dict[int, np.ma.MaskedArray]


def base_of(files: Sequence[OpenRaster], gsd: float) -> OpenRaster:
    """The file on whose grid an image is read: the first with pixels of ``gsd``, or the finest if they state no size.

    Raises:
        DataError: the pixels of the file have another size.
    """
    fitting = files
    if len({file.grid.shape for file in files}) > 1:
        sides = [(file, metres(file.grid)) for file in files]
        fitting = [file for file, side in sides if side is not None and is_gsd(side, gsd)] or files
    best = max(fitting, key=lambda file: file.grid.shape)
    check_gsd(best.grid, gsd, best.path)
    return best


def grid_of(paths: Sequence[Path], gsd: float) -> Grid:
    """The grid on which an image is read; no pixels are."""
    with ExitStack() as stack:
        return base_of([stack.enter_context(open_raster(path)) for path in paths], gsd).grid


class ImageReader:
    """Reads the bands in use, in one unit: stored value + offset, or reflectance if bands have different scales.

    Args:
        units: scale and offset of each band in use.
    """

    def __init__(self, card: OwnCard, channels: Channels, units: Sequence[tuple[float, float]]) -> None:
        self.card, self.channels = card, channels
        self.units = dict(zip(channels.used, units, strict=True))
        self.as_reflectance = len(set(units)) > 1

    def read(self, paths: Sequence[Path], window: Window | None) -> tuple[np.ma.MaskedArray, Grid]:
        """Pixels (C, H, W), masked where there is no measurement, and the grid of the whole image.

        Args:
            paths: the file of each of ``channels.files``.
            window: None reads all.

        Raises:
            DataError: a file contradicts the card, or the files are of different places.
        """
        with ExitStack() as stack:
            files = [stack.enter_context(open_raster(path)) for path in paths]
            base = base_of(files, self.card.gsd)
            whole = base.grid
            bands: Bands = {}
            for file, word in zip(files, self.channels.files, strict=True):
                bands |= self._on_grid(file, word, base, window)
        found = [bands[number] for number in self.channels.used]
        kind = np.result_type(*found)
        if kind.kind not in "iu" or kind.itemsize > 2:
            kind = np.dtype(np.float32)
        return np.ma.stack([band.astype(kind, copy=False) for band in found]), whole

    def is_measured(self, paths: Sequence[Path], window: Window) -> np.ndarray:
        """Where the first band that has the grid of the image has a measurement, (H, W)."""
        with ExitStack() as stack:
            files = [stack.enter_context(open_raster(path)) for path in paths]
            base = base_of(files, self.card.gsd)
            word = self.channels.files[files.index(base)]
            number = next(number for number in self.channels.used if self.channels.all[number].file == word)
            one = ImageReader(self.card, replace(self.channels, used=(number,)), [self.units[number]])
            return ~np.ma.getmaskarray(one._bands(base, word, window)[number])

    def _on_grid(self, file: OpenRaster, word: str, base: OpenRaster, window: Window | None) -> Bands:
        """The bands in use of a file, resampled to the grid of the base."""
        if file is base:
            return self._bands(file, word, window)
        to_base = _to_base(file, base)
        if file.grid.shape == base.grid.shape:
            return self._bands(file, word, window)
        target = window or (0, 0, *base.grid.shape)
        area = _around(target, to_base, file.grid)
        placed = to_base @ type(to_base).translation(area[1], area[0])
        return {number: _resampled(band, placed, target) for number, band in self._bands(file, word, area).items()}

    def _bands(self, file: OpenRaster, word: str, window: Window | None) -> Bands:
        """The bands in use of a file (H, W), by the number of their channel."""
        channels, path = self.channels, file.path
        of_file = channels.of_file(word)
        used = [number for number in channels.used if number in of_file]
        check_names(file, [channels.all[number].band for number in of_file], channels.stored)
        raster = file.read(window, [of_file.index(number) for number in used])
        missing = equal(raster.pixels, self._nodata(raster, path))
        if raster.hidden is not None:
            missing |= raster.hidden
        stored, bands = raster.pixels, {}
        if stored.dtype.kind in "iu" and stored.itemsize > 2:  # stores have integers of at most 16 bits
            stored = stored.astype(np.float32)
        for number, pixels, gaps in zip(used, narrow(stored, path), missing, strict=True):
            place, (scale, offset) = of_file.index(number), self.units[number]
            check_scale((raster.scales[place], raster.offsets[place]), scale, offset, path)
            check_type(pixels.dtype, scale, offset, path)
            bands[number] = np.ma.MaskedArray(self._values(pixels, scale, offset), gaps)
        return bands

    def _nodata(self, raster: Raster, path: Path) -> tuple[float, ...]:
        """The card's values without a measurement or, if it has none, the file's."""
        if self.card.nodata is None:
            return () if raster.nodata is None else (raster.nodata,)
        check_nodata(raster, self.card.missing, "nodata", path)
        return self.card.missing

    def _values(self, pixels: np.ndarray, scale: float, offset: float) -> np.ndarray:
        if offset or self.as_reflectance:
            pixels = pixels.astype(np.float32) + np.float32(offset)
        return pixels * np.float32(scale) if self.as_reflectance else pixels


def _to_base(file: OpenRaster, first: OpenRaster) -> Any:
    """The transform from pixels of a file to those of the base, whose extent it must have.

    Raises:
        DataError: another coordinate system or place.
    """
    from rasterio import Affine

    path, grid, base = file.path, file.grid, first.grid
    size = [own / wanted for own, wanted in zip(base.shape, grid.shape, strict=True)]
    if grid.crs and base.crs and grid.crs != base.crs:
        raise DataError(f"{path}: coordinate system differs from that of {first.path.name}; warp it to one grid")
    distance = shift(grid, base)
    limit = SHIFT if grid.shape == base.shape else max(1.0, *size)
    if not (distance or 0) <= limit:
        raise DataError(
            f"{path}: a corner is {distance:.3g} pixels from that of {first.path.name}; cut the files of an image to "
            "the same place"
        )
    if distance is None:
        if any(max(sides) % min(sides) for sides in zip(base.shape, grid.shape, strict=True)):
            shapes = [" x ".join(map(str, shape)) for shape in (grid.shape, base.shape)]
            raise DataError(
                f"{path}: {shapes[0]} pixels do not fit {shapes[1]} of {first.path.name}, and the files state no "
                "place; cut them to the same place"
            )
        return Affine.scale(size[1], size[0])
    return ~base.transform @ grid.transform


def _around(target: Window, to_base: Any, grid: Grid) -> Window:
    """The window of a file that a window of the base needs."""
    top, left, height, width = target
    (x0, y0), (x1, y1) = ~to_base @ (left, top), ~to_base @ (left + width, top + height)
    first = max(0, math.floor(y0) - MARGIN), max(0, math.floor(x0) - MARGIN)
    last = min(grid.shape[0], math.ceil(y1) + MARGIN), min(grid.shape[1], math.ceil(x1) + MARGIN)
    return (*first, last[0] - first[0], last[1] - first[1])


def _resampled(band: np.ma.MaskedArray, to_base: Any, target: Window) -> np.ma.MaskedArray:
    """A band on the pixels of the base: interpolated to smaller pixels, averaged to larger ones.

    Pixels without a measurement are left out of sums.
    """
    from rasterio import Affine
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    top, left, height, width = target
    found = np.full((height, width), np.nan, np.float32)
    reproject(
        np.ma.filled(band.astype(np.float32), np.nan),
        found,
        src_transform=to_base,
        dst_transform=Affine.translation(left, top),
        src_crs="EPSG:3857",  # any: both are in pixels of the base
        dst_crs="EPSG:3857",
        src_nodata=np.nan,
        dst_nodata=np.nan,
        resampling=Resampling.bilinear if to_base.a > 1 else Resampling.average,
    )
    missing = np.isnan(found)
    if band.dtype.kind in "iu":
        found = np.rint(np.where(missing, 0, found)).astype(band.dtype)
    return np.ma.MaskedArray(found, missing)


def middle(pixels: np.ndarray, size: int | None, path: Path) -> np.ndarray:
    """The square of ``size`` in the middle of (..., H, W); all of a square image if it is None."""
    height, width = pixels.shape[-2:]
    largest, side = min(height, width), size or max(height, width)
    if side > largest:
        raise DataError(f"{path}: {height} x {width} pixels; crop it, or set size: {largest} or less in {CARD}")
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[..., top : top + side, left : left + side]
